//! What a loop does while the store fails: it logs the failure once, and retries after longer and longer pauses.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::log::with_sources;
use postback_store::Error;
use postback_store::backoff::Backoff;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Returns the pauses before a failed operation of the store is repeated. The first pause is 100 ms, the longest is 5
/// s.
pub(super) fn store_backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Logs the failures of one kind of operation. Failures in a row with the same cause give only one line. Another line
/// says that the operation succeeds again.
#[derive(Debug)]
pub(super) struct FailureLog {
    operation: &'static str,
    last_cause: Mutex<Option<String>>,
}

impl FailureLog {
    pub(super) fn new(operation: &'static str) -> Self {
        Self { operation, last_cause: Mutex::new(None) }
    }

    /// Logs a failure, unless the last failure had the same cause. Returns whether a line was logged.
    pub(super) fn failed(&self, error: &Error) -> bool {
        let cause = with_sources(error);
        let mut last = self.last_cause.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_ref() != Some(&cause);
        if new {
            tracing::error!(error = cause, "{} failed: {cause}; it is retried until it succeeds", self.operation);
            *last = Some(cause);
        }
        new
    }

    /// If the operation failed before, logs that it succeeds again.
    pub(super) fn succeeded(&self) {
        if self.last_cause.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("{} succeeds again", self.operation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit() {
        let mut backoff = store_backoff();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn a_cause_is_logged_once() {
        let failures = FailureLog::new("claiming");
        assert!(failures.failed(&Error::Full));
        assert!(!failures.failed(&Error::Full));
        assert!(failures.failed(&Error::Closed));
        failures.succeeded();
        assert!(failures.failed(&Error::Closed));
    }
}
