//! Requests are claimed to be run; and their runs begin.

use super::begun::Running;
use super::operation::{Op, Reply, RequestsWanted};
use super::record::{Batch, ClaimedRequest, RequestClaim};
use super::{Error, Store};

impl Store {
    /// Claims up to `limit` due requests of the attached routes, of each route the longest due first. No more than
    /// [`CLAIM_BYTES`](super::operation::CLAIM_BYTES), unless the first alone has more; if others are due too, `next_due` says so.
    #[cfg(test)]
    pub(crate) async fn claim_requests(&self, limit: usize) -> Result<Batch<ClaimedRequest>, Error> {
        self.claim_requests_beside(limit, |_| 0, true).await
    }

    /// The same, while so many of each route run: whoever has least comes first.
    ///
    /// `suspects`: one of them may have been running when its process ended. Such requests are run one by one, so that it is
    /// found out which of them ended it; while one is, they are not to be claimed, and `next_due` does not speak of them.
    pub(crate) async fn claim_requests_beside(
        &self,
        limit: usize,
        running: impl Fn(&str) -> usize,
        suspects: bool,
    ) -> Result<Batch<ClaimedRequest>, Error> {
        let routes = self.0.shared.handoff.routes();
        let running = routes.iter().map(|route| running(route)).collect();
        match self.ask(Op::ClaimRequests(RequestsWanted { limit, routes, running, suspects })).await? {
            Reply::Requests(batch) => Ok(self.by_wall(batch)),
            _ => Err(Error::Closed),
        }
    }

    /// To be told as the run of a claimed request really begins, and kept until it is over: only such a run counts the death of
    /// its process.
    pub(crate) fn begin(&self, claim: &RequestClaim) -> Option<Running> {
        self.0.begun.as_ref().map(|begun| begun.begin(claim))
    }

    /// The operator ends the process at once: the runs that it cuts off do not count that as a crash.
    pub(crate) fn forget_begun(&self) {
        if let Some(begun) = &self.0.begun {
            begun.forget();
        }
    }
}
