//! Sends a delivery again that is over.
//!
//! The second delivery is a delivery of its own, with its own attempts. It has the `webhook-id` and the bytes of the
//! first delivery, so a receiver can see that it has the report already. The record of the first delivery does not
//! change.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Key, Operation, Untaken};
use crate::overview::DeliveryStatus;
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

/// The operation that writes a copy of a delivery that is over, so that the report is sent again. The copy is due now.
#[derive(Debug)]
pub(crate) struct Replay {
    pub delivery: ReportId,
    /// The id of the new delivery, which is a copy of the old delivery.
    pub copy: ReportId,
}

/// The result of a [`Replay`] operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The report will be sent again. The new delivery has this id and this URL, and is due now.
    As { delivery: ReportId, url: String },
    /// The delivery is not over, so the report will be sent without a replay.
    NotOver,
    /// An earlier replay of this report is not over. The delivery of that replay has this id.
    Waiting { delivery: ReportId },
    /// The body of the report is not stored any more, so the report cannot be sent again. (The memory backend deletes
    /// the body when a delivery is over.)
    NoBody,
    /// The store has no delivery with this id.
    Unknown,
}

impl Operation for Replay {
    type Answer = Replayed;

    fn key(&self) -> Option<Key> {
        Some(Key::Report(self.delivery))
    }

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        local.handoff.report_waits(now);
    }

    fn changes(&self, answer: &Replayed, changes: &mut Vec<Change>) {
        if let Replayed::As { delivery, .. } = answer {
            changes.push(Change::delivery(*delivery, DeliveryStatus::Pending));
        }
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Sends the report of a delivery again, if the delivery is over. The state in which the delivery ended does not
    /// matter. If the delivery or an earlier replay of its report is not over, writes nothing.
    pub async fn replay(&self, delivery: ReportId) -> Result<Replayed, Error> {
        self.ask(Replay { delivery, copy: ReportId::generate() }).await
    }
}
