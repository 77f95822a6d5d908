//! A test kit: it catches the reports of annotated functions ([`record`]), runs whole apps in a test (`TestApp`), and makes
//! extractors by hand.

#[cfg(feature = "server")]
mod app;
#[cfg(feature = "server")]
mod by_hand;
#[cfg(feature = "server")]
mod patience;
#[cfg(feature = "server")]
mod receiver;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use url::Url;

#[cfg(feature = "server")]
pub use self::app::{Finished, NewTestApp, TestApp, TestError};
#[cfg(feature = "server")]
pub use self::by_hand::{Canceller, Told, cancellation, progress};
#[cfg(feature = "server")]
pub use self::receiver::{Answer, Hit, Receiver};
use crate::poster::ambient::{self, Call, OnThread, Role, Sink};
use crate::poster::{Loss, lost};
use postback_wire::line::{Causes, Escaped};
use postback_wire::report::{EndReason, Outcome, Status};
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::{Shown, Webhook};

/// Catches the reports of annotated function calls that end on this thread, until the returned [`Recording`] is
/// dropped.
///
/// Caught reports are not sent, so a test needs no poster.
///
/// ```
/// use postback::{Status, async_handler, testing};
/// use serde_json::json;
///
/// #[async_handler(webhook = hook, error = display)]
/// async fn halve(hook: &str, number: u32, request_id: &str) -> Result<u32, &'static str> {
///     if number % 2 == 0 { Ok(number / 2) } else { Err("it is odd") }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let recording = testing::record();
/// assert_eq!(halve("https://example.com/halved", 6, "job-1").await, Ok(3));
/// halve("https://example.com/halved", 7, "job-2").await.unwrap_err();
///
/// let reports = recording.reports();
/// assert_eq!(reports.len(), 2);
/// assert_eq!((reports[0].id(), reports[0].status()), ("job-1", Status::Completed));
/// assert_eq!(reports[0].result(), Some(&json!(3)));
/// assert_eq!(reports[0].url().as_str(), "https://example.com/halved");
/// assert_eq!((reports[1].id(), reports[1].error()), ("job-2", Some(&json!("it is odd"))));
/// # }
/// ```
///
/// Under `#[tokio::test]`, the runtime has one thread, so the reports of the test and of all tasks that it spawns are
/// caught.
///
/// Code on other threads (`flavor = "multi_thread"`, `std::thread::spawn`) is outside the recording. To catch the
/// reports of such code, wrap its future with [`Recording::around`], and wait for the reports with
/// [`Recording::until`]. [`Recording::missed`] counts the calls outside all recordings. The first of these calls is
/// also shown on stderr.
///
/// A recording does not catch a report that you post with [`Poster`](crate::Poster): the poster sends this report.
pub fn record() -> Recording {
    ambient::observe_missed(note_missed);
    LIVING.fetch_add(1, Ordering::Relaxed);
    let kept = Arc::new(Kept { reports: watch::Sender::new(Vec::new()), losses: Mutex::default() });
    let on_thread = OnThread::enter(Arc::clone(&kept) as Arc<dyn Sink>);
    Recording { kept, missed_before: MISSED.load(Ordering::Relaxed), _on_thread: on_thread }
}

/// The number of recordings that exist in this process.
static LIVING: AtomicUsize = AtomicUsize::new(0);
/// The number of annotated function calls that were made outside all recordings while at least one recording existed.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// Counts an annotated function call outside all recordings, if a recording exists. The test of this recording may wait
/// forever for the report of such a call.
fn note_missed(call: &Call) {
    if call.webhooks().is_empty() || LIVING.load(Ordering::Relaxed) == 0 {
        return;
    }
    if MISSED.fetch_add(1, Ordering::Relaxed) == 0 {
        let id = Escaped(call.id());
        #[expect(
            clippy::print_stderr,
            reason = "tests rarely have a log, and the test runner shows stderr of a failed test"
        )]
        {
            eprintln!(
                "postback::testing: the call {id} was made outside of the recordings in this process, so its report is not \
                 caught. If the call belongs to your test, wrap its future with `Recording::around`, or run the test on \
                 one thread: #[tokio::test] without `flavor = \"multi_thread\"`. (This message is shown once.)"
            );
        }
    }
}

/// Catches the reports of annotated function calls until it is dropped. The function [`record`] makes a recording. If a
/// thread has two recordings, the newer recording catches the reports.
#[must_use = "a recording catches reports until it is dropped; bind it to a name"]
pub struct Recording {
    kept: Arc<Kept>,
    missed_before: u64,
    _on_thread: OnThread,
}

impl Recording {
    /// Returns the reports that were caught so far, in the order in which the calls ended. A call has one report for
    /// each of its webhooks.
    ///
    /// If one annotated function calls another, the inner call ends first, so the reports of the inner call come first.
    pub fn reports(&self) -> Vec<Caught> {
        self.kept.reports.borrow().clone()
    }

    /// Returns the reasons why calls made no report, one text for each call. The usual reason is an invalid URL. These
    /// texts are also shown on stderr.
    pub fn losses(&self) -> Vec<String> {
        self.kept.losses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of annotated function calls that were made outside all recordings since this recording began.
    /// Calls on every thread of the process are counted.
    ///
    /// The process's poster sends the reports of these calls.
    pub fn missed(&self) -> u64 {
        MISSED.load(Ordering::Relaxed).saturating_sub(self.missed_before)
    }

    /// Waits until at least `count` reports were caught, and returns all caught reports. If fewer reports are caught,
    /// this method waits forever.
    ///
    /// # Cancel safety
    ///
    /// You can drop the future at any time. The recording keeps all caught reports.
    pub async fn until(&self, count: usize) -> Vec<Caught> {
        let mut reports = self.kept.reports.subscribe();
        // `wait_for` fails only if the sender of the channel is dropped, and `self` has the sender. So the fallback is
        // never used.
        reports.wait_for(|reports| reports.len() >= count).await.map_or_else(|_| Vec::new(), |reports| reports.clone())
    }

    /// Wraps a future. The recording catches the reports of the annotated function calls in this future, on whatever
    /// thread the future runs.
    ///
    /// Wrap a future that runs in another task or on another thread. Its reports are caught even after the recording is
    /// dropped, and are then not sent.
    ///
    /// ```
    /// # #[postback::async_handler(webhook = hook)]
    /// # async fn work(hook: &str, request_id: u8) -> Result<(), ()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() {
    /// let recording = postback::testing::record();
    /// tokio::spawn(recording.around(work("https://example.com/hooks", 1)));
    /// assert_eq!(recording.until(1).await[0].id(), "1");
    /// # }
    /// ```
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        ambient::around(Arc::clone(&self.kept) as Arc<dyn Sink>, future)
    }
}

/// The debug text shows the reports, the losses and the number of missed calls, so that a failed assertion can print
/// them.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Recording");
        shown.field("reports", &self.reports()).field("losses", &self.losses()).field("missed", &self.missed()).finish()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A report that a [`Recording`] has caught, with the content that its receiver would get.
#[derive(Clone, PartialEq, Eq)]
pub struct Caught {
    id: String,
    status: Status,
    webhook: Webhook,
    body: Bytes,
    parsed: Value,
}

impl Caught {
    /// Returns the id of the work that the report is about.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the status with which the call ended.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns the member `result` of the report. Returns `None` if the call was not completed, or if the report does
    /// not show the result.
    pub fn result(&self) -> Option<&Value> {
        self.parsed.get("result")
    }

    /// Returns the member `reason` of the report, which says why the call was not completed. Returns `None` if the call
    /// was completed, or if the attribute of the function does not ask for the reason.
    pub fn reason(&self) -> Option<EndReason> {
        self.parsed.get("reason").and_then(Value::as_str).map(EndReason::from)
    }

    /// Returns the member `error` of the report. Returns `None` if the call did not fail, or if the attribute of the
    /// function does not ask for the error.
    pub fn error(&self) -> Option<&Value> {
        self.parsed.get("error")
    }

    /// Returns the URL to which the report would be sent.
    pub fn url(&self) -> &Url {
        self.webhook.url()
    }

    /// Returns the webhook to which the report would be sent: the URL, the headers and the secret.
    pub fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Returns the body of the HTTP POST, byte for byte.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// The debug text shows the body as text. It shows the URL without the parts that may contain a secret.
impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", String::from_utf8_lossy(&self.body), Shown(self.webhook.url()))
    }
}

/// The data of a recording: the caught reports in their order, and the reasons why calls made no report.
struct Kept {
    reports: watch::Sender<Vec<Caught>>,
    losses: Mutex<Vec<String>>,
}

impl Kept {
    fn lose(&self, text: String) {
        #[expect(
            clippy::print_stderr,
            reason = "tests rarely have a log, and the test runner shows stderr of a failed test"
        )]
        {
            eprintln!("postback::testing: {text}");
        }
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

impl Sink for Kept {
    fn now(&self) -> Timestamp {
        Clock::system().now()
    }

    fn begin(&self, call: &Call) -> Role {
        if call.webhooks().is_empty() { Role::Ignored } else { Role::Posted }
    }

    fn end(&self, call: Call, _: Role, outcome: Outcome) {
        if !call.on.contains(outcome.end()) {
            return;
        }
        let outcome = Outcome { tells_reason: call.tells_reason, ..outcome };
        let body = outcome.to_report(call.id());
        let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
        for target in call.webhooks().resolve() {
            match target.into_webhook() {
                Ok(webhook) => {
                    let (id, body, parsed) = (call.id().to_owned(), body.clone(), parsed.clone());
                    let caught = Caught { id, status: outcome.status, webhook, body, parsed };
                    self.reports.send_modify(|reports| reports.push(caught));
                }
                Err(error) => {
                    let why = Causes(&error).to_string();
                    lost(Loss::BadUrl, call.id(), &why);
                    self.lose(format!("the call {} makes no report: {}", Escaped(call.id()), Escaped(&why)));
                }
            }
        }
    }

    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.end(call, role, outcome);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Webhooks, async_handler};

    #[expect(
        clippy::unused_async,
        reason = "the attribute needs an async function, and this body has nothing to await"
    )]
    #[async_handler(webhook = hook)]
    async fn inner(hook: &str, request_id: &str) -> Result<(), ()> {
        Ok(())
    }

    #[async_handler(webhook = [hook, "https://example.com/second"], error = display)]
    async fn outer(hook: &str, request_id: &str) -> Result<(), &'static str> {
        let _ = inner(hook, "inner").await;
        Err("on purpose")
    }

    fn ids(reports: &[Caught]) -> Vec<&str> {
        reports.iter().map(Caught::id).collect()
    }

    const HOOK: &str = "https://example.com/first?token=s3cret";

    #[tokio::test]
    async fn reports_are_caught_as_they_would_be_sent_in_the_order_of_their_ends() {
        let recording = record();
        outer(HOOK, "outer").await.unwrap_err();
        let reports = recording.reports();
        assert_eq!(ids(&reports), ["inner", "outer", "outer"]);
        let urls: Vec<_> = reports.iter().map(|report| report.url().as_str()).collect();
        assert_eq!(urls, [HOOK, HOOK, "https://example.com/second"]);
        assert_eq!((reports[0].status(), reports[0].result(), reports[0].error()), (Status::Completed, None, None));
        assert_eq!(reports[1].error(), Some(&json!("on purpose")));
        assert_eq!((reports[0].reason(), reports[1].reason()), (None, Some(EndReason::Error)));
        assert_eq!(reports[1].body(), br#"{"id":"outer","status":"failed","reason":"error","error":"on purpose"}"#);
        assert_eq!(
            format!("{:?}", reports[0]),
            r#"{"id":"inner","status":"completed"} to https://example.com/first?…"#
        );
    }

    #[tokio::test]
    async fn spawned_on_the_same_thread_is_inside_and_a_url_that_is_none_is_not_caught() {
        let recording = record();
        postback_store::shutdown::Shutdown::new().spawn(inner(HOOK, "spawned"));
        assert_eq!(ids(&recording.until(1).await), ["spawned"]);
        inner("nonsense", "lost").await.unwrap();
        assert_eq!(recording.reports().len(), 1);
        let losses = recording.losses();
        assert_eq!(losses.len(), 1, "{losses:?}");
        assert!(losses[0].contains("the call lost makes no report: the webhook URL cannot be parsed"), "{losses:?}");
        assert!(format!("{recording:?}").contains("the webhook URL cannot be parsed"), "{recording:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_threads_are_outside_unless_the_recording_is_taken_along() {
        let recording = record();
        postback_store::shutdown::Shutdown::new().spawn(recording.around(inner(HOOK, "along")));
        assert_eq!(ids(&recording.until(1).await), ["along"]);
        let elsewhere = std::thread::spawn(|| sink_of_nothing().is_some());
        assert!(!elsewhere.join().unwrap(), "no poster is installed in this process");
    }

    #[test]
    fn the_innermost_recording_catches_and_gives_way_when_it_is_dropped() {
        let sink = |recording: &Recording| {
            let own = Arc::clone(&recording.kept) as Arc<dyn Sink>;
            sink_of_nothing().is_some_and(|sink| Arc::ptr_eq(&sink, &own))
        };
        let first = record();
        let second = record();
        assert!(sink(&second) && !sink(&first));
        let third = record();
        drop(second);
        assert!(sink(&third), "recordings may be dropped in any order");
        drop(third);
        assert!(sink(&first));
    }

    /// Returns the sink that would receive the outcome of an annotated function call without webhooks. This function
    /// starts no poster, because such a call never starts one.
    fn sink_of_nothing() -> Option<Arc<dyn Sink>> {
        ambient::sink_for(&Call::new(Webhooks::default(), "x", crate::Ends::default(), false))
    }
}
