//! Waits until everything before it is committed.

use super::Kind as _;
use crate::store::local::Local;
use crate::store::operation::Operation;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// Writes nothing. Its answer comes after the commit of every operation that was queued before it.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// How many reports were posted before the barrier. The writer sets this number, and a backend returns it.
    pub(crate) posted: u64,
}

impl Operation for Barrier {
    /// How many reports were posted before the barrier.
    type Answer = u64;

    fn prepare(&mut self, local: &Local, _: Timestamp) {
        self.posted = local.wake.tried.count();
    }
}

impl Store {
    /// Returns when everything that was taken in before is committed. Returns how many reports were posted until then.
    /// Reports of settlements count; reports that are refused without an attempt do not.
    pub(crate) async fn barrier(&self) -> Result<u64, Error> {
        Barrier::answer(self.inbox().barrier().await?.wait().await?).ok_or(Error::Closed)
    }
}
