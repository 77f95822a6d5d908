//! Records an attempt, and changes the state of its report.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::overview::DeliveryStatus;
use crate::record::{Attempt, Next, ReportClaim, Settled};
use postback_wire::time::Timestamp;

/// The operation that records an attempt for the report under this claim, and changes the state of the report according
/// to `next`.
#[derive(Debug)]
pub(crate) struct SettleReport {
    pub claim: ReportClaim,
    pub attempt: Attempt,
    pub next: Next,
}

/// The result of a [`SettleReport`] operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SettledReport {
    /// The attempt was written. No URL was disabled.
    Current,
    /// The attempt was written, and this URL is disabled from now on.
    Disabled(String),
    /// The claim was not current any more, so nothing was written.
    Stale,
}

impl SettledReport {
    fn settled(&self) -> Settled {
        match self {
            Self::Current | Self::Disabled(_) => Settled::Current,
            Self::Stale => Settled::Stale,
        }
    }
}

impl Operation for SettleReport {
    type Answer = SettledReport;

    fn key(&self) -> Option<Key> {
        Some(Key::Report(self.claim.id))
    }

    fn own_bytes(&self) -> usize {
        self.attempt.response.len()
    }

    fn prepare(&mut self, local: &Local, _: Timestamp) {
        if self.next.disables() && !local.disabled.has_room() {
            self.next = self.next.without_disabling();
        }
        if let Next::RetryAt(due) = self.next {
            local.handoff.report_waits(due);
        }
    }

    fn committed(&self, answer: &SettledReport, local: &Local) {
        if let SettledReport::Disabled(url) = answer {
            local.disabled.add(url);
        }
    }

    fn changes(&self, answer: &SettledReport, changes: &mut Vec<Change>) {
        if answer.settled() == Settled::Current {
            let status = match self.next {
                Next::RetryAt(_) => DeliveryStatus::Pending,
                Next::Delivered | Next::DeliveredLast => DeliveryStatus::Delivered,
                Next::Dead => DeliveryStatus::Dead,
                Next::Refused => DeliveryStatus::Refused,
                Next::Gone { .. } => DeliveryStatus::Gone,
            };
            changes.push(Change::delivery(self.claim.id, status));
        }
    }

    fn effect(answer: &SettledReport) -> Effect {
        answer.settled().into()
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.counters.settled(self.next);
        local.wake.first_attempts.done(self.claim.id);
        if matches!(self.next, Next::RetryAt(_)) {
            local.wake.reports.notify_one();
        }
    }
}

impl Store {
    /// Records an attempt for the report under this claim, and changes the state of the report according to `next`.
    pub async fn settle_report(&self, claim: ReportClaim, attempt: Attempt, next: Next) -> Result<Settled, Error> {
        let next = match next {
            Next::RetryAt(at) => Next::RetryAt(self.0.shared.local.clock.due_at(at)),
            next => next,
        };
        Ok(self.ask(SettleReport { claim, attempt, next }).await?.settled())
    }
}
