//! What became of reports since the process started: for the one who asks after a flush.

use std::sync::atomic::{AtomicU64, Ordering};

use super::record::Next;

/// Counts ends of deliveries.
#[derive(Default)]
pub(crate) struct Tally {
    delivered: AtomicU64,
    given_up: AtomicU64,
}

/// A [`Tally`] as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) delivered: u64,
    /// The schedule was over, the report may not go there or is not wanted, or it could not be written.
    pub(crate) given_up: u64,
}

impl Tally {
    /// To be counted before those are woken who wait for first tries, and look here next.
    pub(crate) fn settled(&self, next: Next) {
        match next {
            Next::Delivered => self.delivered.fetch_add(1, Ordering::Relaxed),
            Next::Dead | Next::Refused | Next::Gone { .. } => self.given_up.fetch_add(1, Ordering::Relaxed),
            Next::RetryAt(_) => return,
        };
    }

    pub(crate) fn unwritten(&self, reports: u64) {
        self.given_up.fetch_add(reports, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counted {
        Counted { delivered: self.delivered.load(Ordering::Relaxed), given_up: self.given_up.load(Ordering::Relaxed) }
    }
}
