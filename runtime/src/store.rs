//! Everything durable meets here, and only here.
//!
//! One [`Store`] is requests, their outcomes, and the reports that speak of them; memory or SQLite behind it, with the same
//! rules, which `suite` holds each of them to:
//!
//! - What was answered is committed. Operations of many callers share one transaction (the group commit, in `writer`); an
//!   operation happens whole or not at all, and also when the caller that waited for it went away.
//! - A request is queued, running, or settled; a report is pending, delivering, or over (delivered, dead, refused, gone). Settled
//!   and over are final. An outcome and its reports are written by the same commit.
//! - A request that waits can be cancelled; one that runs is marked, to be settled so by whoever has claimed it: see `cancel`.
//! - A pending report may be set aside: see `parked`.
//! - To run or to deliver takes a *claim*. Each claim makes the row's *epoch* one greater. A settlement carries the epoch of
//!   its claim; an older one writes nothing, answers [`Settled::Stale`] and is counted.
//! - The longest due comes first, then the earliest written; of requests, within each route. A row is due from when it was written on, or as it was put back;
//!   by the store's own time, see `clock`.
//! - While nothing older waits, a row is *pre-claimed* and handed over in memory after its commit: see
//!   [`Store::attach_requests`].
//! - A wake-up comes after the commit that it speaks of, and carries no data.
//! - Everything that waits is bounded. A full intake never keeps a settlement out.

mod backend;
mod backlog;
mod begun;
mod cancel;
mod claim;
mod clock;
mod counters;
mod error;
mod handoff;
#[cfg_attr(not(any(feature = "server", test)), expect(dead_code, reason = "only a server is asked whether it works"))]
mod health;
mod inbox;
mod intake;
mod memory;
mod operation;
mod options;
mod parked;
mod quota;
mod record;
mod replay;
pub(crate) mod retention;
mod share;
mod space;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod suite;
mod summary;
mod wake;
mod writer;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::backend::{Opened, Reader};
use self::backlog::{Backlog, Limits, stored_bytes};
use self::begun::Begun;
#[cfg(any(feature = "server", test))]
pub(crate) use self::cancel::Cancelled;
use self::clock::StoreClock;
use self::counters::Counters;
pub(crate) use self::error::{Error, OpenError, warn_unless_told};
use self::handoff::Handoff;
use self::health::Health;
use self::inbox::Inbox;
use self::operation::{Op, Reply};
pub(crate) use self::operation::{REPORT_UNIT, report_units};
#[cfg(feature = "sqlite")]
pub use self::options::Durability;
#[cfg(not(feature = "sqlite"))]
pub(crate) use self::options::Durability;
pub(crate) use self::options::{Location, Options};
use self::parked::DisabledUrls;
use self::quota::Quotas;
pub(crate) use self::record::*;
#[cfg(any(feature = "server", test))]
pub(crate) use self::replay::Replayed;
use self::space::{Probe, Space};
#[cfg(feature = "server")]
pub(crate) use self::summary::{Kept, Summary};
#[cfg(any(feature = "server", test))]
pub(crate) use self::summary::{Member, Stage};
use self::wake::Wake;
pub(crate) use self::wake::Watch;
use self::writer::{Shared, Writer};
use crate::id::{NodeId, RequestId};
use crate::shutdown::Shutdown;
use crate::time::{Clock, Timestamp};

/// Cheap to clone; all clones are one store. When the last is dropped, what was taken in is still committed.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    reader: Arc<dyn Reader>,
    /// The writer task.
    tasks: Shutdown,
    durable: bool,
    begun: Option<Arc<Begun>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

/// A row handed over in memory as it was committed, with the room that it takes up.
#[derive(Debug)]
pub(crate) struct PreClaimed<T> {
    pub(crate) row: T,
    pub(crate) room: OwnedSemaphorePermit,
}

impl Store {
    /// Opens the store, as its only owner, and starts its writer on the current runtime.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(
            clippy::unused_async,
            unused_variables,
            reason = "memory needs no opening, and has one owner by nature"
        )
    )]
    pub(crate) async fn open(options: Options, node: NodeId, clock: Clock) -> Result<Self, OpenError> {
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
        }
    }

    fn start(
        opened: Opened,
        options: &Options,
        quotas: Option<Arc<Quotas>>,
        probe: Option<Probe>,
        clock: Clock,
    ) -> Self {
        let Opened { backend, reader, left, begun } = opened;
        let durable = quotas.is_none();
        let counters = Arc::new(Counters::default());
        let limits = Limits { rows: options.max_queued, bytes: options.max_queued_bytes };
        let shared = Arc::new(Shared {
            inbox: Arc::new(Inbox::new(options.queue, options.queue_bytes, quotas, counters.clone())),
            wake: Wake::default(),
            handoff: Handoff::new(left.waiting),
            disabled: DisabledUrls::new(left.disabled),
            clock: StoreClock::resume(clock, left.clocks, left.trust),
            counters,
            health: Health::default(),
            backlog: Arc::new(Backlog::new(limits, left.backlog)),
            space: Space::new(options.disk_reserve, probe),
        });
        let tasks = Shutdown::new();
        tasks.spawn(Writer::new(backend, shared.clone()).run());
        Self(Arc::new(Inner { shared, reader, tasks, durable, begun }))
    }

    /// Commits what waits, stops the writer and lets go of the files. What is asked for later ends as [`Error::Closed`].
    pub(crate) async fn close(&self) {
        self.0.shared.inbox.close();
        self.0.tasks.finished().await;
    }

    /// Whether what is committed survives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.0.durable
    }

    /// Accepts a request; when this returns it is committed. Waits while the way to the writer is full; refused at once while too
    /// many wait to be run, or too little room is left on the disk.
    pub(crate) async fn submit(&self, request: NewRequest) -> Result<Submitted, Error> {
        self.0.shared.space.check().map_err(Error::Refused)?;
        let bytes = stored_bytes(&request.headers, &request.body);
        let place = Some(self.0.shared.backlog.take(&request.route, bytes).map_err(Error::Refused)?);
        match self.inbox().push(Op::Submit { request, room: None, place }).await?.wait().await? {
            Reply::Submitted(submitted) => Ok(submitted),
            _ => Err(Error::Closed),
        }
    }

    /// Takes reports in without waiting for anything; they are committed with the next group. All of them or none.
    pub(crate) fn post(&self, reports: Vec<NewReport>) -> Result<(), Error> {
        self.inbox().try_push(Op::post(reports))
    }

    /// Takes reports in and returns when they are committed. Waits while the queue is full; dropped meanwhile, they are lost, and
    /// counted.
    pub(crate) async fn post_durably(&self, reports: Vec<NewReport>) -> Result<(), Error> {
        let lost = self.0.shared.counters.unless_taken_in(reports.len());
        let taken_in = self.inbox().push(Op::post(reports)).await;
        // From here on the caller may go away: the reports stay, or the caller is told.
        lost.disarm();
        taken_in?.wait().await.map(drop)
    }

    /// Returns when everything taken in before is committed; how many reports had been posted until then.
    /// Reports of settlements count, reports that are refused without an attempt do not.
    pub(crate) async fn barrier(&self) -> Result<u64, Error> {
        match self.inbox().barrier().await?.wait().await? {
            Reply::Passed(posted) => Ok(posted),
            _ => Err(Error::Closed),
        }
    }

    /// Returns when each of the first `posted` reports was tried at least once, or came to its end.
    pub(crate) async fn tried(&self, posted: u64) {
        self.0.shared.wake.tried.until(posted).await;
    }

    /// Says that new requests of these routes may be handed over as they are committed, while `room` has permits.
    /// Claims, too, are for these routes only. A later call takes the place of an earlier one.
    ///
    /// Whoever drops the receiver closes it first, and puts back what is still in it.
    pub(crate) fn attach_requests(
        &self,
        routes: Vec<String>,
        room: Arc<Semaphore>,
    ) -> mpsc::Receiver<PreClaimed<ClaimedRequest>> {
        self.0.shared.handoff.attach_requests(routes, room)
    }

    /// The same for reports; a large one takes several permits.
    pub(crate) fn attach_reports(&self, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimed<ClaimedReport>> {
        self.0.shared.handoff.attach_reports(room)
    }

    /// Claims up to `limit` due reports, the longest due first; with the same bound as requests.
    pub(crate) async fn claim_reports(&self, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        match self.ask(Op::ClaimReports { limit }).await? {
            Reply::Reports(batch) => Ok(self.by_wall(batch)),
            _ => Err(Error::Closed),
        }
    }

    /// Returns when a request may have become due since the last call returned. May return without cause.
    /// For one waiter: of several, each signal wakes one.
    pub(crate) async fn requests_due(&self) {
        self.0.shared.wake.requests.notified().await;
    }

    /// The same for reports.
    pub(crate) async fn reports_due(&self) {
        self.0.shared.wake.reports.notified().await;
    }

    /// Keeps with a running request where its end is to be reported.
    pub(crate) async fn register(&self, claim: RequestClaim, registration: Registration) -> Result<Settled, Error> {
        self.settle(Op::Register { claim, registration }).await
    }

    /// Ends a request: its outcome and its reports, in one commit.
    pub(crate) async fn settle_request(
        &self,
        claim: RequestClaim,
        outcome: crate::report::Outcome,
        reports: Vec<NewReport>,
    ) -> Result<Settled, Error> {
        self.settle(Op::settle(claim, outcome, reports)).await
    }

    /// Puts a request back after a failed run, which counts, to be run again from `due` on.
    pub(crate) async fn retry_request(&self, claim: RequestClaim, due: Timestamp) -> Result<Settled, Error> {
        let due = self.0.shared.clock.due_at(due);
        self.settle(Op::ReleaseRequest { claim, due: Some(due), failed: true }).await
    }

    /// Puts a request back that could not be run to its end through no fault of its own; nothing is counted.
    pub(crate) async fn put_back_request(&self, claim: RequestClaim) -> Result<Settled, Error> {
        self.settle(Op::ReleaseRequest { claim, due: None, failed: false }).await
    }

    /// Records an attempt and what becomes of its report.
    pub(crate) async fn settle_report(
        &self,
        claim: ReportClaim,
        attempt: Attempt,
        next: Next,
    ) -> Result<Settled, Error> {
        let next = match next {
            Next::RetryAt(at) => Next::RetryAt(self.0.shared.clock.due_at(at)),
            next => next,
        };
        self.settle(Op::SettleReport { claim, attempt, next }).await
    }

    /// Puts a report back that was not tried; the attempt is not counted.
    pub(crate) async fn put_back_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        self.settle(Op::ReleaseReport { claim, due: None }).await
    }

    /// The same, to be tried no sooner than at this moment.
    pub(crate) async fn put_back_report_until(&self, claim: ReportClaim, due: Timestamp) -> Result<Settled, Error> {
        let due = self.0.shared.clock.due_at(due);
        self.settle(Op::ReleaseReport { claim, due: Some(due) }).await
    }

    /// Voids the claims of earlier owners. To be called once, before anything is claimed.
    pub(crate) async fn recover(&self, max_crashes: u32) -> Result<Recovered, Error> {
        match self.ask(Op::Recover { max_crashes }).await? {
            Reply::Recovered(recovered) => Ok(recovered),
            _ => Err(Error::Closed),
        }
    }

    /// The request, if it is known.
    pub(crate) async fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, Error> {
        self.reader()?.request(id).await.map_err(Error::Backend)
    }

    /// The deliveries of reports that speak of this id, oldest first, at most 100.
    pub(crate) async fn deliveries(&self, subject: &str) -> Result<Vec<DeliveryRecord>, Error> {
        let mut records = self.reader()?.deliveries(subject).await.map_err(Error::Backend)?;
        for due in records.iter_mut().filter_map(|record| record.next_due.as_mut()) {
            *due = self.0.shared.clock.wall_at(*due);
        }
        Ok(records)
    }

    /// What became of reports in this process so far.
    pub(crate) fn counters(&self) -> counters::Counted {
        self.0.shared.counters.read()
    }

    #[cfg(test)]
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.0.shared.backlog
    }

    /// What is in the store.
    pub(crate) async fn counts(&self) -> Result<Counts, Error> {
        self.reader()?.counts().await.map_err(Error::Backend)
    }

    /// To be taken *before* looking at the request; its `changed()` returns when the request was settled since.
    pub(crate) fn watch(&self, id: &RequestId) -> Watch {
        self.0.shared.wake.watches.watch(id)
    }

    /// As the caller's clock shows it.
    fn by_wall<T>(&self, batch: Batch<T>) -> Batch<T> {
        Batch { next_due: batch.next_due.map(|due| self.0.shared.clock.wall_at(due)), ..batch }
    }

    async fn settle(&self, op: Op) -> Result<Settled, Error> {
        match self.ask(op).await? {
            Reply::Settled(settled) => Ok(settled),
            _ => Err(Error::Closed),
        }
    }

    async fn ask(&self, op: Op) -> Result<Reply, Error> {
        self.inbox().control(op).await?.wait().await
    }

    fn inbox(&self) -> &Arc<Inbox> {
        &self.0.shared.inbox
    }

    fn reader(&self) -> Result<&dyn Reader, Error> {
        if self.inbox().is_closed() { Err(Error::Closed) } else { Ok(&*self.0.reader) }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("durable", &self.0.durable).finish_non_exhaustive()
    }
}
