//! A barrier: an operation that is answered when everything before it is committed.

use super::Kind as _;
use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::Operation;
use postback_wire::time::Timestamp;

/// An operation that writes nothing. Its answer comes after the commit of every operation that was queued before it.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// How many reports were posted before the barrier. The writer sets this number, and a backend returns it.
    pub posted: u64,
}

impl Operation for Barrier {
    /// The answer: how many reports were posted before the barrier.
    type Answer = u64;

    fn prepare(&mut self, local: &Local, _: Timestamp) {
        self.posted = local.wake.first_attempts.count();
    }
}

impl Store {
    /// Returns when all operations that were queued before this call are committed. Returns the number of reports that
    /// were posted until then. Reports of settlements count; reports that are refused without an attempt do not.
    pub async fn barrier(&self) -> Result<u64, Error> {
        Barrier::answer(self.inbox().barrier().await?.wait().await?).ok_or(Error::Closed)
    }
}
