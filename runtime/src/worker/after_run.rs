//! What a run that ended comes to: an outcome or another try. Decides, does nothing.

use std::any::Any;
use std::time::Duration;

use super::Options;
use crate::handler::Ended;
use crate::report::{Outcome, Reason, Status};
use crate::time::{Spoken, Timestamp};

/// How a run ended, as the worker saw it.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// The handler returned.
    Returned(Ended),
    /// The handler panicked, with this message.
    Panicked(String),
    /// The handler ran longer than it may.
    TimedOut(Duration),
    /// The request was cancelled before the handler came to its end.
    Cancelled,
}

/// The outcome of a run. `held` is what an annotated call told; where it stands for what the handler returned, store, poll
/// and webhook have its bytes.
pub(super) fn outcome(end: RunEnd, held: Option<Outcome>, now: Timestamp) -> Outcome {
    match end {
        // Not wanted from the handler, because what is held stands for it.
        RunEnd::Returned(Ended::Completed(None)) => held.unwrap_or_else(|| Outcome::completed(None, now)),
        RunEnd::Returned(Ended::Completed(Some(Ok(result)))) => Outcome::completed(result, now),
        RunEnd::Returned(Ended::Completed(Some(Err(why)))) => {
            Outcome::failed(Reason::Unserializable, Some(format!("the result cannot be serialised: {why}")), now)
        }
        RunEnd::Returned(Ended::Failed(text)) => failed(held, Reason::Error, text, now),
        RunEnd::Panicked(text) => failed(held, Reason::Panic, text, now),
        RunEnd::TimedOut(limit) => {
            let text = format!("it ran longer than {} (worker.timeout)", Spoken(limit));
            Outcome::failed(Reason::Timeout, Some(text), now)
        }
        RunEnd::Cancelled => Outcome::cancelled(now),
    }
}

/// Whether an annotated call told what a handler's `Ok` comes to.
pub(super) fn stands_for_ok(held: &Outcome) -> bool {
    held.status == Status::Completed || held.reason == Reason::Unserializable
}

/// A failure, with what the attribute tells of it to the outside, if it saw the same one.
fn failed(held: Option<Outcome>, reason: Reason, text: String, now: Timestamp) -> Outcome {
    let held = held.filter(|held| held.status == Status::Failed && held.reason == reason);
    Outcome { detail: Some(text), ..held.unwrap_or_else(|| Outcome::failed(reason, None, now)) }
}

/// When a failed request is run again; `None` if it has had its attempts, or another would end the same.
pub(super) fn retry(outcome: &Outcome, failures: u32, options: &Options) -> Option<Duration> {
    let again = matches!(outcome.reason, Reason::Error | Reason::Panic | Reason::Timeout);
    let doublings = failures.saturating_sub(1).min(31);
    let longest = options.max_retry_delay.max(options.retry_delay);
    (again && failures < options.max_attempts).then(|| options.retry_delay.saturating_mul(1 << doublings).min(longest))
}

/// What a panic said.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("(no message)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Json;

    const EARLIER: Timestamp = Timestamp::from_micros(1);
    const NOW: Timestamp = Timestamp::from_micros(2);

    fn options(max_attempts: u32) -> Options {
        let (retry_delay, max_retry_delay) = (Duration::from_secs(1), Duration::from_mins(1));
        let timeout = Duration::from_hours(1);
        Options { concurrency: 1, threads: None, timeout, max_attempts, retry_delay, max_retry_delay, max_crashes: 1 }
    }

    #[test]
    fn the_pause_doubles_up_to_the_longest() {
        let failed = Outcome::failed(Reason::Error, None, NOW);
        let pauses = |delay, longest| {
            let [retry_delay, max_retry_delay] = [delay, longest].map(Duration::from_secs);
            let options = Options { retry_delay, max_retry_delay, ..options(1_000) };
            [1, 2, 3, 4, 999].map(|failures| retry(&failed, failures, &options).unwrap().as_secs())
        };
        assert_eq!(pauses(5, 30), [5, 10, 20, 30, 30]);
        assert_eq!(pauses(90, 60), [90; 5]);
        assert_eq!(pauses(0, 60), [0; 5]);
    }

    #[test]
    fn what_the_attribute_serialised_is_the_outcome() {
        let told = Outcome::completed(Json::of("x").unwrap(), EARLIER);
        let outcome = outcome(RunEnd::Returned(Ended::Completed(None)), Some(told.clone()), NOW);
        assert_eq!(outcome, told);
    }

    #[test]
    fn a_handler_that_disagrees_with_an_inner_call_is_believed() {
        let inner = Outcome::completed(Json::of("inner").unwrap(), EARLIER);
        let failed = outcome(RunEnd::Returned(Ended::Failed("outer".into())), Some(inner), NOW);
        assert_eq!((failed.status, failed.reason, failed.finished), (Status::Failed, Reason::Error, NOW));

        let inner = Outcome::failed(Reason::Error, None, EARLIER);
        assert!(!stands_for_ok(&inner));
        let recovered = Ended::Completed(Some(Ok(Json::of("fallback").unwrap())));
        let completed = outcome(RunEnd::Returned(recovered), Some(inner), NOW);
        assert_eq!((completed.status, completed.result), (Status::Completed, Json::of("fallback").unwrap()));
    }

    #[test]
    fn a_failure_keeps_what_the_attribute_tells_and_gets_the_text_for_the_log() {
        let mut told = Outcome::failed(Reason::Error, None, EARLIER);
        told.error = Some(Json::string("public"));
        let outcome = outcome(RunEnd::Returned(Ended::Failed("private".into())), Some(told), NOW);
        assert_eq!(outcome.error, Some(Json::string("public")));
        assert_eq!(outcome.detail.as_deref(), Some("private"));
    }

    #[test]
    fn a_cancelled_run_tells_nothing_of_how_it_was_dropped() {
        let told = Outcome::failed(Reason::Dropped, None, EARLIER);
        let outcome = outcome(RunEnd::Cancelled, Some(told), NOW);
        assert_eq!(outcome, Outcome::cancelled(NOW));
        assert_eq!((outcome.status, outcome.end()), (Status::Cancelled, crate::report::Ends::CANCELLED));
        assert_eq!(retry(&outcome, 1, &options(9)), None);
    }

    #[test]
    fn only_failures_of_the_run_itself_are_tried_again() {
        let failed = |reason| Outcome::failed(reason, None, NOW);
        assert_eq!(retry(&failed(Reason::Error), 1, &options(1)), None);
        assert_eq!(retry(&failed(Reason::Error), 1, &options(2)), Some(Duration::from_secs(1)));
        assert_eq!(retry(&failed(Reason::Timeout), 2, &options(9)), Some(Duration::from_secs(2)));
        assert_eq!(retry(&failed(Reason::Panic), 50, &options(99)), Some(Duration::from_mins(1)));
        assert_eq!(retry(&failed(Reason::Unserializable), 1, &options(9)), None);
        assert_eq!(retry(&Outcome::completed(None, NOW), 1, &options(9)), None);
    }
}
