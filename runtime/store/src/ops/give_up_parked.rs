//! Gives up parked reports that are too old.

use std::time::Duration;

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::Operation;
use crate::overview::DeliveryStatus;
use crate::record::Next;
use postback_wire::id::ReportId;
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// The operation that ends up to `limit` parked reports as dead, if the reports were made before the time `before`.
#[derive(Debug)]
pub(crate) struct GiveUpParked {
    pub before: Timestamp,
    pub limit: usize,
}

impl Operation for GiveUpParked {
    /// The ids of the reports that this operation ended as dead.
    type Answer = Vec<ReportId>;

    fn committed(&self, answer: &Vec<ReportId>, local: &Local) {
        if answer.is_empty() {
            return;
        }
        metrics::counter!(metric::DELIVERIES_FINISHED, "state" => "dead").increment(answer.len() as u64);
        local.tally.dead_together(answer.len());
        for id in answer {
            local.counters.settled(Next::Dead);
            local.wake.first_attempts.done(*id);
        }
    }

    fn changes(&self, answer: &Vec<ReportId>, changes: &mut Vec<Change>) {
        changes.extend(answer.iter().map(|id| Change::delivery(*id, DeliveryStatus::Dead)));
    }
}

impl Store {
    /// Ends up to `limit` parked reports as dead, if the reports are older than `age`. Returns the number of reports
    /// that were ended. The age is measured by the store's own time, so a jump of the wall clock ends no report.
    pub async fn give_up_parked(&self, age: Duration, limit: usize) -> Result<usize, Error> {
        let before = self.0.shared.local.clock.now().due.saturating_sub(age);
        self.ask(GiveUpParked { before, limit }).await.map(|dead| dead.len())
    }
}
