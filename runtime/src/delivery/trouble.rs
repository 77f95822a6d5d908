//! What to do when the store fails: say so once, try again, less and less often.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::log::with_sources;
use crate::store::Error;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The failure of one kind of operation, told once per cause and once when it is over.
#[derive(Debug)]
pub(super) struct Trouble {
    what: &'static str,
    cause: Mutex<Option<String>>,
}

impl Trouble {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, cause: Mutex::new(None) }
    }

    /// Whether it was told, which it was before if the cause is the same.
    pub(super) fn met(&self, error: &Error) -> bool {
        let cause = with_sources(error);
        let mut last = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_ref() != Some(&cause);
        if new {
            tracing::error!(error = cause, "{} fails: {cause}; it is tried again until it succeeds", self.what);
            *last = Some(cause);
        }
        new
    }

    pub(super) fn over(&self) {
        if self.cause.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("{} succeeds again", self.what);
        }
    }
}

/// Pauses that double.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn a_cause_is_told_once() {
        let trouble = Trouble::new("claiming");
        assert!(trouble.met(&Error::Full));
        assert!(!trouble.met(&Error::Full));
        assert!(trouble.met(&Error::Closed));
        trouble.over();
        assert!(trouble.met(&Error::Closed));
    }
}
