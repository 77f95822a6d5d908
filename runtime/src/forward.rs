//! Routes that another HTTP server answers, such as a container that knows nothing of Postback.
//!
//! Each run posts the request to the target, and the answer is the outcome: the contract of Cortex's containers. A
//! target that cannot be reached fails no request; its runs wait until it can be reached.

mod answer;
mod post;

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use self::post::Forwarder;
use crate::handler::{Bound, Place, Unbound};
use postback_wire::webhook::Shown;

/// The largest answer of a target, if the program does not say otherwise.
const MAX_ANSWER: usize = 10 << 20;
/// The largest limit of an answer. A result as JSON is never larger.
const LARGEST_ANSWER: usize = 64 << 20;

/// An HTTP server to which [`App::forward`](crate::App::forward) posts the requests of a route.
///
/// ```
/// use postback::{App, Target};
///
/// fn app() -> App<()> {
///     let classifier = Target::new("http://127.0.0.1:8080/predict").ready("/healthz").max_answer(1 << 20);
///     App::new(()).forward("/classify", classifier).concurrency(4)
/// }
/// ```
#[derive(Clone)]
#[must_use = "a target does nothing until it is given to `App::forward`"]
pub struct Target {
    url: String,
    ready: Option<String>,
    max_answer: usize,
    ca_file: Option<PathBuf>,
}

impl Target {
    /// Makes a target from the URL to which requests are posted: `http` or `https`, with any path and query. An invalid
    /// URL is an error when the app starts.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ready: None, max_answer: MAX_ANSWER, ca_file: None }
    }

    /// Sets the path that tells whether the target is ready, such as `/healthz`. No request is posted before a `GET` of
    /// this path is answered with 2xx.
    ///
    /// Without a path, the target counts as ready if it accepts connections.
    pub fn ready(mut self, path: impl Into<String>) -> Self {
        self.ready = Some(path.into());
        self
    }

    /// Sets the largest number of bytes of an answer: from 1 to 64 MiB, by default 10 MiB. A request whose answer is
    /// larger fails.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Sets a file with root certificates, in PEM form, that are trusted besides those of the system.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Returns the parts of the target after a check, or a text that says what is wrong.
    fn checked(&self) -> Result<Checked, String> {
        let wrong = |why: &str| format!("the target of the route is not a valid URL: {why}");
        let url = Url::parse(&self.url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it must begin with http:// or https://"));
        }
        let ready = self.ready.as_deref().map(|path| {
            let is_path = path.starts_with('/') && !path.starts_with("//");
            is_path
                .then(|| url.join(path).ok())
                .flatten()
                .ok_or_else(|| format!("`ready` is {path:?}, and must be the path of an URL, such as \"/healthz\""))
        });
        if !(1..=LARGEST_ANSWER).contains(&self.max_answer) {
            let given = self.max_answer;
            return Err(format!("`max_answer` is {given} bytes, and must be from 1 to {LARGEST_ANSWER} bytes"));
        }
        Ok(Checked { ready: ready.transpose()?, url, max_answer: self.max_answer })
    }

    /// Returns the target as the operator sees it: the URL without the parts that may contain secrets.
    pub(crate) fn shown(&self) -> String {
        Url::parse(&self.url).map_or_else(|_| "an invalid URL".to_owned(), |url| Shown(&url).to_string())
    }
}

impl From<&str> for Target {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Target {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

/// Shows the URL without the parts that may contain secrets.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ready, max_answer, ca_file, .. } = self;
        let url = self.shown();
        write!(f, "Target({url}, ready {ready:?}, max_answer {max_answer}, ca_file {ca_file:?})")
    }
}

/// The parts of a target after the check.
struct Checked {
    url: Url,
    ready: Option<Url>,
    max_answer: usize,
}

/// Makes the route that posts its requests to the target.
pub(crate) fn route<S: 'static>(path: String, target: Target, place: Place) -> Unbound<S> {
    let name = format!("forward to {}", target.shown());
    let mut route = Unbound::bound(path, name.into(), place, move |_| match Forwarder::new(&target) {
        Ok(forwarder) => {
            let forwarder = Arc::new(forwarder);
            Bound::of_bytes(move |run| Box::pin(Arc::clone(&forwarder).run(run)))
        }
        Err(fault) => Bound::at_fault(fault),
    });
    // Most containers that know nothing of a queue serve one request at a time, as those of Cortex did by default.
    route.limit(|limits| limits.concurrency = Some(1));
    route
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_target_is_told() {
        let told = |target: Target| target.checked().err().unwrap();
        assert_eq!(told("nowhere".into()), "the target of the route is not a valid URL: relative URL without a base");
        let begins = "the target of the route is not a valid URL: it must begin with http:// or https://";
        assert_eq!(told("ftp://example.com/".into()), begins);
        let target = || Target::new("http://127.0.0.1:8080/x");
        assert!(told(target().ready("healthz")).starts_with("`ready` is \"healthz\", and must be"));
        assert!(told(target().ready("//example.com/")).starts_with("`ready` is"));
        assert!(told(target().max_answer(0)).starts_with("`max_answer` is 0 bytes"));
        assert!(told(target().max_answer(usize::MAX)).contains("must be from 1 to 67108864 bytes"));
    }

    #[test]
    fn a_target_shows_no_secret() {
        let target = Target::new("http://user:hunter2@127.0.0.1:8080/x?key=hunter2").ready("/healthz");
        assert!(!format!("{target:?} {}", target.shown()).contains("hunter2"));
        assert_eq!(target.checked().ok().unwrap().ready.unwrap().path(), "/healthz");
    }
}
