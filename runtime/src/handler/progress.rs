//! The extractor [`Progress`], through which a handler says how far its run is, and what the worker reads from it.
//!
//! A report replaces the one before, until the worker has taken it. So a handler that reports all the time holds the
//! memory of one report, and never waits.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};
use crate::panics::caught;
use postback_store::Told;
use postback_wire::report::Json;
use postback_wire::time::Clock;

/// The longest message, in bytes. A longer one is cut off.
const MAX_MESSAGE: usize = 1 << 10;
/// The largest detail, in bytes of its JSON. A larger one is left out.
const MAX_DETAIL: usize = 4 << 10;

/// Tells callers and operators how far a run is.
///
/// ```
/// use postback::{Payload, Progress, RequestId, async_handler};
///
/// # #[derive(serde::Deserialize)]
/// # struct Film { frames: u32, webhook: String }
/// #[async_handler(webhook = payload.webhook)]
/// async fn render(payload: Payload<Film>, progress: Progress, request_id: RequestId) -> Result<(), String> {
///     for frame in 0..payload.frames {
///         progress.report(f64::from(frame) / f64::from(payload.frames), format!("frame {frame}"));
///         // …
///     }
///     Ok(())
/// }
/// # let film = Payload(Film { frames: 2, webhook: "https://example.com/".to_owned() });
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// render(film, Progress::default(), RequestId::generate()).await.unwrap();
/// # });
/// ```
///
/// `GET R/{id}?include=progress` shows the last report, and `GET R/{id}/events` tells each one as it comes.
///
/// - A call never blocks, never fails, and never panics. It may be made from any thread, also from
///   `tokio::task::spawn_blocking`: a clone is cheap.
/// - Call it as often as you like. At most two reports a second are stored for each run. Those between are superseded,
///   and the last one before the end of the run is always stored, before the outcome is. After the end of the run, and
///   outside of a server, calls have no effect.
/// - What is stored survives a crash of the process. The next run of the request begins without a progress.
///
/// To call a handler by hand, as a test does, give it `Progress::default()`, which ignores all reports.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Telling>>);

impl Progress {
    /// Reports how much of the work is done, from 0 to 1, and what the handler is doing.
    ///
    /// A fraction outside of this range counts as 0 or as 1. If it is not a number, the fraction stays as it was. Of
    /// the message, the first 1,024 bytes are kept. An empty message counts as none.
    pub fn report(&self, fraction: f64, message: impl AsRef<str>) {
        self.tell(fraction, message.as_ref(), || Ok(None));
    }

    /// Reports a value beside the fraction and the message, such as the number of files that are left.
    ///
    /// The value is serialised at once. If its JSON has more than 4,096 bytes, or if it cannot be serialised, the value
    /// is left out, and the log says so, once for each run.
    pub fn report_with(&self, fraction: f64, message: impl AsRef<str>, detail: &impl Serialize) {
        self.tell(fraction, message.as_ref(), || json(detail));
    }

    fn tell(&self, fraction: f64, message: &str, detail: impl FnOnce() -> Result<Option<Json>, String>) {
        let Some(telling) = self.0.as_ref().filter(|telling| !telling.ended.is_cancelled()) else { return };
        // The detail is serialised before the lock is taken, because this may take long, and may report a progress itself.
        let detail = detail();
        let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
        let problem = telling.report(fraction, message, detail);
        if let Some(problem) = problem {
            tracing::warn!("the detail of a progress is left out, as are later ones that have a fault: {problem}");
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.0.as_ref().map(|telling| telling.lock().pending.is_some());
        f.debug_struct("Progress").field("pending", &pending).finish_non_exhaustive()
    }
}

impl Parameter for Progress {}

impl<S> Extract<S> for Progress {
    fn needs() -> Needs {
        Needs { progress: true, ..Needs::of_one_request() }
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(run.info.progress.clone())
    }
}

/// What a run tells, between its handler and the worker.
pub(crate) struct Telling {
    clock: Clock,
    state: Mutex<State>,
    /// The signal that there is something pending. It is saved for the worker.
    told: Notify,
    /// Cancelled when the run is over.
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    /// The last report, if the worker has not taken it.
    pending: Option<Told>,
    /// The last fraction that is a number.
    fraction: Option<f64>,
    /// Whether a detail was left out.
    has_warned: bool,
    /// Whether the run is over.
    is_over: bool,
}

impl Telling {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let (told, ended) = (Notify::new(), CancellationToken::new());
        Arc::new(Self { clock, state: Mutex::default(), told, ended })
    }

    /// Returns the extractor of the run.
    pub(crate) fn progress(self: &Arc<Self>) -> Progress {
        Progress(Some(Arc::clone(self)))
    }

    /// Keeps a report for the worker. Returns what is wrong with the detail, if it is the first wrong one.
    fn report(&self, fraction: f64, message: &str, detail: Result<Option<Json>, String>) -> Option<String> {
        let (detail, problem) = detail.map_or_else(|problem| (None, Some(problem)), |detail| (detail, None));
        let message = Some(message).filter(|message| !message.is_empty()).map(str::to_owned);
        let at = self.clock.now();
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        if !fraction.is_nan() {
            state.fraction = Some(fraction.clamp(0.0, 1.0));
        }
        let told = Told { fraction: state.fraction, message, detail, at };
        let is_first = state.pending.replace(told).is_none();
        let problem = problem.filter(|_| !std::mem::replace(&mut state.has_warned, true));
        drop(state);
        if is_first {
            self.told.notify_one();
        }
        problem
    }

    /// Waits for the next report, and takes it. Returns `None` after the end of the run, when all reports are taken. The
    /// future is cancel-safe.
    pub(crate) async fn next(&self) -> Option<Told> {
        loop {
            let (told, is_over) = self.take();
            if told.is_some() || is_over {
                return told;
            }
            tokio::select! {
                () = self.told.notified() => {}
                () = self.ended.cancelled() => {}
            }
        }
    }

    /// Takes the pending report. Also returns whether the run is over.
    fn take(&self) -> (Option<Told>, bool) {
        let mut state = self.lock();
        (state.pending.take(), state.is_over)
    }

    /// Takes a report that has come after the last one that was taken.
    pub(crate) fn newer(&self) -> Option<Told> {
        self.take().0
    }

    /// Returns the report that nobody has taken, and leaves it.
    #[cfg(feature = "testing")]
    pub(crate) fn last(&self) -> Option<Told> {
        self.lock().pending.clone()
    }

    /// Waits for this time, or until the end of the run.
    pub(crate) async fn pause(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.ended.cancelled()).await;
    }

    /// Ends the run. Later reports have no effect.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.ended.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serialises a detail, on one line. Returns an error that says why it is left out.
fn json(detail: &impl Serialize) -> Result<Option<Json>, String> {
    let mut text = Limited(Vec::new());
    match caught(|| serde_json::to_writer(&mut text, detail)) {
        Ok(Ok(())) if text.0 == b"null" => Ok(None),
        Ok(Ok(())) => {
            one_line(&mut text.0);
            Ok(Some(Json::stored(text.0)))
        }
        Ok(Err(error)) if error.is_io() => Err(format!("its JSON has more than {MAX_DETAIL} bytes")),
        Ok(Err(error)) => Err(format!("it cannot be serialised: {error}")),
        Err(_) => Err("its Serialize implementation panicked".to_owned()),
    }
}

/// Replaces the line breaks of a JSON text. JSON allows line breaks between its tokens, and nowhere else. A value that
/// holds JSON may have some.
fn one_line(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}

/// A text of at most [`MAX_DETAIL`] bytes.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_DETAIL {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde::Serializer;

    use super::*;

    fn telling() -> (Arc<Telling>, Progress) {
        let telling = Telling::new(Clock::system());
        let progress = telling.progress();
        (telling, progress)
    }

    /// The detail that is taken after a report with this value.
    fn detail(value: &impl Serialize) -> Option<String> {
        let (telling, progress) = telling();
        progress.report_with(0.5, "x", value);
        let told = telling.newer().unwrap();
        assert_eq!((told.fraction, told.message.as_deref()), (Some(0.5), Some("x")), "only the detail is left out");
        told.detail.map(|json| String::from_utf8(json.bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_fraction_is_from_0_to_1_and_what_is_no_number_changes_nothing() {
        let (telling, progress) = telling();
        let fraction = |given: f64| {
            progress.report(given, "");
            telling.newer().unwrap().fraction
        };
        assert_eq!(fraction(f64::NAN), None);
        for (given, expected) in [
            (0.25, 0.25),
            (-0.5, 0.0),
            (1.5, 1.0),
            (f64::INFINITY, 1.0),
            (f64::NEG_INFINITY, 0.0),
            (0.75, 0.75),
            (f64::NAN, 0.75),
        ] {
            assert_eq!(fraction(given), Some(expected), "{given}");
        }
    }

    #[test]
    fn a_message_is_cut_off_between_two_characters() {
        let (telling, progress) = telling();
        let long = format!("x{}", "\u{1f980}".repeat(1_000));
        progress.report(0.5, &long);
        let message = telling.newer().unwrap().message.unwrap();
        assert_eq!(message.len(), 1_021);
        assert!(long.starts_with(&message));
        progress.report(0.5, "");
        assert_eq!(telling.newer().unwrap().message, None);
    }

    struct Panics;

    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("it panics")
        }
    }

    #[test]
    fn a_detail_is_json_on_one_line_within_its_bound() {
        assert_eq!(detail(&[1, 2]).as_deref(), Some("[1,2]"));
        assert_eq!(detail(&None::<u8>), None);
        let mut raw = *b"{\n\"a\":\r\n\"\\n\"}";
        one_line(&mut raw);
        assert_eq!(&raw, b"{ \"a\":  \"\\n\"}");
        let largest = "x".repeat(MAX_DETAIL - 2);
        assert_eq!(detail(&largest).map(|text| text.len()), Some(MAX_DETAIL));
        assert_eq!(detail(&format!("{largest}x")), None);
        assert_eq!(detail(&Panics), None);
        assert_eq!(detail(&std::collections::HashMap::from([((), 1)])), None);
    }

    #[tokio::test]
    async fn a_report_replaces_the_one_before_and_the_last_one_is_taken() {
        let (telling, progress) = telling();
        assert!(telling.next().now_or_never().is_none());
        for n in 0..10_000 {
            progress.clone().report(f64::from(n) / 10_000.0, n.to_string());
        }
        assert_eq!(telling.next().await.unwrap().message.as_deref(), Some("9999"));
        assert!(telling.next().now_or_never().is_none());
        progress.report(1.0, "last");
        telling.end();
        progress.report(0.0, "after the end");
        assert_eq!(telling.next().await.unwrap().message.as_deref(), Some("last"));
        assert_eq!(telling.next().await, None);
    }

    #[tokio::test]
    async fn the_worker_is_woken_by_a_report_of_any_thread_and_by_the_end() {
        let (telling, progress) = telling();
        let reading = async { (telling.next().await.map(|told| told.message), telling.next().await) };
        let reporting = async {
            tokio::task::spawn_blocking(move || progress.report(0.5, "from a thread")).await.unwrap();
            while telling.lock().pending.is_some() {
                tokio::task::yield_now().await;
            }
            telling.end();
        };
        let (read, ()) = tokio::join!(reading, reporting);
        assert_eq!(read, (Some(Some("from a thread".to_owned())), None));
    }

    #[test]
    fn without_a_server_nothing_happens() {
        let progress = Progress::default();
        progress.report(0.5, "x");
        progress.report_with(0.5, "x", &Panics);
        assert_eq!(format!("{progress:?}"), "Progress { pending: None, .. }");
    }
}
