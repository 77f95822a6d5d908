//! Puts back a claimed report that was not attempted.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::overview::DeliveryStatus;
use crate::record::{ReportClaim, Settled};
use postback_wire::time::Timestamp;

/// The operation that makes the report under this claim pending again. The claimed attempt is not counted.
#[derive(Debug)]
pub(crate) struct ReleaseReport {
    pub claim: ReportClaim,
    /// The time when the report is due, by the store's own time. `None`: the report is due now.
    pub due: Option<Timestamp>,
}

impl Operation for ReleaseReport {
    type Answer = Settled;

    fn key(&self) -> Option<Key> {
        Some(Key::Report(self.claim.id))
    }

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        local.handoff.report_waits(self.due.unwrap_or(now));
    }

    fn changes(&self, answer: &Settled, changes: &mut Vec<Change>) {
        if *answer == Settled::Current {
            changes.push(Change::delivery(self.claim.id, DeliveryStatus::Pending));
        }
    }

    fn effect(answer: &Settled) -> Effect {
        (*answer).into()
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Makes a claimed report that was not attempted pending again. The claimed attempt is not counted, and the report
    /// is due now.
    pub async fn put_back_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        self.ask(ReleaseReport { claim, due: None }).await
    }

    /// Makes a claimed report that was not attempted pending again. The claimed attempt is not counted, and the report
    /// is due at the wall-clock time `due`.
    pub async fn put_back_report_until(&self, claim: ReportClaim, due: Timestamp) -> Result<Settled, Error> {
        let due = self.0.shared.local.clock.due_at(due);
        self.ask(ReleaseReport { claim, due: Some(due) }).await
    }
}
