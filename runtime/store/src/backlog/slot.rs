//! What a new request takes of the backlog before its row is written, and what a waiting request has taken of it.

use std::sync::Arc;

use super::{Backlog, Running};
use crate::record::Owner;
use postback_wire::id::RequestId;

/// The route, the owner and the size of a request that was counted as waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub route: String,
    pub owner: Owner,
    pub bytes: u64,
}

/// A slot for one new request in the count of waiting requests. When the slot is dropped, it becomes free again, unless
/// the row of the request was written as waiting.
pub(crate) struct QueueSlot {
    backlog: Arc<Backlog>,
    route: Arc<str>,
    owner: Owner,
    bytes: u64,
    stays: bool,
}

impl QueueSlot {
    /// Makes the slot of a request that was just counted as waiting.
    pub(super) fn new(backlog: Arc<Backlog>, route: Arc<str>, owner: Owner, bytes: u64) -> Self {
        Self { backlog, route, owner, bytes, stays: false }
    }

    /// Records that the row of the request was written as waiting, so that the slot stays occupied.
    pub(crate) fn waits(mut self) {
        self.stays = true;
    }

    /// Frees the slot and counts the request as running, because the row of the request was written as running.
    pub(crate) fn runs(self, id: &RequestId) {
        let running = Running { route: self.route.clone(), owner: self.owner.clone(), bytes: self.bytes };
        self.backlog.lock().begin(id, running);
        self.backlog.owners.runs(id, &self.owner, self.bytes);
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        if !self.stays {
            self.backlog.lock().remove(&self.route, self.bytes);
            self.backlog.owners.remove(&self.owner, self.bytes);
        }
    }
}

impl std::fmt::Debug for QueueSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueSlot").field("route", &self.route).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
