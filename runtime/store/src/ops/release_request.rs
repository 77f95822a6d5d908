//! Puts a running request back into the queue.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::overview::RequestStatus;
use crate::record::{RequestClaim, Settled};
use crate::timeline::RunEnd;
use postback_wire::time::Timestamp;

/// The operation that puts the request that runs under this claim back into the queue.
#[derive(Debug)]
pub(crate) struct ReleaseRequest {
    pub claim: RequestClaim,
    /// The time when the request is due, by the store's own time. `None`: the request is due now.
    pub due: Option<Timestamp>,
    /// Whether the run has begun. If so, it is kept among the earlier runs, and the deadline of the request is met.
    pub begun: bool,
    /// Whether the run failed. A failed run is counted as a failure of the request.
    pub failed: bool,
    /// The error of the run, for the operator.
    pub detail: Option<String>,
}

impl ReleaseRequest {
    pub(crate) fn end(&self) -> RunEnd {
        if self.failed { RunEnd::Failed } else { RunEnd::PutBack }
    }
}

impl Operation for ReleaseRequest {
    type Answer = Settled;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.claim.id.clone()))
    }

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        let route = local.backlog.route_of(&self.claim.id);
        local.handoff.request_waits(route.as_deref(), self.due.unwrap_or(now));
    }

    /// Counts the request as waiting. This comes before the claims of the same batch are counted, because one of them
    /// may have claimed the request again.
    fn committed(&self, answer: &Settled, local: &Local) {
        if *answer == Settled::Current {
            local.backlog.released(&self.claim.id);
        }
    }

    fn changes(&self, answer: &Settled, changes: &mut Vec<Change>) {
        if *answer == Settled::Current {
            changes.push(Change::request(&self.claim.id, RequestStatus::Queued));
        }
    }

    fn effect(answer: &Settled) -> Effect {
        (*answer).into()
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.watches.changed(&self.claim.id);
        local.wake.cancels.over(&self.claim);
        local.wake.requests.notify_one();
        // After the first run has begun, its deadline no longer matters.
        if !self.begun {
            local.wake.deadlines.waits(None);
        }
    }

    fn stale(&self, local: &Local) {
        local.wake.cancels.over(&self.claim);
    }
}

impl Store {
    /// Puts a request back into the queue after a failed run. The run is counted as a failure. The request can be run
    /// again at the time `due` or later.
    ///
    /// `detail` is the error of the run, for the operator.
    pub async fn retry_request(
        &self,
        claim: RequestClaim,
        due: Timestamp,
        detail: Option<String>,
    ) -> Result<Settled, Error> {
        let due = self.0.shared.local.clock.due_at(due);
        self.ask(ReleaseRequest { claim, due: Some(due), begun: true, failed: true, detail }).await
    }

    /// Puts a request back into the queue because its run was interrupted, for example by a shutdown. The run is not
    /// counted as a failure.
    pub async fn put_back_request(&self, claim: RequestClaim) -> Result<Settled, Error> {
        self.ask(ReleaseRequest { claim, due: None, begun: true, failed: false, detail: None }).await
    }

    /// Puts a request back into the queue whose run has not begun. Nothing is kept of the claim.
    pub async fn give_back_request(&self, claim: RequestClaim) -> Result<Settled, Error> {
        self.ask(ReleaseRequest { claim, due: None, begun: false, failed: false, detail: None }).await
    }
}
