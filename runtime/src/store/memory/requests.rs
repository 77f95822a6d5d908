//! Requests of the memory backend.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::{DueKey, Row, Tables};
use crate::id::RequestId;
use crate::report::Outcome;
use crate::store::backlog::stored_bytes;
use crate::store::clock::Now;
use crate::store::operation::{CLAIM_BYTES, Outgoing, RequestsWanted, outcome_bytes, report_bytes, request_bytes};
use crate::store::record::{
    Batch, ClaimedRequest, NewRequest, Registration, RequestClaim, RequestRecord, RequestState, Settled, Submitted,
};
use crate::store::share::{Line, shares};
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
    /// What it takes up in the quota while unfinished.
    bytes: usize,
}

impl Request {
    pub(super) fn route(&self) -> &str {
        &self.new.route
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        stored_bytes(&self.new.headers, &self.new.body)
    }

    pub(super) fn payload(&self) -> (HeaderMap, Bytes) {
        (self.new.headers.clone(), self.new.body.clone())
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
            self.quotas.requests.release(1, bytes);
            return if known.digest == digest { Submitted::Known } else { Submitted::Conflict };
        }
        let seq = self.next_seq();
        if born {
            self.running += 1;
        } else {
            self.wait(&request.route, (now.due, seq), request.id.clone());
        }
        let row = Request {
            seq,
            digest,
            due: now.due,
            epoch: u32::from(born),
            failures: 0,
            cancelled: false,
            registration: request.registration.clone(),
            state: if born { RequestState::Running } else { RequestState::Queued },
            bytes,
            new: request.clone(),
        };
        self.requests.insert(request.id.clone(), row);
        Submitted::New
    }

    /// Puts a request among those that wait.
    fn wait(&mut self, route: &str, place: DueKey, id: RequestId) {
        match self.due_requests.get_mut(route) {
            Some(waiting) => drop(waiting.insert(place, id)),
            None => drop(self.due_requests.insert(route.to_owned(), BTreeMap::from([(place, id)]))),
        }
    }

    /// Takes it out again.
    fn wait_no_more(&mut self, route: &str, place: DueKey) -> Option<RequestId> {
        let waiting = self.due_requests.get_mut(route)?;
        let id = waiting.remove(&place);
        if waiting.is_empty() {
            self.due_requests.remove(route);
        }
        id
    }

    pub(super) fn claim_requests(&mut self, wanted: &RequestsWanted, now: Timestamp) -> Batch<ClaimedRequest> {
        let mut lines: Vec<Line> = wanted
            .routes
            .iter()
            .enumerate()
            .map(|(place, route)| Line {
                running: wanted.running.get(place).copied().unwrap_or(0),
                due: self.head(route).filter(|due| *due <= now),
            })
            .collect();
        let mut rows: Vec<ClaimedRequest> = Vec::new();
        let mut bytes = 0;
        while rows.len() < wanted.limit {
            // One at a time: there is little to be saved here by taking several.
            let Some((place, _)) = shares(&lines, 1).first().copied() else { break };
            let (Some(line), Some(route)) = (lines.get_mut(place), wanted.routes.get(place)) else { break };
            let first = self.due_requests.get(route).and_then(|waiting| waiting.first_key_value());
            let Some((at, row)) = first.and_then(|(at, id)| Some((*at, self.requests.get(id)?))) else { break };
            if bytes > 0 && bytes + row.bytes > CLAIM_BYTES {
                line.due = None;
                continue;
            }
            bytes += row.bytes;
            let Some(row) = self.wait_no_more(route, at).and_then(|id| self.requests.get_mut(&id)) else { break };
            row.state = RequestState::Running;
            row.epoch += 1;
            self.running += 1;
            rows.push(row.claimed());
            line.running += 1;
            line.due = self.head(route).filter(|due| *due <= now);
        }
        let next_due = wanted.routes.iter().filter_map(|route| self.head(route)).min();
        Batch { rows, next_due }
    }

    /// When the first of a route is due.
    fn head(&self, route: &str) -> Option<Timestamp> {
        self.due_requests.get(route)?.first_key_value().map(|((due, _), _)| *due)
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
                self.quotas.reports.release(1, report_bytes(report));
            }
            return Settled::Stale;
        };
        row.state = RequestState::Settled(outcome.clone());
        // What nobody asks for any more; the digest stays.
        row.new.body = Bytes::new();
        row.new.headers = HeaderMap::new();
        row.registration = None;
        let (place, waited, bytes) = ((outcome.finished, row.seq), (row.due, row.seq), row.bytes);
        let route = row.new.route.clone();
        match from {
            RequestState::Queued => drop(self.wait_no_more(&route, waited)),
            _ => self.running -= 1,
        }
        self.quotas.requests.release(1, bytes);
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
        let (place, route) = ((due, row.seq), row.new.route.clone());
        self.running -= 1;
        self.wait(&route, place, claim.id.clone());
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
