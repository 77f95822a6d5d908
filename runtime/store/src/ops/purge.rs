//! Deletes requests and reports that ended long ago.

use std::time::Duration;

use crate::Store;
use crate::clock::Trust;
use crate::error::Error;
use crate::local::Local;
use crate::operation::Operation;
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// The operation that deletes up to `limit` requests and reports that were finished before the time `before`, and gives
/// up held reports that were due before that time.
#[derive(Debug)]
pub(crate) struct Purge {
    /// A wall-clock time. The operation deletes requests and reports that were finished before this time.
    pub before: Timestamp,
    pub limit: usize,
    /// How far the store now trusts the wall clock. The operation writes this value to the backend. `None`: the value
    /// in the backend is not changed.
    pub trust: Option<Trust>,
}

/// The result of a [`Purge`] operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of rows that were deleted.
    pub deleted: usize,
    /// The number of held reports that were given up, because their URL was not enabled in time.
    pub given_up: usize,
    /// Whether more rows are old enough to be deleted. One commit deletes only a limited number of rows and a limited
    /// number of bytes.
    pub more: bool,
}

impl Operation for Purge {
    type Answer = Purged;

    fn committed(&self, answer: &Purged, _: &Local) {
        if answer.given_up > 0 {
            metrics::counter!(metric::DELIVERIES_FINISHED, "state" => "gone").increment(answer.given_up as u64);
        }
    }
}

impl Store {
    /// Deletes up to `limit` rows (requests and reports together) that ended longer than `retention` ago. Gives up at
    /// most `limit` held reports that were due longer than `retention` ago. One call deletes at most
    /// [`PURGE_BYTES`](crate::sizes::PURGE_BYTES) of requests, and as many bytes of reports, unless the first row alone
    /// has more.
    pub async fn purge_ended(&self, retention: Duration, limit: usize) -> Result<Purged, Error> {
        let clock = &self.0.shared.local.clock;
        let (before, trust) = clock.ended_before(retention);
        let purged = self.ask(Purge { before, limit, trust }).await?;
        if let Some(trust) = trust {
            clock.keep(trust);
        }
        Ok(purged)
    }

    /// Deletes requests and reports that were finished before this time, and gives up held reports. Returns the number
    /// of deleted rows plus the number of reports that were given up.
    #[cfg(any(test, feature = "testing"))]
    pub async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.ask(Purge { before, limit, trust: None }).await.map(|purged| purged.deleted + purged.given_up)
    }
}
