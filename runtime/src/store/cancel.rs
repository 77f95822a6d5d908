//! Requests that are cancelled.
//!
//! One that waits comes to its end in the commit that cancels it, with the reports of that end. One that runs is marked, in
//! the store, and its run is told after the commit: it settles the request as cancelled, unless it came to its end by itself
//! before it was stopped. Then that is the outcome. A marked request is not run again, whatever becomes of its run and its
//! process: who claims it settles it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::record::{Registration, RequestClaim};
use super::{Error, Store};
use crate::id::RequestId;

/// A request as it has to be known to be cancelled.
#[derive(Clone, Debug)]
pub(crate) struct CancelView {
    pub(crate) route: String,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// What it registered cannot change before it is claimed, and then its epoch is another.
    Queued {
        epoch: u32,
        registration: Option<Registration>,
        /// What it takes up among those that wait.
        bytes: u64,
    },
    Running {
        /// It was marked before.
        cancelled: bool,
    },
    Settled,
}

impl Store {
    /// Headers and body of a request of this route that waits, and of which it is not known where its end is reported.
    pub(crate) async fn unregistered(&self, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, Error> {
        self.reader()?.unregistered(id, route).await.map_err(Error::Backend)
    }

    /// Cancelled when the request that runs under this claim is to be stopped, be it before this was asked for.
    pub(crate) fn cancellation(&self, claim: &RequestClaim) -> CancellationToken {
        self.0.shared.local.wake.cancels.of(claim)
    }
}

/// Runs that want to know whether they are cancelled, and cancelled ones that do not know it yet; until their claims end.
#[derive(Default)]
pub(crate) struct Cancels {
    told: Mutex<HashMap<RequestClaim, CancellationToken>>,
    turns: Turns,
}

/// Turns of those who cancel, by the id: one at a time for each, and a few ids share one.
struct Turns([tokio::sync::Mutex<()>; 64]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| tokio::sync::Mutex::default()))
    }
}

impl Turns {
    async fn of(&self, id: &RequestId) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        // Invariant: the remainder is below 64.
        self.0[(hash % 64) as usize].lock().await
    }
}

impl Cancels {
    /// Waits for the turn to cancel this request.
    pub(super) async fn turn(&self, id: &RequestId) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns.of(id).await
    }

    fn of(&self, claim: &RequestClaim) -> CancellationToken {
        self.lock().entry(claim.clone()).or_default().clone()
    }

    /// The mark on the request is committed.
    pub(super) fn cancel(&self, claim: &RequestClaim) {
        self.of(claim).cancel();
    }

    /// The claim came to its end, which is committed.
    pub(super) fn over(&self, claim: &RequestClaim) {
        self.lock().remove(claim);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestClaim, CancellationToken>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}
