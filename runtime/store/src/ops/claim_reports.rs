//! Claims due reports, to be delivered.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Operation, Untaken};
use crate::overview::DeliveryStatus;
use crate::record::{Batch, ClaimedReport};

/// The operation that claims up to `limit` due reports. The reports that have been due longest are claimed first.
#[derive(Debug)]
pub(crate) struct ClaimReports {
    pub limit: usize,
}

impl Operation for ClaimReports {
    type Answer = Batch<ClaimedReport>;

    fn committed(&self, answer: &Batch<ClaimedReport>, local: &Local) {
        local.handoff.next_report(answer.next_due);
    }

    fn changes(&self, answer: &Batch<ClaimedReport>, changes: &mut Vec<Change>) {
        changes.extend(answer.rows.iter().map(|row| Change::delivery(row.claim.id, DeliveryStatus::Delivering)));
    }

    fn untaken(answer: Batch<ClaimedReport>, untaken: &mut Untaken) {
        untaken.reports.extend(answer.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` due reports. The reports that have been due longest are claimed first. The claimed rows
    /// have at most 8 MiB, unless the first row alone has more.
    pub async fn claim_reports(&self, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        Ok(self.by_wall(self.ask(ClaimReports { limit }).await?))
    }
}
