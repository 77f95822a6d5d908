//! Sends a delivery again that is over.
//!
//! The repetition is a delivery of its own, with its own attempts. It has the `webhook-id` and the bytes of the first
//! delivery, so a receiver can see that it has the report already. The record of the first delivery does not change.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Key, Operation, Untaken};
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

/// Writes a copy of a delivery that is over. The copy is due now.
#[derive(Debug)]
pub(crate) struct Replay {
    pub delivery: ReportId,
    /// The id of the copy.
    pub copy: ReportId,
}

/// The answer to [`Replay`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The repetition is due now, as this delivery.
    As { delivery: ReportId, url: String },
    /// The delivery is not over: its report is sent anyway.
    NotOver,
    /// An earlier repetition is not over: this delivery.
    Waiting { delivery: ReportId },
    /// The body of the report is no longer stored. The memory backend deletes the body when a delivery is over.
    NoBody,
    /// No delivery has this id.
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

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Sends a delivery again that is over, however it ended. A second repetition is refused while the first is not
    /// over.
    pub async fn replay(&self, delivery: ReportId) -> Result<Replayed, Error> {
        self.ask(Replay { delivery, copy: ReportId::generate() }).await
    }
}
