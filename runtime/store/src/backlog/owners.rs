//! Counts the waiting requests of each owner, and refuses new requests beyond the bounds of their owner.
//!
//! Requests without an owner are not counted here, so they cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Count, Limits};
use crate::error::Bound;
use crate::record::{ClaimedRequest, Owner};
use postback_wire::id::RequestId;
use postback_wire::names::metric;

/// The limits of the waiting requests of one owner. `None`: there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerLimits {
    pub rows: Option<u64>,
    /// The largest number of bytes of all these requests together. A single request may have more bytes if no other
    /// request of the owner waits.
    pub bytes: Option<u64>,
}

pub(super) struct Owners(Mutex<State>);

#[derive(Default)]
struct State {
    /// The waiting requests of each owner. An owner without waiting requests is not in the map.
    waiting: HashMap<Owner, Count>,
    /// The owner and the bytes of each running request that has an owner.
    running: HashMap<RequestId, (Owner, u64)>,
}

impl State {
    fn add(&mut self, owner: Owner, more: Count) {
        let count = self.waiting.entry(owner).or_default();
        count.rows += more.rows;
        count.bytes += more.bytes;
    }

    fn remove(&mut self, owner: &str, bytes: u64) {
        if let Some(count) = self.waiting.get_mut(owner) {
            count.rows = count.rows.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(bytes);
            if count.rows == 0 {
                self.waiting.remove(owner);
            }
        }
    }
}

impl Owners {
    pub(super) fn new(left: HashMap<Owner, Count>) -> Self {
        let waiting = left.into_iter().filter(|(owner, _)| !owner.is_empty()).collect();
        Self(Mutex::new(State { waiting, running: HashMap::new() }))
    }

    /// Replaces the counts of waiting requests.
    pub(super) fn recount(&self, all: HashMap<Owner, Count>) {
        self.lock().waiting = all.into_iter().filter(|(owner, _)| !owner.is_empty()).collect();
    }

    /// Counts a new request of this owner as waiting. Fails if a limit refuses the request.
    pub(super) fn take(&self, owner: &Owner, bytes: u64, limits: OwnerLimits) -> Result<(), Bound> {
        if owner.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        let all = state.waiting.get(owner).copied().unwrap_or_default();
        let limits = Limits { rows: limits.rows.unwrap_or(u64::MAX), bytes: limits.bytes.unwrap_or(u64::MAX) };
        if let Some(bound) = limits.bound(all, bytes).map(Bound::of_owner) {
            metrics::counter!(metric::REQUESTS_REFUSED, "reason" => bound.name()).increment(1);
            return Err(bound);
        }
        state.add(Arc::clone(owner), Count { rows: 1, bytes });
        Ok(())
    }

    /// Removes a request that waits no more, or was never written.
    pub(super) fn remove(&self, owner: &str, bytes: u64) {
        if !owner.is_empty() {
            self.lock().remove(owner, bytes);
        }
    }

    /// Counts a request that was written as running. The request has not been counted as waiting.
    pub(super) fn runs(&self, id: &RequestId, owner: &Owner, bytes: u64) {
        if !owner.is_empty() {
            self.lock().running.insert(id.clone(), (Arc::clone(owner), bytes));
        }
    }

    /// Counts a claimed request as running instead of waiting.
    pub(super) fn claimed(&self, row: &ClaimedRequest, bytes: u64) {
        self.remove(&row.owner, bytes);
        self.runs(&row.claim.id, &row.owner, bytes);
    }

    /// Counts a running request as waiting again.
    pub(super) fn released(&self, id: &RequestId) {
        let mut state = self.lock();
        if let Some((owner, bytes)) = state.running.remove(id) {
            state.add(owner, Count { rows: 1, bytes });
        }
    }

    /// Removes a running request that is settled.
    pub(super) fn settled(&self, id: &RequestId) {
        self.lock().running.remove(id);
    }

    #[cfg(test)]
    pub(super) fn count_of(&self, owner: &str) -> Count {
        self.lock().waiting.get(owner).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
