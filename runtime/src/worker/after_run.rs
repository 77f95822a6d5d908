//! Decides what follows a run that has ended: the request's outcome or another run. Does no I/O.

use std::time::Duration;

use super::Options;
use crate::handler::{AfterError, Ended, Ready};
use postback_wire::report::{Outcome, Reason, Status};
use postback_wire::time::{Spoken, Timestamp};

/// The longest time that a run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    pub(super) time: Duration,
    /// Who has set the limit, for the operator.
    pub(super) set_by: &'static str,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// The handler returned, or it panicked.
    Finished(Ended),
    /// The handler ran longer than this limit.
    TimedOut(TimeLimit),
    /// The request was cancelled before the handler finished.
    Cancelled,
}

/// Returns the outcome of a run. `captured` is the outcome that an annotated function call has reported during the run.
///
/// If `captured` is the outcome of the value that the handler has returned, this function returns `captured`, so that
/// the store, the clients and the webhooks all get the same bytes.
pub(super) fn outcome(end: RunEnd, captured: Option<Outcome>, now: Timestamp) -> Outcome {
    match end {
        // The handler's result was not serialised again, because `captured` already contains the result.
        RunEnd::Finished(Ended::Completed(None)) => captured.unwrap_or_else(|| Outcome::completed(None, now)),
        RunEnd::Finished(Ended::Completed(Some(Ok(result)))) => Outcome::completed(result, now),
        RunEnd::Finished(Ended::Replied(reply)) => {
            captured.filter(stands_for_ok).unwrap_or_else(|| Outcome::completed(reply.json, now))
        }
        // The handler's task has read the reply.
        RunEnd::Finished(Ended::Replying(_)) => Outcome::completed(None, now),
        RunEnd::Finished(Ended::Completed(Some(Err(why)))) => {
            Outcome::failed(Reason::Unserializable, Some(format!("the result cannot be serialised: {why}")), now)
        }
        RunEnd::Finished(Ended::Failed { text, .. }) => failed(captured, Reason::Error, text, now),
        RunEnd::Finished(Ended::Panicked(text)) => failed(captured, Reason::Panic, format!("it panicked: {text}"), now),
        RunEnd::TimedOut(limit) => {
            let text = format!("it ran longer than {} ({})", Spoken(limit.time), limit.set_by);
            Outcome::failed(Reason::Timeout, Some(text), now)
        }
        RunEnd::Cancelled => Outcome::cancelled(now),
    }
}

/// Returns the reply of the handler, if it has returned one.
pub(super) fn reply(end: &RunEnd) -> Option<Box<Ready>> {
    if let RunEnd::Finished(Ended::Replied(reply)) = end { Some(reply.clone()) } else { None }
}

/// Whether the outcome of an annotated function call is the outcome of the `Ok` that the handler has returned.
pub(super) fn stands_for_ok(captured: &Outcome) -> bool {
    captured.status == Status::Completed || captured.reason == Reason::Unserializable
}

/// Makes the outcome of a failed run. If an annotated function call has failed for the same reason, the outcome
/// contains the error that this call shows in its reports.
fn failed(captured: Option<Outcome>, reason: Reason, text: String, now: Timestamp) -> Outcome {
    let captured = captured.filter(|captured| captured.status == Status::Failed && captured.reason == reason);
    Outcome { detail: Some(text), ..captured.unwrap_or_else(|| Outcome::failed(reason, None, now)) }
}

/// Returns what the handler's error says of what follows.
pub(super) fn after_error(end: &RunEnd) -> AfterError {
    if let RunEnd::Finished(Ended::Failed { after, .. }) = end { *after } else { AfterError::Usual }
}

/// Returns how long a failed request waits before it runs again. `failures` is the number of its failed runs, and
/// `after` what the handler's error says.
///
/// Returns `None` if the request must not run again, because it has had `max_attempts` failed runs or because another
/// run would fail in the same way. The usual wait doubles after each failed run, up to `max_retry_delay`.
pub(super) fn retry(outcome: &Outcome, failures: u32, options: &Options, after: AfterError) -> Option<Duration> {
    let may_succeed = matches!(outcome.reason, Reason::Error | Reason::Panic | Reason::Timeout);
    let doublings = failures.saturating_sub(1).min(31);
    let longest = options.max_retry_delay.max(options.retry_delay);
    let usual = options.retry_delay.saturating_mul(1 << doublings).min(longest);
    let delay = match after {
        AfterError::Usual => Some(usual),
        AfterError::RetryAfter(wait) => Some(wait),
        AfterError::Permanent => None,
    };
    delay.filter(|_| may_succeed && failures < options.max_attempts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_wire::report::Json;

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
            [1, 2, 3, 4, 999].map(|failures| retry(&failed, failures, &options, AfterError::Usual).unwrap().as_secs())
        };
        assert_eq!(pauses(5, 30), [5, 10, 20, 30, 30]);
        assert_eq!(pauses(90, 60), [90; 5]);
        assert_eq!(pauses(0, 60), [0; 5]);
    }

    #[test]
    fn what_the_attribute_serialised_is_the_outcome() {
        let captured = Outcome::completed(Json::of("x").unwrap(), EARLIER);
        let outcome = outcome(RunEnd::Finished(Ended::Completed(None)), Some(captured.clone()), NOW);
        assert_eq!(outcome, captured);
    }

    #[test]
    fn a_handler_that_disagrees_with_an_inner_call_is_believed() {
        let inner = Outcome::completed(Json::of("inner").unwrap(), EARLIER);
        let failed = outcome(
            RunEnd::Finished(Ended::Failed { text: "outer".into(), after: AfterError::Usual }),
            Some(inner),
            NOW,
        );
        assert_eq!((failed.status, failed.reason, failed.finished), (Status::Failed, Reason::Error, NOW));

        let inner = Outcome::failed(Reason::Error, None, EARLIER);
        assert!(!stands_for_ok(&inner));
        let recovered = Ended::Completed(Some(Ok(Json::of("fallback").unwrap())));
        let completed = outcome(RunEnd::Finished(recovered), Some(inner), NOW);
        assert_eq!((completed.status, completed.result), (Status::Completed, Json::of("fallback").unwrap()));
    }

    #[test]
    fn a_failure_keeps_what_the_attribute_tells_and_gets_the_text_for_the_log() {
        let mut captured = Outcome::failed(Reason::Error, None, EARLIER);
        captured.error = Some(Json::string("public"));
        let outcome = outcome(
            RunEnd::Finished(Ended::Failed { text: "private".into(), after: AfterError::Usual }),
            Some(captured),
            NOW,
        );
        assert_eq!(outcome.error, Some(Json::string("public")));
        assert_eq!(outcome.detail.as_deref(), Some("private"));
    }

    #[test]
    fn a_cancelled_run_tells_nothing_of_how_it_was_dropped() {
        let captured = Outcome::failed(Reason::Dropped, None, EARLIER);
        let outcome = outcome(RunEnd::Cancelled, Some(captured), NOW);
        assert_eq!(outcome, Outcome::cancelled(NOW));
        assert_eq!((outcome.status, outcome.end()), (Status::Cancelled, postback_wire::report::Ends::CANCELLED));
        assert_eq!(retry(&outcome, 1, &options(9), AfterError::Usual), None);
    }

    #[test]
    fn only_failures_of_the_run_itself_are_retried() {
        let failed = |reason| Outcome::failed(reason, None, NOW);
        assert_eq!(retry(&failed(Reason::Error), 1, &options(1), AfterError::Usual), None);
        assert_eq!(retry(&failed(Reason::Error), 1, &options(2), AfterError::Usual), Some(Duration::from_secs(1)));
        assert_eq!(retry(&failed(Reason::Timeout), 2, &options(9), AfterError::Usual), Some(Duration::from_secs(2)));
        assert_eq!(retry(&failed(Reason::Panic), 50, &options(99), AfterError::Usual), Some(Duration::from_mins(1)));
        assert_eq!(retry(&failed(Reason::Unserializable), 1, &options(9), AfterError::Usual), None);
        assert_eq!(retry(&Outcome::completed(None, NOW), 1, &options(9), AfterError::Usual), None);
    }

    #[test]
    fn an_error_may_end_the_request_or_choose_the_wait() {
        let error = Outcome::failed(Reason::Error, None, NOW);
        let wait = Duration::from_hours(3);
        assert_eq!(retry(&error, 1, &options(9), AfterError::Permanent), None);
        assert_eq!(retry(&error, 1, &options(9), AfterError::RetryAfter(wait)), Some(wait));
        assert_eq!(retry(&error, 9, &options(9), AfterError::RetryAfter(wait)), None);
        let ended = |after| RunEnd::Finished(Ended::Failed { text: String::new(), after });
        assert_eq!(after_error(&ended(AfterError::Permanent)), AfterError::Permanent);
        assert_eq!(after_error(&RunEnd::Cancelled), AfterError::Usual);
    }
}
