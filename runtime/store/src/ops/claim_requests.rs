//! Claims due requests, to be run.

use std::sync::Arc;

use crate::Store;
use crate::backlog::Busy;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Operation, Untaken};
use crate::overview::RequestStatus;
use crate::record::{Batch, ClaimedRequest};
use postback_wire::time::Timestamp;

/// The operation that claims up to `limit` due requests of these routes. The owners of a
/// route share what is claimed of it. Of the requests of one owner, those of the highest priority are claimed first, and
/// of these the requests that have been due longest.
#[derive(Debug)]
pub(crate) struct ClaimRequests {
    pub limit: usize,
    pub routes: Arc<[String]>,
    /// The load of each route. If the list has no load for a route, nothing of the route runs, and it has no limit.
    pub loads: Vec<Load>,
    /// Whether the claim may include one *suspect*: a request that was running when an earlier process ended.
    pub suspects: bool,
    /// How many requests of each owner run.
    pub busy: Busy,
}

/// How many requests of a route run, and how many more may.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The requests of the route with the smallest number are claimed first.
    pub running: usize,
    pub free: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { running: 0, free: usize::MAX }
    }
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub batch: Batch<ClaimedRequest>,
    /// When the next request of each route is due, also of a route that is full. `None`: no request of the route waits.
    pub next: Vec<Option<Timestamp>>,
}

impl ClaimRequests {
    pub(crate) fn load(&self, place: usize) -> Load {
        self.loads.get(place).copied().unwrap_or_default()
    }
}

impl Operation for ClaimRequests {
    type Answer = Claimed;

    fn prepare(&mut self, local: &Local, _: Timestamp) {
        self.busy = Busy::of_all(&local.backlog);
    }

    fn committed(&self, answer: &Claimed, local: &Local) {
        local.backlog.claimed(&answer.batch.rows);
        local.handoff.next_requests(&self.routes, &answer.next);
        for row in &answer.batch.rows {
            local.wake.watches.changed(&row.claim.id);
        }
    }

    fn changes(&self, answer: &Claimed, changes: &mut Vec<Change>) {
        let rows = answer.batch.rows.iter();
        changes.extend(rows.map(|row| Change::request(&row.claim.id, RequestStatus::Running)));
    }

    fn untaken(answer: Claimed, untaken: &mut Untaken) {
        untaken.requests.extend(answer.batch.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` due requests of the worker's routes. Of the requests of one owner, those of the highest
    /// priority are claimed first, and of these the requests that have been due longest. The claimed rows have at most [`CLAIM_BYTES`](crate::sizes::CLAIM_BYTES), unless the
    /// first row alone has more. If more requests are due, the time `next_due` in the answer is in the past.
    #[cfg(any(test, feature = "testing"))]
    pub async fn claim_requests(&self, limit: usize) -> Result<Batch<ClaimedRequest>, Error> {
        self.claim_requests_beside(limit, |_| Load::default(), true).await
    }

    /// Claims up to `limit` due requests of the worker's routes. The claimed rows have at most 8 MiB, unless the first
    /// row alone has more. `load` returns the load of a route. The requests of the route with the fewest running
    /// requests are claimed first, and within a route those of the owner with the fewest. No request of a full route is claimed, and the time `next_due` in the answer ignores
    /// the routes that are full after the claim.
    ///
    /// If `suspects` is true, the claim may include one *suspect*: a request that was running when an earlier process
    /// ended. Suspects are run one after the other, so that an operator can see which of them makes the process end.
    /// While a suspect runs, no other suspect may be claimed, and the time `next_due` in the answer ignores suspects.
    pub async fn claim_requests_beside(
        &self,
        limit: usize,
        load: impl Fn(&str) -> Load,
        suspects: bool,
    ) -> Result<Batch<ClaimedRequest>, Error> {
        let routes = self.0.shared.local.handoff.routes();
        let loads = routes.iter().map(|route| load(route)).collect();
        Ok(self.by_wall(self.ask(ClaimRequests { limit, routes, loads, suspects, busy: Busy::default() }).await?.batch))
    }
}
