//! Claims due requests, to be run.

use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Operation, Untaken};
use crate::record::{Batch, ClaimedRequest};

/// The operation that claims up to `limit` due requests of these routes. Within a route, the requests that have been
/// due longest are claimed first.
#[derive(Debug)]
pub(crate) struct ClaimRequests {
    pub limit: usize,
    pub routes: Arc<[String]>,
    /// The number of running requests of each route. If the list has no number for a route, the number is 0. The
    /// requests of the route with the smallest number are claimed first.
    pub running: Vec<usize>,
    /// Whether the claim may include one *suspect*: a request that was running when an earlier process ended.
    pub suspects: bool,
}

impl Operation for ClaimRequests {
    type Answer = Batch<ClaimedRequest>;

    fn committed(&self, answer: &Batch<ClaimedRequest>, local: &Local) {
        local.backlog.claimed(&answer.rows);
        local.handoff.next_request(answer.next_due);
        for row in &answer.rows {
            local.wake.watches.changed(&row.claim.id);
        }
    }

    fn untaken(answer: Batch<ClaimedRequest>, untaken: &mut Untaken) {
        untaken.requests.extend(answer.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` due requests of the worker's routes. Within a route, the requests that have been due
    /// longest are claimed first. The claimed rows have at most [`CLAIM_BYTES`](crate::sizes::CLAIM_BYTES), unless the
    /// first row alone has more. If more requests are due, the time `next_due` in the answer is in the past.
    #[cfg(any(test, feature = "testing"))]
    pub async fn claim_requests(&self, limit: usize) -> Result<Batch<ClaimedRequest>, Error> {
        self.claim_requests_beside(limit, |_| 0, true).await
    }

    /// Claims up to `limit` due requests of the worker's routes. The claimed rows have at most 8 MiB, unless the first
    /// row alone has more. `running` returns the number of running requests of a route. The requests of the route with
    /// the smallest number are claimed first.
    ///
    /// If `suspects` is true, the claim may include one *suspect*: a request that was running when an earlier process
    /// ended. Suspects are run one after the other, so that an operator can see which of them makes the process end.
    /// While a suspect runs, no other suspect may be claimed, and the time `next_due` in the answer ignores suspects.
    pub async fn claim_requests_beside(
        &self,
        limit: usize,
        running: impl Fn(&str) -> usize,
        suspects: bool,
    ) -> Result<Batch<ClaimedRequest>, Error> {
        let routes = self.0.shared.local.handoff.routes();
        let running = routes.iter().map(|route| running(route)).collect();
        Ok(self.by_wall(self.ask(ClaimRequests { limit, routes, running, suspects }).await?))
    }
}
