//! How a request is cancelled, and how its run learns of it.
//!
//! The commit that cancels a waiting request also ends it, with the reports of that outcome. A running request is
//! marked in the store, and its run is asked to stop after the commit. The worker then settles the request as
//! cancelled; but if the run ended before it stopped, the run's own outcome counts. A marked request is not run again,
//! even if its run fails or its process ends: the worker that claims it settles it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::error::Error;
use crate::record::{Registration, RequestClaim};
use postback_wire::id::RequestId;

/// What has to be known of a request before it is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct CancelView {
    pub route: String,
    pub phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The registration cannot change while the request waits: only a claim leads to a change, and a claim changes the
    /// epoch.
    Queued {
        epoch: u32,
        registration: Option<Registration>,
        /// The bytes that the request takes among those that wait.
        bytes: u64,
    },
    Running {
        /// Whether the request is marked as cancelled.
        cancelled: bool,
    },
    Settled,
}

impl Store {
    /// Headers and body of a waiting request of this route. `None` also if the request has a registration, which says
    /// where its outcome is reported.
    pub async fn unregistered(&self, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, Error> {
        self.reader()?.unregistered(id, route).await.map_err(Error::Backend)
    }

    /// A token that is cancelled when the run under this claim is to stop. If the request was marked before this call,
    /// the token is cancelled already.
    pub fn cancellation(&self, claim: &RequestClaim) -> CancellationToken {
        self.0.shared.local.wake.cancels.of(claim)
    }
}

/// The tokens of runs that want to know whether they are cancelled, and of cancelled runs that did not ask yet. A token
/// is removed when its claim ends.
#[derive(Default)]
pub(crate) struct Cancels {
    tokens: Mutex<HashMap<RequestClaim, CancellationToken>>,
    turns: Turns,
}

/// Lets one caller at a time cancel a request. The lock is chosen by a hash of the id, so several ids share a lock.
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

    /// Asks the run under this claim to stop. The mark on the request is committed.
    pub(super) fn cancel(&self, claim: &RequestClaim) {
        self.of(claim).cancel();
    }

    /// Removes the token of a claim that has ended. The end is committed.
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
