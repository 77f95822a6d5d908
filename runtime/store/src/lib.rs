//! The store: everything that is durable.
//!
//! A [`Store`] holds requests, their outcomes and the reports about them. The rows are in memory, in SQLite or in
//! PostgreSQL. All backends follow these rules, and the tests in `suite` check each of them:
//!
//! - The store answers after the commit. Operations of many callers share one transaction (the group commit, in
//!   `writer`). An operation is applied completely or not at all, even if its caller went away.
//! - A request is queued, running or settled. A report is pending, delivering or over (delivered, dead, refused or
//!   gone). Settled and over are final. One commit writes an outcome and its reports.
//! - A request that waits can be cancelled. A request that runs is marked, and the worker that runs it settles it as
//!   cancelled: see `cancel`.
//! - A pending report may be parked or held: see `parked`.
//! - To run a request, or to deliver a report, a caller needs a *claim*. Each claim adds one to the row's *epoch*. A
//!   settlement carries the epoch of its claim. A settlement with an older epoch writes nothing, is answered
//!   [`Settled::Stale`], and is counted.
//! - The row that is due longest is claimed first; of rows with the same due time, the row that was written first. For
//!   requests this order holds within each route. A new row is due immediately. Due times are in the store's own time:
//!   see `clock`.
//! - While no older row waits, a new row is *pre-claimed*: it is written as claimed, and is sent to the worker or
//!   the delivery in memory after its commit. See [`Store::attach_requests`].
//! - A wake-up comes after the commit that caused it, and carries no data.
//! - Everything that waits has a limit. A full intake never delays a settlement.

// Public items need no comment here, because only the crate `postback` makes promises to users, and this crate is an
// internal part of `postback`.
#![allow(missing_docs, reason = "a field that its name explains needs no comment")]
#![cfg_attr(
    not(feature = "sqlite"),
    allow(
        dead_code,
        reason = "the memory backend does not fail, and the record of begun runs is a file beside a file"
    )
)]

mod audit;
mod backend;
mod backlog;
pub mod backoff;
mod begun;
mod cancel;
mod checkpoint;
mod clock;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub mod copy;
mod counters;
mod error;
#[cfg(feature = "testing")]
mod failing;
mod feed;
mod handed_in;
mod handoff;
mod health;
mod identity;
mod inbox;
mod intake;
mod list;
mod local;
mod memory;
mod nodes;
mod operation;
mod ops;
mod options;
pub mod overview;
mod parked;
mod peers;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
mod quota;
mod record;
pub mod retention;
mod room;
pub mod series;
mod share;
pub mod shutdown;
mod sizes;
mod space;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod suite;
mod summary;
pub mod taking;
mod terms;
mod timeline;
mod tokens;
mod wake;
mod writer;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

pub use self::audit::{AuditRecord, NewAudit};
use self::backend::{Opened, Reader};
pub use self::backlog::OwnerLimits;
use self::backlog::{Backlog, Limits};
use self::begun::{Record, Running};
pub use self::checkpoint::{CheckpointLine, Saved};
use self::clock::StoreClock;
use self::counters::Counters;
pub use self::error::{Bound, Error, OpenError};
#[cfg(feature = "testing")]
pub use self::failing::Faults;
use self::feed::Changes;
pub use self::feed::{Change, Feed, Heard};
use self::handoff::Handoff;
pub use self::handoff::{PreClaimed, PreClaimedRequest};
use self::health::Health;
use self::inbox::Inbox;
pub use self::list::{Cursor, ListFilter, Listed, ListedStatus, Page};
use self::local::Local;
use self::nodes::Lease;
pub use self::nodes::{MARGIN as LEASE_MARGIN, NodeRecord, Recovered};
use self::ops::Kind;
pub use self::ops::{Cancelled, DisabledNow, Load, Replayed};
pub use self::options::Durability;
#[cfg(feature = "postgres")]
pub use self::options::{DatabaseUrl, DatabaseUrlError};
pub use self::options::{Location, Options};
use self::parked::DisabledUrls;
use self::peers::Peers;
pub use self::progress::{Progress, Told};
use self::quota::Quotas;
pub use self::record::*;
pub use self::room::{RequestRoom, RoutePermit, RouteRoom};
use self::series::Tally;
pub use self::sizes::{REPORT_UNIT, report_units};
use self::space::{Probe, Space};
pub use self::summary::{EndSummary, Kept, Member, Stage, Summary};
pub use self::terms::{Extras, IdempotencyKey, Terms};
pub use self::timeline::{EarlierRun, RunEnd, Timeline};
pub use self::tokens::{NewToken, TokenAdded, TokenRecord, TokenRevoked};
use self::wake::Wake;
pub use self::wake::Watch;
use self::writer::{Shared, Writer};
use crate::shutdown::Shutdown;
use postback_wire::id::{NodeId, RequestId};
use postback_wire::time::Clock;

/// A handle to the store. A handle is cheap to clone, and all clones use the same store. When the last clone is
/// dropped, the writer still commits the operations that are in its queues.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    reader: Arc<dyn Reader>,
    /// The task of the writer, and the signal that tells the writer to stop.
    tasks: Shutdown,
    durable: bool,
    /// Whether other processes may use the store at the same time.
    is_shared: bool,
    /// The statement with which a transaction of the program hands something in.
    hand_in_statement: Option<String>,
    /// The record of the runs that have begun. `None`: the rows are lost when the process ends, so no later process
    /// would read the record.
    begun: Option<Record>,
    #[cfg(feature = "testing")]
    faults: Faults,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.stop();
        self.shared.inbox.close();
    }
}

impl Store {
    /// Opens the store, and starts the writer on the current Tokio runtime. Only one process at a time can have a store
    /// in SQLite open. Several processes can have a store in PostgreSQL open, as nodes.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(
            clippy::unused_async,
            unused_variables,
            reason = "a store in memory needs no opening, and always has one owner"
        )
    )]
    pub async fn open(options: Options, node: NodeId, clock: Clock) -> Result<Self, OpenError> {
        match &options.place {
            Location::Memory { reports, bytes, kept } => {
                let (opened, quotas) = memory::open(*reports, *bytes, *kept);
                Ok(Self::start(opened, &options, Some(quotas), None, clock))
            }
            #[cfg(feature = "sqlite")]
            Location::Sqlite { path, durability } => {
                let opened = sqlite::open(path, *durability, options.litestream, node, &clock).await?;
                #[cfg(unix)]
                let probe = Some(space::probe(path.clone()));
                #[cfg(not(unix))]
                let probe = None;
                Ok(Self::start(opened, &options, None, probe, clock))
            }
            #[cfg(feature = "postgres")]
            Location::Postgres { url } => {
                let opened = postgres::open(url, node, &clock).await?;
                Ok(Self::start(opened, &options, None, None, clock))
            }
        }
    }

    fn start(
        opened: Opened,
        options: &Options,
        quotas: Option<Arc<Quotas>>,
        probe: Option<Probe>,
        clock: Clock,
    ) -> Self {
        let Opened { backend, reader, left, begun, peers } = opened;
        let durable = quotas.is_none();
        let counters = Arc::new(Counters::default());
        let limits = Limits { rows: options.max_queued, bytes: options.max_queued_bytes };
        let backlog = Backlog::new(limits, left.backlog, left.owners);
        let backlog = if peers.is_some() { backlog.shared_with_others() } else { backlog };
        let shared = Arc::new(Shared {
            inbox: Arc::new(Inbox::new(options.queue, options.queue_bytes, quotas, counters.clone())),
            local: Local {
                wake: Wake::default(),
                changes: Changes::default(),
                handoff: Handoff::new(left.waiting),
                disabled: DisabledUrls::new(left.disabled),
                clock: StoreClock::resume(clock, left.clocks, left.trust),
                counters,
                backlog: Arc::new(backlog),
                lease: Lease::new(peers.as_ref().map(|peers| peers.lease)),
                tally: Tally::default(),
                id: left.id,
            },
            health: Health::default(),
            space: Space::new(options.disk_reserve, probe),
        });
        let tasks = Shutdown::new();
        tasks.spawn(Writer::new(backend, shared.clone()).run());
        let is_shared = peers.is_some();
        if let Some(backend::Peers { heard, bell, .. }) = peers {
            tasks.spawn(Peers::new(shared.clone(), reader.clone(), heard).run(tasks.clone()));
            let stop = tasks.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = bell => {}
                    () = stop.stopping() => {}
                }
            });
        }
        Self(Arc::new(Inner {
            shared,
            reader,
            tasks,
            durable,
            is_shared,
            hand_in_statement: handed_in::statement(&options.place),
            begun,
            #[cfg(feature = "testing")]
            faults: Faults::default(),
        }))
    }

    /// Closes the store: commits the operations that wait, stops the writer and closes the files. After that, every
    /// operation returns [`Error::Closed`].
    pub async fn close(&self) {
        self.0.tasks.stop();
        self.0.shared.inbox.close();
        self.0.tasks.finished().await;
    }

    /// Returns whether committed rows are kept after the end of the process.
    pub fn is_durable(&self) -> bool {
        self.0.durable
    }

    /// Waits until each of the first `posted` reports has had its first attempt, or has ended without an attempt.
    pub async fn attempted(&self, posted: u64) {
        self.0.shared.local.wake.first_attempts.until(posted).await;
    }

    /// Returns a channel to the worker. The store claims new requests of these routes for the worker, and sends them
    /// through the channel after their commit, as long as `room` has permits. From now on, only requests of these
    /// routes are claimed. A later call replaces an earlier call.
    ///
    /// Before you drop the receiver, close it and put back the requests that are still in the channel.
    pub fn attach_requests(&self, routes: Vec<String>, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimedRequest> {
        let routes = routes.into_iter().map(|route| (route, RouteRoom::new(None, Arc::default())));
        self.attach_limited_requests(routes.collect(), room)
    }

    /// Returns a channel to the worker, as [`attach_requests`](Self::attach_requests) does, for routes with limits of
    /// their own. For each request, the store also takes a permit from the room of its route.
    pub fn attach_limited_requests(
        &self,
        routes: Vec<(String, RouteRoom)>,
        room: Arc<Semaphore>,
    ) -> mpsc::Receiver<PreClaimedRequest> {
        self.0.shared.local.handoff.attach_requests(routes, room)
    }

    /// Returns a channel to the delivery. The store claims new reports for the delivery, and sends them through the
    /// channel after their commit, as long as `room` has permits. A large report takes several permits. Before you drop
    /// the receiver, close it and put back the reports that are still in the channel.
    pub fn attach_reports(&self, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimed<ClaimedReport>> {
        self.0.shared.local.handoff.attach_reports(room)
    }

    /// Waits until a request may have become due since the last call returned. The call may also return if no request
    /// is due. Only one task should call this method: a signal wakes one waiting task, not all waiting tasks.
    pub async fn requests_due(&self) {
        self.0.shared.local.wake.requests.notified().await;
    }

    /// Waits until a report may have become due since the last call returned. The call may also return if no report is
    /// due. Only one task should call this method: a signal wakes one waiting task, not all waiting tasks.
    pub async fn reports_due(&self) {
        self.0.shared.local.wake.reports.notified().await;
    }

    /// Records that the run of a claimed request begins now. Keep the returned value until the run has ended. If the
    /// process ends before you drop the value, the run counts as a crash.
    pub fn begin(&self, claim: &RequestClaim) -> Option<Running> {
        self.0.begun.as_ref().map(|begun| begun.begin(claim))
    }

    /// Removes the records of the runs that have begun. Call this when the operator ends the process immediately, so
    /// that the interrupted runs do not count as crashes.
    pub fn forget_begun(&self) {
        if let Some(begun) = &self.0.begun {
            begun.forget();
        }
    }

    /// Returns the request with this id. `None`: the store has no request with this id.
    pub async fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, Error> {
        self.reader()?.request(id).await.map_err(Error::Backend)
    }

    /// Returns the deliveries of the reports about this id, the oldest delivery first. Returns at most 100 deliveries.
    pub async fn deliveries(&self, subject: &str) -> Result<Vec<DeliveryRecord>, Error> {
        let mut records = self.reader()?.deliveries(subject).await.map_err(Error::Backend)?;
        for due in records.iter_mut().filter_map(|record| record.next_due.as_mut()) {
            *due = self.0.shared.local.clock.wall_at(*due);
        }
        Ok(records)
    }

    /// Limits how many requests of all routes together may wait, and how many bytes they may have. Requests that wait
    /// already stay, even if they are too many.
    pub fn limit_requests(&self, rows: u64, bytes: u64) {
        self.0.shared.local.backlog.limit(Limits { rows, bytes });
    }

    /// Limits how many requests of single routes may wait, and how many bytes they may have: for each route the largest
    /// number of requests and of bytes. A route that is not in `limits` has only the limits of all routes together.
    pub fn limit_routes(&self, limits: impl IntoIterator<Item = (String, u64, u64)>) {
        let limits = limits.into_iter().map(|(route, rows, bytes)| (route, Limits { rows, bytes }));
        self.0.shared.local.backlog.limit_routes(limits);
    }

    #[cfg(test)]
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.0.shared.local.backlog
    }

    /// Returns the number of rows in the store, by state.
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.reader()?.counts().await.map_err(Error::Backend)
    }

    /// Converts the time `next_due` of a batch from the store's own time to wall-clock time, because callers use
    /// wall-clock time.
    fn by_wall<T>(&self, batch: Batch<T>) -> Batch<T> {
        Batch { next_due: batch.next_due.map(|due| self.0.shared.local.clock.wall_at(due)), ..batch }
    }

    /// Puts an operation into the queue for settlements and claims, waits for its commit, and returns its answer.
    async fn ask<K: Kind>(&self, op: K) -> Result<K::Answer, Error> {
        K::answer(self.inbox().control(op.into()).await?.wait().await?).ok_or(Error::Closed)
    }

    fn inbox(&self) -> &Arc<Inbox> {
        &self.0.shared.inbox
    }

    fn reader(&self) -> Result<&dyn Reader, Error> {
        #[cfg(feature = "testing")]
        self.0.faults.check_read()?;
        if self.inbox().is_closed() { Err(Error::Closed) } else { Ok(&*self.0.reader) }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("durable", &self.0.durable).finish_non_exhaustive()
    }
}
