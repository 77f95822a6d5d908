//! What a node knows of the other nodes on the same database: how many there are, and what they have done. A store that
//! only one process can use has no other nodes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Store;
use crate::backlog::Count;
use crate::error::Error;
use crate::overview::Cause;
use crate::record::{ClaimedRequest, Owner, RequestClaim};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// A node stops beginning runs when this much of its lease is left, so that it has stopped before others take over.
pub const MARGIN: Duration = Duration::from_secs(5);

/// What a recovery has done.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The number of other nodes that live.
    pub others: usize,
    /// The number of nodes that have ended, and whose claims the recovery has ended.
    pub ended: usize,
    /// By how much the store's own time is behind the time of the node that has started first, in µs. `None`: no living
    /// node has started earlier.
    pub(crate) behind: Option<i64>,
    /// The number of requests that wait again. The number of crashes of each of these requests was raised by one.
    pub requests: usize,
    /// The number of reports that wait again. Each of these reports has one more attempt, whose outcome is unknown.
    pub reports: usize,
    /// The requests that are not run again, because they had too many crashes or were cancelled. The recovery has
    /// claimed these requests, and the worker must settle them.
    pub lost: Vec<ClaimedRequest>,
}

/// A node, as the store knows it.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    /// The id, which is new at each start.
    pub id: String,
    /// The process and its machine, as a text for the operator.
    pub name: String,
    /// The version of the program.
    pub version: String,
    pub started: Timestamp,
    /// How long ago the node has committed something, by the clock of the database. `None`: the node has committed
    /// nothing yet.
    pub silent: Option<Duration>,
    /// Whether the node has ended.
    pub is_over: bool,
    /// Whether this process is the node.
    pub is_this: bool,
    /// The number of requests that the node has claimed.
    pub running: u64,
    /// The number of reports that the node has claimed.
    pub delivering: u64,
}

impl Store {
    /// Returns whether other processes may use the store at the same time, as nodes on one database.
    pub fn is_shared(&self) -> bool {
        self.0.is_shared
    }

    /// Returns how many nodes use the store, with this one.
    pub fn living_nodes(&self) -> usize {
        self.0.shared.local.lease.others() + 1
    }

    /// Returns the nodes that use the store, and some of those that have ended, the latest start first. A store that only
    /// one process can use knows no nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, Error> {
        self.reader()?.nodes().await.map_err(Error::Backend)
    }

    /// Waits until this process may begin a run: a node that has not been able to commit for most of its lease waits,
    /// because others may soon take its claims over. Returns at once if no other process can use the store. Cancel-safe.
    pub async fn may_begin(&self) {
        self.0.shared.local.lease.held().await;
    }

    /// Waits until the store has taken over what nodes that have ended had left behind. Only one task should call this
    /// method: a signal wakes one waiting task.
    pub async fn taken_over(&self) {
        self.0.shared.local.wake.taken_over.notified().await;
    }
}

/// What other nodes have done, as a backend reads it. A backend of one process answers that there is nothing new.
pub(crate) trait News: Send + Sync {
    /// Returns the claims of this node whose requests are marked as cancelled.
    fn cancelled(&self) -> BoxFuture<'_, Result<Vec<RequestClaim>, Cause>> {
        ready(Ok(Vec::new())).boxed()
    }

    /// Returns the disabled URLs and origins, with the version of the list. If the version is `known`, returns `None`.
    fn disabled_since(&self, known: Option<Version>) -> BoxFuture<'_, Result<Option<(Version, DisabledNames)>, Cause>> {
        let _ = known;
        ready(Ok(None)).boxed()
    }

    /// Returns the numbers of waiting requests. `None`: this process counts them itself.
    fn waiting(&self) -> BoxFuture<'_, Result<Option<WaitingCounts>, Cause>> {
        ready(Ok(None)).boxed()
    }

    /// Returns how far these requests are. A request that the store does not have is left out.
    fn marks<'a>(&'a self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<(RequestId, Mark)>, Cause>> {
        let _ = ids;
        ready(Ok(Vec::new())).boxed()
    }

    /// Returns the nodes that live, and some of those that have ended, the latest start first.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, Cause>> {
        ready(Ok(Vec::new())).boxed()
    }
}

/// Tells a state of a list apart from all others that the list has had.
pub(crate) type Version = [i64; 3];

/// The disabled URLs and origins, each with whether the operator has disabled it.
pub(crate) type DisabledNames = HashMap<String, bool>;

/// The numbers of waiting requests, by route and by owner.
#[derive(Debug, Default)]
pub(crate) struct WaitingCounts {
    pub routes: HashMap<String, Count>,
    pub owners: HashMap<Owner, Count>,
}

/// How far a request is. If two marks of a request differ, its status or its progress has changed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub has_ended: bool,
    pub is_running: bool,
    pub epoch: i64,
    /// The number of times that the request has told its progress.
    pub told: i64,
}

/// Whether this node may begin runs: it has committed something lately, so no other node takes its claims over.
pub(crate) struct Lease {
    /// `None`: no other process can take over.
    time: Option<Duration>,
    renewed: watch::Sender<Instant>,
    /// The number of other nodes that live.
    others: AtomicUsize,
}

impl Lease {
    pub(crate) fn new(time: Option<Duration>) -> Self {
        let time = time.map(|time| time.saturating_sub(MARGIN));
        Self { time, renewed: watch::Sender::new(Instant::now()), others: AtomicUsize::new(0) }
    }

    /// Records that a transaction which began at this time was committed.
    pub(crate) fn renew(&self, begun: Instant) {
        if self.time.is_some() {
            self.renewed.send_replace(begun);
        }
    }

    /// Waits until this node may begin a run.
    pub(crate) async fn held(&self) {
        let Some(time) = self.time else { return };
        if self.renewed.borrow().elapsed() < time {
            return;
        }
        // The sender is a field of this value, so it is not dropped meanwhile.
        let _ = self.renewed.subscribe().wait_for(|renewed| renewed.elapsed() < time).await;
    }

    pub(crate) fn set_others(&self, others: usize) {
        self.others.store(others, Ordering::Relaxed);
    }

    pub(crate) fn others(&self) -> usize {
        self.others.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_commits_nothing_begins_no_run_before_others_take_over() {
        let lease = Lease::new(Some(Duration::from_secs(15)));
        tokio::time::advance(Duration::from_secs(9)).await;
        lease.held().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut held = Box::pin(lease.held());
        assert!((&mut held).now_or_never().is_none());
        // A transaction that took longer than the lease proves nothing.
        lease.renew(Instant::now() - Duration::from_secs(11));
        assert!((&mut held).now_or_never().is_none());
        lease.renew(Instant::now());
        held.await;
        Lease::new(None).held().await;
    }
}
