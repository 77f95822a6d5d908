//! Claims parked reports when their origin has a turn.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::operation::{Operation, Untaken};
use crate::overview::DeliveryStatus;
use crate::record::{Batch, ClaimedReport};

/// The operation that claims up to `limit` due reports that are parked under `line`. The reports that have been due
/// longest are claimed first.
#[derive(Debug)]
pub(crate) struct ClaimParked {
    /// The origin, or the URL, under which the reports are parked.
    pub line: String,
    pub limit: usize,
}

impl Operation for ClaimParked {
    type Answer = Batch<ClaimedReport>;

    fn changes(&self, answer: &Batch<ClaimedReport>, changes: &mut Vec<Change>) {
        changes.extend(answer.rows.iter().map(|row| Change::delivery(row.claim.id, DeliveryStatus::Delivering)));
    }

    fn untaken(answer: Batch<ClaimedReport>, untaken: &mut Untaken) {
        untaken.reports.extend(answer.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` due reports that are parked under `line`, which is an origin or one URL of an origin. The
    /// reports that have been due longest are claimed first. The claimed rows have at most 8 MiB, unless the first row
    /// alone has more. In the answer, `next_due` is the due time of the next report that is parked under `line`.
    pub async fn claim_parked(&self, line: &str, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        Ok(self.by_wall(self.ask(ClaimParked { line: line.to_owned(), limit }).await?))
    }
}
