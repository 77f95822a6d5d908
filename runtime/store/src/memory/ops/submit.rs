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
        if let Some(known) = tables.requests.get(&request.id) {
            tables.quotas.requests.release(1, bytes);
            return if known.digest == digest { Submitted::Known } else { Submitted::Conflict };
        }
        let seq = tables.next_seq();
        if is_pre_claimed {
            tables.running += 1;
        } else {
            tables.add_waiting(&request.route, (now.due, seq), request.id.clone());
        }
        let row = Request {
            seq,
            digest,
            due: now.due,
            epoch: u32::from(is_pre_claimed),
            failures: 0,
            cancelled: false,
            registration: request.registration.clone(),
            state: if is_pre_claimed { RequestState::Running } else { RequestState::Queued },
            bytes,
            new: request.clone(),
        };
        tables.requests.insert(request.id.clone(), row);
        Submitted::New
    }
}

fn digest(request: &NewRequest) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((request.route.len() as u64).to_le_bytes());
    hasher.update(&request.route);
    hasher.update(&request.body);
    hasher.finalize().into()
}
