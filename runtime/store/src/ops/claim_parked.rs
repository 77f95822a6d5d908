//! Claims parked reports when their origin has a turn.

use crate::Store;
use crate::error::Error;
use crate::operation::{Operation, Untaken};
use crate::record::{Batch, ClaimedReport};

/// Claims up to `limit` due reports that are parked under this line. The report that is due longest comes first.
#[derive(Debug)]
pub(crate) struct ClaimParked {
    /// An origin, or one URL of an origin.
    pub line: String,
    pub limit: usize,
}

impl Operation for ClaimParked {
    type Answer = Batch<ClaimedReport>;

    fn untaken(answer: Batch<ClaimedReport>, untaken: &mut Untaken) {
        untaken.reports.extend(answer.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` due reports that are parked under this line, which is an origin or one URL of an origin.
    /// The report that is due longest comes first. The claimed rows have at most 8 MiB, unless the first row alone has
    /// more. `next_due` is the due time of the next report that is parked under the line.
    pub async fn claim_parked(&self, line: &str, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        Ok(self.by_wall(self.ask(ClaimParked { line: line.to_owned(), limit }).await?))
    }
}
