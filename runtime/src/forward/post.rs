//! Posts one request to its target, and waits for a target that cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::{sleep, timeout};
use url::Url;

use super::answer::{self, failed};
use super::{Checked, Target};
use crate::delivery::client_tls;
use crate::handler::{AfterError, Ended, Run};
use postback_wire::line::Causes;
use postback_wire::time::Clock;
use postback_wire::webhook::Shown;

/// The longest time that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time that the answer to the question whether the target is ready may take.
const READY: Duration = Duration::from_secs(5);
/// The longest time that reading the body of an error may take. The body only serves the operator.
const ERROR_TEXT: Duration = Duration::from_secs(2);
/// The largest number of bytes of an error's body that are read and shown.
const ERROR_BYTES: usize = 1 << 10;
/// The longest time that an unused connection stays open. Many servers close such a connection after 2 s, and a post on
/// a connection that is being closed would fail.
const IDLE: Duration = Duration::from_secs(1);
/// The pauses between the attempts to reach a target.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(2);

/// The header in which a container of Cortex gets the id of its request.
const CORTEX_ID: HeaderName = HeaderName::from_static("x-cortex-request-id");
/// The header that tells the number of the run, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("postback-attempt");

/// Posts the requests of one route to its target.
pub(super) struct Forwarder {
    client: Client,
    url: Url,
    ready: Option<Url>,
    max_answer: usize,
    /// Whether the target could be reached when it was last tried. It is false at the start if the target has a path
    /// that tells whether it is ready.
    is_ready: AtomicBool,
    /// Whether the log says that the target cannot be reached.
    is_missed: AtomicBool,
}

impl Forwarder {
    /// Returns a text if the target is wrong, or its certificates cannot be read.
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        let Checked { url, ready, max_answer } = target.checked()?;
        let mut tls = client_tls(target.ca_file.as_deref()).map_err(|error| Causes(&error).to_string())?;
        tls.alpn_protocols.clear();
        // A redirect and a proxy of the environment would lead away from the target that the operator has named.
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| Causes(&error).to_string())?;
        let is_ready = AtomicBool::new(ready.is_none());
        Ok(Self { client, url, ready, max_answer, is_ready, is_missed: AtomicBool::new(false) })
    }

    /// Runs a request. While the target cannot be reached, the run waits; its time limit bounds the wait.
    pub(super) async fn run(self: Arc<Self>, run: Run) -> Ended {
        let mut pause = *PAUSES.start();
        loop {
            let missed = match self.reach().await {
                Ok(()) => match self.post(&run).await {
                    Ok(ended) => {
                        self.is_back();
                        return ended;
                    }
                    // Nothing was sent, so the post can be repeated.
                    Err(error) if error.is_connect() => Causes(&error.without_url()).to_string(),
                    Err(error) => {
                        let why = Causes(&error.without_url()).to_string();
                        return failed(format!("the target broke off: {why}"), AfterError::Usual);
                    }
                },
                Err(why) => why,
            };
            self.misses(&missed);
            sleep(pause).await;
            pause = (pause * 2).min(*PAUSES.end());
        }
    }

    /// Asks the target whether it is ready, if it was not ready before.
    async fn reach(&self) -> Result<(), String> {
        let Some(ready) = self.ready.as_ref().filter(|_| !self.is_ready.load(Ordering::Relaxed)) else { return Ok(()) };
        let answer = self.client.get(ready.clone()).timeout(READY).send().await;
        let answer = answer.map_err(|error| Causes(&error.without_url()).to_string())?;
        if !answer.status().is_success() {
            return Err(format!("{} answers {}", ready.path(), answer.status().as_u16()));
        }
        self.is_back();
        Ok(())
    }

    fn is_back(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
        if self.is_missed.swap(false, Ordering::Relaxed) {
            tracing::info!("the target {} is ready", Shown(&self.url));
        }
    }

    fn misses(&self, why: &str) {
        self.is_ready.store(false, Ordering::Relaxed);
        if !self.is_missed.swap(true, Ordering::Relaxed) {
            tracing::warn!("the target {} cannot be reached, so its requests wait: {why}", Shown(&self.url));
        }
    }

    async fn post(&self, run: &Run) -> Result<Ended, reqwest::Error> {
        let request = self.client.post(self.url.clone()).headers(headers(run)).body(run.body.clone());
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        match answer::head(status, &headers) {
            Err(ended) => Ok(ended),
            Ok(true) => self.result(response).await,
            Ok(false) => {
                let body = timeout(ERROR_TEXT, beginning(response)).await.unwrap_or_default();
                Ok(answer::error(status, &headers, &body, Clock::system().now()))
            }
        }
    }

    async fn result(&self, mut response: Response) -> Result<Ended, reqwest::Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > self.max_answer {
                let limit = self.max_answer;
                let text = format!("the target's answer has more than {limit} bytes, which is the limit `max_answer`");
                return Ok(failed(text, AfterError::Permanent));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer::result(&body))
    }
}

/// Returns the headers for the target: those of the caller that do not belong to the caller's own connection, and the
/// id of the request.
fn headers(run: &Run) -> HeaderMap {
    let mut headers = (*run.headers).clone();
    let named_by_connection: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(',').filter_map(|name| name.trim().parse().ok()))
        .collect();
    let of_connection = [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    let others = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    for name in named_by_connection.iter().chain(&of_connection).chain(&others) {
        headers.remove(name);
    }
    // An id is visible ASCII, so it is always a valid value.
    if let Ok(id) = HeaderValue::from_str(run.id.as_str()) {
        headers.insert(CORTEX_ID, id);
    }
    headers.insert(ATTEMPT, HeaderValue::from(run.info.attempt.number()));
    headers
}

/// Reads the beginning of an answer's body.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BYTES - body.len())]);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_wire::id::RequestId;

    #[test]
    fn headers_of_the_callers_connection_stay_behind() {
        let mut given = HeaderMap::new();
        for (name, value) in [
            ("content-type", "image/png"),
            ("host", "caller"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("expect", "100-continue"),
            ("content-length", "7"),
            ("x-cortex-request-id", "forged"),
            ("x-mine", "1"),
        ] {
            given.insert(name, value.parse().unwrap());
        }
        let id: RequestId = "a-1".parse().unwrap();
        let sent = headers(&Run::of(id, Arc::new(given), bytes::Bytes::new()));
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "postback-attempt", "x-cortex-request-id", "x-mine"]);
        assert_eq!((&sent[CORTEX_ID], &sent[ATTEMPT]), (&HeaderValue::from_static("a-1"), &HeaderValue::from(1)));
    }
}
