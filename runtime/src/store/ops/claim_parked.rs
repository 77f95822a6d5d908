//! Claims parked reports when their origin has a turn.

use crate::store::operation::{Operation, Untaken};
use crate::store::record::{Batch, ClaimedReport};
use crate::store::{Error, Store};

/// Claims up to `limit` due reports that are parked under this line. The report that is due longest comes first.
#[derive(Debug)]
pub(crate) struct ClaimParked {
    /// An origin, or one URL of an origin.
    pub(crate) line: String,
    pub(crate) limit: usize,
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
    pub(crate) async fn claim_parked(&self, line: &str, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        Ok(self.by_wall(self.ask(ClaimParked { line: line.to_owned(), limit }).await?))
    }
}
