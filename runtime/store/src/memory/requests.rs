//! Requests of the memory backend.

use std::sync::Arc;

use bytes::Bytes;

use super::Tables;
use crate::backlog::stored_bytes;
use crate::progress::Progress;
use crate::record::{ClaimedRequest, NewRequest, Registration, RequestClaim, RequestRecord, RequestState};
use crate::timeline::EarlierRun;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// A checkpoint, and the time when it was saved.
pub(super) struct KeptCheckpoint {
    pub(super) value: Bytes,
    pub(super) saved: Timestamp,
}

pub(super) struct Request {
    pub(super) seq: u64,
    pub(super) new: NewRequest,
    /// The digest of the owner, the route, the query and the body. The store keeps the digest after it has deleted the body.
    pub(super) digest: [u8; 32],
    pub(super) due: Timestamp,
    /// The time until which the first run must begin, in the store's own time.
    pub(super) deadline: Option<Timestamp>,
    pub(super) epoch: u32,
    pub(super) failures: u32,
    pub(super) cancelled: bool,
    pub(super) registration: Option<Arc<Registration>>,
    /// The time when the last run began. `None`: no run has begun.
    pub(super) started: Option<Timestamp>,
    /// What the request has told last about its progress.
    pub(super) progress: Option<Box<KeptProgress>>,
    /// What the runs of the request have saved last.
    pub(super) checkpoint: Option<KeptCheckpoint>,
    /// The runs that did not end the request, the oldest first.
    pub(super) runs: Vec<EarlierRun>,
    pub(super) state: RequestState,
    /// The number of bytes of the request that count against the memory limit until the request has ended.
    pub(super) bytes: usize,
}

/// What a request has told last about its progress.
pub(super) struct KeptProgress {
    pub(super) progress: Progress,
    /// The part of the bytes of the request that is for the progress. It is 0 if there was no memory for the texts.
    pub(super) bytes: usize,
}

impl Request {
    pub(super) fn waiting_bytes(&self) -> u64 {
        stored_bytes(&self.new.headers, &self.new.body)
    }

    pub(super) fn claimed(&self) -> ClaimedRequest {
        ClaimedRequest {
            failures: self.failures,
            cancelled: self.cancelled,
            registration: self.registration.clone(),
            ..self.new.clone().claimed(self.epoch)
        }
    }
}

impl Tables {
    /// Returns the request, if it is in this state and its epoch is the epoch of the claim.
    pub(super) fn current_request(&mut self, claim: &RequestClaim, state: &RequestState) -> Option<&mut Request> {
        let row = self.requests.get_mut(&claim.id)?;
        (row.state == *state && row.epoch == claim.epoch).then_some(row)
    }

    /// Deletes a request together with its idempotency key.
    pub(super) fn forget_request(&mut self, id: &RequestId) {
        let Some(row) = self.requests.remove(id) else { return };
        self.unlist(&row);
        let Request { new, .. } = row;
        if let Some(key) = new.idempotency {
            self.keys.remove(&key);
        }
    }

    pub(super) fn request(&self, id: &RequestId) -> Option<RequestRecord> {
        let Request { new, state, .. } = self.requests.get(id)?;
        Some(RequestRecord { id: id.clone(), route: new.route.clone(), owner: new.owner.clone(), state: state.clone() })
    }
}
