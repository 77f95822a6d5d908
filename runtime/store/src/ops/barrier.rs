//! A barrier: an operation that is answered when everything before it is committed.

use super::Kind as _;
use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::Operation;
use postback_wire::time::Timestamp;

/// An operation that writes nothing. It is answered after the commit of every operation that was queued before it.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// The number of reports that were posted before the barrier. The writer sets this number, and the backend returns
    /// it.
    pub posted: u64,
}

impl Operation for Barrier {
    /// The number of reports that were posted before the barrier.
    type Answer = u64;

    fn prepare(&mut self, local: &Local, _: Timestamp) {
        self.posted = local.wake.first_attempts.count();
    }
}

impl Store {
    /// Waits until all operations that were queued before this call are committed. Returns the number of reports that
    /// were posted until then. The number includes the reports of settlements, but not reports that are refused without
    /// an attempt.
    pub async fn barrier(&self) -> Result<u64, Error> {
        Barrier::answer(self.inbox().barrier().await?.wait().await?).ok_or(Error::Closed)
    }
}
