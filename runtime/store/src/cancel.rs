//! How a request is cancelled, and how its run learns of it.
//!
//! The commit that cancels a waiting request also ends the request, and writes the reports of that outcome. A running
//! request is marked in the store as cancelled, and its run is asked to stop after the commit. The worker then settles
//! the request as cancelled. But if the run ended before it stopped, the run's own outcome counts. A marked request is
//! not run again, even if its run fails or its process ends: the worker that claims the request settles it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::error::Error;
use crate::record::{Owner, Registration, RequestClaim};
use crate::terms::Extras;
use postback_wire::id::RequestId;

/// The data of a request that the store needs before it can cancel the request.
#[derive(Clone, Debug)]
pub(crate) struct CancelView {
    pub route: String,
    pub owner: Owner,
    pub extras: Option<Arc<Extras>>,
    pub phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The request waits. The registration of the request cannot change while its epoch stays the same: only a run can
    /// store a registration, and a run needs a claim, which raises the epoch.
    Queued {
        epoch: u32,
        registration: Option<Registration>,
        /// The number of bytes that the request adds to the total of all waiting requests.
        bytes: u64,
    },
    Running {
        /// Whether the request was already marked as cancelled.
        cancelled: bool,
    },
    Settled,
}

impl Store {
    /// Returns the headers and the body of this request, if the request waits, has this route, and has no registration.
    /// (A registration says to which webhooks the outcome is reported.) Otherwise returns `None`.
    pub async fn unregistered(&self, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, Error> {
        self.reader()?.unregistered(id, route).await.map_err(Error::Backend)
    }

    /// Returns the cancellation token of the run under this claim. The token is cancelled when the run should stop. If
    /// the request is already marked as cancelled, the token is already cancelled.
    pub fn cancellation(&self, claim: &RequestClaim) -> CancellationToken {
        self.0.shared.local.wake.cancels.of(claim)
    }
}

/// The cancellation tokens of runs, by claim. The map has a token for each run that has asked for its token, and for
/// each cancelled run that has not asked for its token yet. A token is removed when its claim ends.
#[derive(Default)]
pub(crate) struct Cancels {
    tokens: Mutex<HashMap<RequestClaim, CancellationToken>>,
    turns: Turns,
}

/// Locks for the cancellation of requests: only one caller at a time can cancel a request. A hash of the request's id
/// selects the lock, so several ids share a lock.
struct Turns([tokio::sync::Mutex<()>; 64]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| tokio::sync::Mutex::default()))
    }
}

impl Turns {
    async fn of(&self, id: &RequestId) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        // Invariant: the index is valid, because the remainder is below 64 and there are 64 locks.
        self.0[(hash % 64) as usize].lock().await
    }
}

impl Cancels {
    /// Waits until no other caller is cancelling this request, and then locks the request for this caller.
    pub(super) async fn turn(&self, id: &RequestId) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns.of(id).await
    }

    fn of(&self, claim: &RequestClaim) -> CancellationToken {
        self.lock().entry(claim.clone()).or_default().clone()
    }

    /// Tells the run under this claim to stop. Called after the commit that marks the request as cancelled.
    pub(super) fn cancel(&self, claim: &RequestClaim) {
        self.of(claim).cancel();
    }

    /// Tells the run under this claim to stop, if there is such a run. Another node has marked its request.
    pub(super) fn cancel_run(&self, claim: &RequestClaim) {
        if let Some(token) = self.lock().get(claim) {
            token.cancel();
        }
    }

    /// Removes the cancellation token of this claim. Called after the commit that ends the claim.
    pub(super) fn over(&self, claim: &RequestClaim) {
        self.lock().remove(claim);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestClaim, CancellationToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}
