//! Writes a new request.

use sha2::{Digest as _, Sha256};

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::memory::requests::Request;
use crate::ops::Submit;
use crate::record::{NewRequest, RequestState, Submitted};
use crate::sizes::request_bytes;

impl Apply for Submit {
    fn apply(&self, tables: &mut Tables, now: Now) -> Submitted {
        let (request, is_pre_claimed) = (&self.request, self.room.is_some());
        let digest = digest(request);
        let bytes = request_bytes(request);
        if let Some(answer) = tables.accepted(request) {
            tables.quotas.requests.release(1, bytes);
            if answer == Submitted::Known {
                tables.name(request);
            }
            return answer;
        }
        let seq = tables.next_seq();
        let due = request.terms.run_at.map_or(now.due, |at| now.due_at(at).max(now.due));
        if let Some(key) = request.idempotency {
            tables.keys.insert(key, request.id.clone());
        }
        let row = Request {
            seq,
            digest,
            due,
            deadline: request.terms.deadline.map(|deadline| now.due_at(deadline)),
            epoch: u32::from(is_pre_claimed),
            failures: 0,
            cancelled: false,
            registration: request.registration.clone(),
            started: is_pre_claimed.then_some(now.wall),
            progress: None,
            checkpoint: None,
            runs: Vec::new(),
            state: if is_pre_claimed { RequestState::Running } else { RequestState::Queued },
            bytes,
            new: (**request).clone(),
        };
        tables.list_new(seq, request);
        tables.requests.insert(request.id.clone(), row);
        if is_pre_claimed {
            tables.running += 1;
        } else {
            tables.waits(&request.id, now.due);
        }
        Submitted::New
    }
}

impl Tables {
    /// Returns the answer to a request whose id or idempotency key was used before.
    pub(in crate::memory) fn accepted(&self, request: &NewRequest) -> Option<Submitted> {
        let Some(known) = self.requests.get(&request.id) else { return self.repeated(request) };
        Some(if known.digest == digest(request) { Submitted::Known } else { Submitted::Conflict })
    }

    /// Keeps the idempotency key of a request that was accepted before without one.
    fn name(&mut self, request: &NewRequest) {
        let Some(key) = request.idempotency else { return };
        if let Some(row) = self.requests.get_mut(&request.id)
            && row.new.idempotency.is_none()
            && !self.keys.contains_key(&key)
        {
            row.new.idempotency = Some(key);
            self.keys.insert(key, request.id.clone());
        }
    }

    /// Returns the answer to a request whose idempotency key was used before. `None`: the key is new, or the request
    /// has no key.
    fn repeated(&self, request: &NewRequest) -> Option<Submitted> {
        let id = self.keys.get(request.idempotency.as_ref()?)?;
        let same = self.requests.get(id)?.digest == digest(request);
        Some(if same { Submitted::Repeated(id.clone()) } else { Submitted::KeyReused })
    }
}

fn digest(request: &NewRequest) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((request.route.len() as u64).to_le_bytes());
    hasher.update(&request.route);
    hasher.update((request.owner.len() as u64).to_le_bytes());
    hasher.update(request.owner.as_bytes());
    hasher.update((request.query().len() as u64).to_le_bytes());
    hasher.update(request.query());
    hasher.update(&request.body);
    hasher.finalize().into()
}
