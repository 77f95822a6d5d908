//! Holds a claimed report: it waits in the store until its URL is enabled again.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::overview::DeliveryStatus;
use crate::record::{ReportClaim, Settled};

/// The operation that holds the report under this claim, if the URL of the report is disabled. If the URL is enabled,
/// the operation makes the report pending again.
#[derive(Debug)]
pub(crate) struct HoldReport {
    pub claim: ReportClaim,
}

/// The result of a [`HoldReport`] operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// The report is held: the report waits until its URL is enabled.
    Held,
    /// The URL of the report is not disabled, so the report is pending again. Its due time is not changed.
    Pending,
    /// The claim was not current any more, so nothing was written.
    Stale,
}

impl Operation for HoldReport {
    type Answer = Holding;

    fn key(&self) -> Option<Key> {
        Some(Key::Report(self.claim.id))
    }

    fn committed(&self, answer: &Holding, local: &Local) {
        if *answer == Holding::Held {
            // Callers must not wait for the first attempt of a held report, because a held report is not attempted.
            local.wake.first_attempts.done(self.claim.id);
        }
    }

    fn changes(&self, answer: &Holding, changes: &mut Vec<Change>) {
        match answer {
            Holding::Held => changes.push(Change::delivery(self.claim.id, DeliveryStatus::Held)),
            Holding::Pending => changes.push(Change::delivery(self.claim.id, DeliveryStatus::Pending)),
            Holding::Stale => {}
        }
    }

    fn effect(answer: &Holding) -> Effect {
        match answer {
            Holding::Held => Effect::Silent,
            Holding::Pending => Effect::Written,
            Holding::Stale => Effect::Stale,
        }
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.handoff.report_waits(local.clock.now().due);
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Holds a claimed report that was not attempted: the report waits until its URL is enabled. The claimed attempt is
    /// not counted. If the URL is not disabled, the report is pending again, and its due time is not changed.
    pub async fn hold_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        Ok(match self.ask(HoldReport { claim }).await? {
            Holding::Held | Holding::Pending => Settled::Current,
            Holding::Stale => Settled::Stale,
        })
    }
}
