//! What goes on for a while is told in the log when it begins and when it is over, however many calls meet it.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Something that goes on, or not.
pub(super) struct LoggedOnce {
    begins: &'static str,
    ends: &'static str,
    /// Looked at first, since it is nearly always so.
    is_over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the last line was for.
    cause: Option<String>,
    times: u64,
}

impl LoggedOnce {
    pub(super) fn new(begins: &'static str, ends: &'static str) -> Self {
        Self { begins, ends, is_over: AtomicBool::new(true), state: Mutex::default() }
    }

    /// Met once more. `cause` tells apart what has a line each; whether this one was given one.
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

    /// It does not go on. How often it was met, if it did before.
    pub(super) fn over(&self) -> Option<u64> {
        if self.is_over.swap(true, Ordering::AcqRel) {
            return None;
        }
        let State { times, .. } = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        tracing::info!(times, "{}; it was met {times} times", self.ends);
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_line_and_its_end_another() {
        let told = LoggedOnce::new("it begins", "it is over");
        assert_eq!(told.over(), None);
        assert!(told.met("a", "a for 1 s"));
        assert!(!told.met("a", "a for 2 s"));
        assert!(told.met("b", "b"));
        assert_eq!((told.over(), told.over()), (Some(3), None));
        assert!(told.met("b", "b"));
    }
}
