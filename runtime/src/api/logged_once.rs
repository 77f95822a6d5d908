//! A condition that lasts, such as an unreadable store, is logged when it begins and when it is over, however many
//! calls meet it.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Logs a condition that may last for many HTTP calls, such as an unreadable store. One log line is written when the
/// condition begins, and one when the condition ends.
pub(super) struct LoggedOnce {
    /// The text at the start of the log line that is written when the condition begins.
    begins: &'static str,
    /// The text at the start of the log line that is written when the condition is over.
    ends: &'static str,
    /// Whether the condition does not hold at the moment. This flag is nearly always true, and can be read without the
    /// lock of `state`.
    is_over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cause in the last log line.
    cause: Option<String>,
    times: u64,
}

impl LoggedOnce {
    pub(super) fn new(begins: &'static str, ends: &'static str) -> Self {
        Self { begins, ends, is_over: AtomicBool::new(true), state: Mutex::default() }
    }

    /// Must be called when the condition has affected an HTTP call. Logs `what`, unless the last log line had the same
    /// `cause`. Returns whether a line was logged.
    pub(super) fn met(&self, cause: impl Display, what: impl Display) -> bool {
        let cause = cause.to_string();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        self.is_over.store(false, Ordering::Release);
        let is_new = state.cause.as_ref() != Some(&cause);
        if is_new {
            state.cause = Some(cause);
            drop(state);
            tracing::warn!("{}: {what}", self.begins);
        }
        is_new
    }

    /// Must be called when the condition does not hold. If the condition held until now, logs the end of the condition,
    /// and returns the number of HTTP calls that the condition affected. Otherwise returns `None`.
    pub(super) fn over(&self) -> Option<u64> {
        if self.is_over.swap(true, Ordering::AcqRel) {
            return None;
        }
        let State { times, .. } = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        tracing::info!(times, "{}; {times} calls were affected", self.ends);
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_line_and_its_end_another() {
        let condition = LoggedOnce::new("it begins", "it is over");
        assert_eq!(condition.over(), None);
        assert!(condition.met("a", "a for 1 s"));
        assert!(!condition.met("a", "a for 2 s"));
        assert!(condition.met("b", "b"));
        assert_eq!((condition.over(), condition.over()), (Some(3), None));
        assert!(condition.met("b", "b"));
    }
}
