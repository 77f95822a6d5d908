//! Accepts a request.

use super::Kind as _;
use crate::Store;
use crate::backlog::{OwnerLimits, QueueSlot, stored_bytes};
use crate::error::{Bound, Error};
use crate::feed::Change;
use crate::handoff::PreClaimed;
use crate::local::Local;
use crate::operation::{Effect, Key, Line, Operation, Untaken};
use crate::overview::RequestStatus;
use crate::quota::Quotas;
use crate::record::{NewRequest, Submitted};
use crate::room::RequestRoom;
use crate::sizes::request_bytes;
use postback_wire::time::Timestamp;

/// The operation that writes a new request. If the store already has a request with this id, the operation writes
/// nothing.
#[derive(Debug)]
pub(crate) struct Submit {
    /// Boxed, because it is much larger than what other operations carry.
    pub request: Box<NewRequest>,
    /// The room that the store has taken from the worker for this request. If there is room, the request is
    /// *pre-claimed*: it is written as running in this process, and is sent through memory to the worker after the
    /// commit. `None`: the request is written as waiting.
    pub room: Option<RequestRoom>,
    /// Whether the request is a row of the table `handed_in`. Then the row is deleted with the same commit, and if it is
    /// not there any more, nothing is written: the request was taken before.
    pub is_handed_in: bool,
    /// The slot of the request. While the slot is occupied, the request counts as a waiting request.
    pub slot: Option<QueueSlot>,
}

impl Operation for Submit {
    type Answer = Submitted;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.request.id.clone()))
    }

    fn own_bytes(&self) -> usize {
        request_bytes(&self.request)
    }

    fn line(&self) -> Line<'_> {
        Line::Route(&self.request.route)
    }

    fn reserve(&mut self, quotas: &Quotas) -> bool {
        quotas.requests.try_reserve(1, request_bytes(&self.request))
    }

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        let due = self.request.terms.run_at.map(|at| local.clock.due_at(at)).filter(|due| *due > now);
        self.room = match due {
            None => local.handoff.room_for_request(&self.request.route, now),
            Some(due) => {
                local.handoff.request_waits(Some(&self.request.route), due);
                None
            }
        };
    }

    fn changes(&self, answer: &Submitted, changes: &mut Vec<Change>) {
        if *answer == Submitted::New {
            let status = if self.room.is_some() { RequestStatus::Running } else { RequestStatus::Queued };
            let route = Some(self.request.route.as_str().into());
            changes.push(Change::Request { id: self.request.id.clone(), route, status, cancelling: false });
        }
    }

    fn effect(answer: &Submitted) -> Effect {
        match answer {
            Submitted::New => Effect::Written,
            Submitted::Known | Submitted::Conflict | Submitted::Repeated(_) | Submitted::KeyReused => Effect::Silent,
        }
    }

    fn announce(self, local: &Local, untaken: &mut Untaken) {
        local.tally.accepted(&self.request.route);
        if let Some(room) = self.room {
            if let Some(slot) = self.slot {
                slot.runs(&self.request.id);
            }
            let row = self.request.claimed(1);
            untaken.requests.extend(local.handoff.give_request(PreClaimed { row, room }));
        } else {
            if let Some(slot) = self.slot {
                slot.waits();
            }
            local.wake.requests.notify_one();
            if let Some(deadline) = self.request.terms.deadline {
                local.wake.deadlines.waits(Some(local.clock.due_at(deadline)));
            }
        }
    }
}

impl Store {
    /// Accepts a request. The request is committed before the future returns `Ok`. The future waits while the queue to
    /// the writer is full. If too many requests wait to be run, or if too little disk space is free, the store refuses
    /// the request without waiting.
    pub async fn submit(&self, request: NewRequest) -> Result<Submitted, Error> {
        self.submit_within(request, OwnerLimits::default()).await
    }

    /// Accepts a request as [`submit`](Self::submit) does, but refuses the request if its owner has too many waiting
    /// requests already.
    ///
    /// A request that was accepted before is not refused: its caller gets the answer that it gets at other times.
    pub async fn submit_within(&self, request: NewRequest, limits: OwnerLimits) -> Result<Submitted, Error> {
        let slot = match self.slot_of(&request, limits) {
            Ok(slot) => Some(slot),
            Err(bound) => return self.accepted_before(request, Error::Refused(bound)).await,
        };
        // A backend with rows in memory refuses later, when the request is gone.
        let identity = if self.inbox().has_quotas() { request.identity() } else { None };
        let submit = Submit { request: Box::new(request), room: None, is_handed_in: false, slot };
        match (self.inbox().push(submit.into()).await, identity) {
            (Ok(answer), _) => Submit::answer(answer.wait().await?).ok_or(Error::Closed),
            (Err(error @ Error::Full), Some(identity)) => self.accepted_before(identity, error).await,
            (Err(error), _) => Err(error),
        }
    }

    /// Whether [`slot_of`](Self::slot_of) would find a slot now. Unlike there, nothing is counted as refused.
    pub(crate) fn has_room(&self, request: &NewRequest) -> bool {
        let bytes = stored_bytes(&request.headers, &request.body);
        !self.0.shared.space.is_low() && self.0.shared.local.backlog.has_room(&request.route, bytes)
    }

    /// Takes a slot among the waiting requests. Returns the bound that leaves no slot for the request.
    pub(crate) fn slot_of(&self, request: &NewRequest, limits: OwnerLimits) -> Result<QueueSlot, Bound> {
        self.0.shared.space.check()?;
        let bytes = stored_bytes(&request.headers, &request.body);
        self.0.shared.local.backlog.take(&request.route, (&request.owner, limits), bytes)
    }

    /// Returns the answer to a request that was accepted before. If it was not, returns the error.
    async fn accepted_before(&self, request: NewRequest, error: Error) -> Result<Submitted, Error> {
        let Some(identity) = request.identity() else { return Err(error) };
        // If the store cannot read, the caller gets the refusal, which is true as well.
        let accepted = self.reader()?.accepted(&identity).await.unwrap_or_default();
        accepted.ok_or(error)
    }
}
