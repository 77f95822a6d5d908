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

use super::operation::{Op, Reply, Waited};
use super::record::{Claim, NewReport, Registration, RequestClaim, Settled};
use super::{Error, Store};
use crate::id::RequestId;
use crate::report::Outcome;

/// What became of the wish to cancel a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It waited, and is over now, with this outcome.
    AtOnce(Outcome),
    /// It runs, and is being stopped.
    Stopping,
    /// It was over before; nothing changed.
    Over,
    /// There is none of this id on this route.
    Unknown,
}

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
    /// Cancels a request of this route. `end` makes outcome and reports of one that waits, from what an earlier run of it
    /// registered; it is called again if the request was claimed and put back meanwhile.
    pub(crate) async fn cancel(
        &self,
        id: &RequestId,
        route: &str,
        mut end: impl FnMut(Option<Registration>) -> (Outcome, Vec<NewReport>),
    ) -> Result<Cancelled, Error> {
        // Of many who want the same at once the first commits it, and the others see that it is done.
        let _turn = self.0.shared.wake.cancels.turns.of(id).await;
        loop {
            let standing = self.reader()?.standing(id).await.map_err(Error::Backend)?;
            let Some(CancelView { phase, route }) = standing.filter(|standing| standing.route == route) else {
                return Ok(Cancelled::Unknown);
            };
            match phase {
                Phase::Settled => return Ok(Cancelled::Over),
                Phase::Queued { epoch, registration, bytes } => {
                    let (outcome, reports) = end(registration);
                    let (claim, waited) = (Claim { id: id.clone(), epoch }, Waited { route, bytes });
                    let op = Op::settle_queued(claim, waited, outcome.clone(), reports);
                    if self.settle(op).await? == Settled::Current {
                        return Ok(Cancelled::AtOnce(outcome));
                    }
                }
                Phase::Running { cancelled: true } => return Ok(Cancelled::Stopping),
                Phase::Running { cancelled: false } => match self.ask(Op::CancelRunning { id: id.clone() }).await? {
                    Reply::Cancelling(Some(_)) => return Ok(Cancelled::Stopping),
                    Reply::Cancelling(None) => {}
                    _ => return Err(Error::Closed),
                },
            }
        }
    }

    /// Headers and body of a request of this route that waits, and of which it is not known where its end is reported.
    pub(crate) async fn unregistered(&self, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, Error> {
        self.reader()?.unregistered(id, route).await.map_err(Error::Backend)
    }

    /// Cancelled when the request that runs under this claim is to be stopped, be it before this was asked for.
    pub(crate) fn cancellation(&self, claim: &RequestClaim) -> CancellationToken {
        self.0.shared.wake.cancels.of(claim)
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
