//! Parks a claimed report: it waits in the store for its origin's turn.

use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::operation::{Effect, Key, Operation};
use crate::overview::DeliveryStatus;
use crate::record::{ReportClaim, Settled};

/// The operation that parks the report under this claim. The claimed attempt is not counted, and the due time of the
/// report is not changed.
#[derive(Debug)]
pub(crate) struct ParkReport {
    pub claim: ReportClaim,
    /// The origin, or one URL of an origin, under which the report is parked. `None`: the report is parked under its
    /// own origin.
    pub line: Option<Arc<str>>,
}

impl Operation for ParkReport {
    type Answer = Settled;

    fn key(&self) -> Option<Key> {
        Some(Key::Report(self.claim.id))
    }

    fn changes(&self, answer: &Settled, changes: &mut Vec<Change>) {
        if *answer == Settled::Current {
            changes.push(Change::delivery(self.claim.id, DeliveryStatus::Parked));
        }
    }

    fn effect(answer: &Settled) -> Effect {
        (*answer).into()
    }
}

impl Store {
    /// Parks a claimed report that was not attempted: the report waits until its origin has a turn. The claimed attempt
    /// is not counted, and the due time of the report is not changed.
    pub async fn park_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        self.ask(ParkReport { claim, line: None }).await
    }

    /// Parks a claimed report like [`park_report`](Self::park_report), but under `line`, which is one URL of the
    /// report's origin. Then a claim of the reports that are parked under the origin does not include this report.
    pub async fn park_report_under(&self, claim: ReportClaim, line: Arc<str>) -> Result<Settled, Error> {
        self.ask(ParkReport { claim, line: Some(line) }).await
    }
}
