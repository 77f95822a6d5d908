//! Requests of the memory backend.

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::{Row, Tables};
use crate::id::RequestId;
use crate::report::Outcome;
use crate::store::backlog::stored_bytes;
use crate::store::clock::Now;
use crate::store::operation::{CLAIM_BYTES, Outgoing, outcome_bytes, report_bytes, request_bytes};
use crate::store::record::{
    Batch, ClaimedRequest, NewRequest, Registration, RequestClaim, RequestRecord, RequestState, Settled, Submitted,
};
use crate::time::Timestamp;

pub(super) struct Request {
    seq: u64,
    new: NewRequest,
    /// Of route and body, kept when the body is not.
    digest: [u8; 32],
    due: Timestamp,
    pub(super) epoch: u32,
    failures: u32,
    pub(super) cancelled: bool,
    pub(super) registration: Option<Registration>,
    pub(super) state: RequestState,
    /// What it takes up in the ledger while unfinished.
    bytes: usize,
}

impl Request {
    pub(super) fn route(&self) -> &str {
        &self.new.route
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        stored_bytes(&self.new.headers, &self.new.body)
    }

    fn claimed(&self) -> ClaimedRequest {
        ClaimedRequest {
            failures: self.failures,
            cancelled: self.cancelled,
            registration: self.registration.clone(),
            ..self.new.clone().claimed(self.epoch)
        }
    }
}

impl Tables {
    pub(super) fn submit(&mut self, request: &NewRequest, born: bool, now: Now) -> Submitted {
        let digest = digest(request);
        let bytes = request_bytes(request);
        if let Some(known) = self.requests.get(&request.id) {
            self.ledgers.requests.release(1, bytes);
            return if known.digest == digest { Submitted::Known } else { Submitted::Conflict };
        }
        let seq = self.next_seq();
        if born {
            self.running += 1;
        } else {
            self.due_requests.insert((now.due, seq), request.id.clone());
        }
        let row = Request {
            seq,
            digest,
            due: now.due,
            epoch: u32::from(born),
            failures: 0,
            cancelled: false,
            registration: None,
            state: if born { RequestState::Running } else { RequestState::Queued },
            bytes,
            new: request.clone(),
        };
        self.requests.insert(request.id.clone(), row);
        Submitted::New
    }

    pub(super) fn claim_requests(&mut self, limit: usize, routes: &[String], now: Timestamp) -> Batch<ClaimedRequest> {
        let ours = |id: &RequestId| self.requests.get(id).is_some_and(|row| routes.contains(&row.new.route));
        let mut due = self.due_requests.iter().filter(|(_, id)| ours(id));
        let mut picked = Vec::new();
        let mut bytes = 0;
        let mut next_due = None;
        for ((due, seq), id) in due.by_ref() {
            let size = self.requests.get(id).map_or(0, |row| row.bytes);
            if *due > now || picked.len() == limit || (bytes > 0 && bytes + size > CLAIM_BYTES) {
                next_due = Some(*due);
                break;
            }
            bytes += size;
            picked.push((*due, *seq));
        }
        let mut rows = Vec::with_capacity(picked.len());
        for place in picked {
            let Some(row) = self.due_requests.remove(&place).and_then(|id| self.requests.get_mut(&id)) else {
                continue;
            };
            row.state = RequestState::Running;
            row.epoch += 1;
            self.running += 1;
            rows.push(row.claimed());
        }
        Batch { rows, next_due }
    }

    /// The row, if the claim is current.
    fn current(&mut self, claim: &RequestClaim) -> Option<&mut Request> {
        self.standing_so(claim, &RequestState::Running)
    }

    fn standing_so(&mut self, claim: &RequestClaim, state: &RequestState) -> Option<&mut Request> {
        let row = self.requests.get_mut(&claim.id)?;
        (row.state == *state && row.epoch == claim.epoch).then_some(row)
    }

    pub(super) fn register(&mut self, claim: &RequestClaim, registration: &Registration) -> Settled {
        let Some(row) = self.current(claim) else { return Settled::Stale };
        row.registration = Some(registration.clone());
        Settled::Current
    }

    pub(super) fn settle_request(
        &mut self,
        claim: &RequestClaim,
        from: &RequestState,
        outcome: &Outcome,
        reports: &[Outgoing],
        now: Now,
    ) -> Settled {
        let Some(row) = self.standing_so(claim, from) else {
            for Outgoing { report, .. } in reports.iter().filter(|outgoing| outgoing.report.refused.is_none()) {
                self.ledgers.reports.release(1, report_bytes(report));
            }
            return Settled::Stale;
        };
        row.state = RequestState::Settled(outcome.clone());
        // What nobody asks for any more; the digest stays.
        row.new.body = Bytes::new();
        row.new.headers = HeaderMap::new();
        row.registration = None;
        let (place, waited, bytes) = ((outcome.finished, row.seq), (row.due, row.seq), row.bytes);
        match from {
            RequestState::Queued => drop(self.due_requests.remove(&waited)),
            _ => self.running -= 1,
        }
        self.ledgers.requests.release(1, bytes);
        self.finish(place, Row::Request(claim.id.clone()), outcome_bytes(outcome));
        for outgoing in reports {
            self.insert_report(outgoing, now);
        }
        Settled::Current
    }

    pub(super) fn release_request(
        &mut self,
        claim: &RequestClaim,
        due: Timestamp,
        failed: bool,
        now: Timestamp,
    ) -> Settled {
        let Some(row) = self.current(claim) else { return Settled::Stale };
        row.state = RequestState::Queued;
        // Nothing is tried again that would have to be waited for.
        let due = if row.cancelled { due.min(now) } else { due };
        row.due = due;
        row.failures += u32::from(failed);
        let place = (due, row.seq);
        self.running -= 1;
        self.due_requests.insert(place, claim.id.clone());
        Settled::Current
    }

    pub(super) fn request(&self, id: &RequestId) -> Option<RequestRecord> {
        let Request { new, state, .. } = self.requests.get(id)?;
        Some(RequestRecord { id: id.clone(), route: new.route.clone(), state: state.clone() })
    }
}

fn digest(request: &NewRequest) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((request.route.len() as u64).to_le_bytes());
    hasher.update(&request.route);
    hasher.update(&request.body);
    hasher.finalize().into()
}
