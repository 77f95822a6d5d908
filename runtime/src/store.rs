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
mod clock;
mod counters;
mod error;
mod handoff;
#[cfg_attr(not(any(feature = "server", test)), expect(dead_code, reason = "only a server is asked whether it works"))]
mod health;
mod inbox;
mod intake;
mod local;
mod memory;
mod operation;
mod ops;
mod options;
mod parked;
mod quota;
mod record;
pub(crate) mod retention;
mod share;
mod sizes;
mod space;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod suite;
mod summary;
mod wake;
mod writer;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use self::backend::{Opened, Reader};
use self::backlog::{Backlog, Limits};
use self::begun::{Begun, Running};
use self::clock::StoreClock;
use self::counters::Counters;
pub(crate) use self::error::{Error, OpenError, warn_unless_told};
use self::handoff::Handoff;
pub(crate) use self::handoff::PreClaimed;
use self::health::Health;
use self::inbox::Inbox;
use self::local::Local;
use self::ops::Kind;
#[cfg(any(feature = "server", test))]
pub(crate) use self::ops::{Cancelled, Replayed};
#[cfg(feature = "sqlite")]
pub use self::options::Durability;
#[cfg(not(feature = "sqlite"))]
pub(crate) use self::options::Durability;
pub(crate) use self::options::{Location, Options};
use self::parked::DisabledUrls;
use self::quota::Quotas;
pub(crate) use self::record::*;
pub(crate) use self::sizes::{REPORT_UNIT, report_units};
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
use crate::time::Clock;

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
            local: Local {
                wake: Wake::default(),
                handoff: Handoff::new(left.waiting),
                disabled: DisabledUrls::new(left.disabled),
                clock: StoreClock::resume(clock, left.clocks, left.trust),
                counters,
                backlog: Arc::new(Backlog::new(limits, left.backlog)),
            },
            health: Health::default(),
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

    /// Returns when each of the first `posted` reports was tried at least once, or came to its end.
    pub(crate) async fn tried(&self, posted: u64) {
        self.0.shared.local.wake.tried.until(posted).await;
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
        self.0.shared.local.handoff.attach_requests(routes, room)
    }

    /// The same for reports; a large one takes several permits.
    pub(crate) fn attach_reports(&self, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimed<ClaimedReport>> {
        self.0.shared.local.handoff.attach_reports(room)
    }

    /// Returns when a request may have become due since the last call returned. May return without cause.
    /// For one waiter: of several, each signal wakes one.
    pub(crate) async fn requests_due(&self) {
        self.0.shared.local.wake.requests.notified().await;
    }

    /// The same for reports.
    pub(crate) async fn reports_due(&self) {
        self.0.shared.local.wake.reports.notified().await;
    }

    /// Notes that the run of a claimed request begins now. Keep the returned value until the run is over: if the process ends before,
    /// the run counts as a crash.
    pub(crate) fn begin(&self, claim: &RequestClaim) -> Option<Running> {
        self.0.begun.as_ref().map(|begun| begun.begin(claim))
    }

    /// The operator ends the process at once. The runs that this interrupts do not count as crashes.
    pub(crate) fn forget_begun(&self) {
        if let Some(begun) = &self.0.begun {
            begun.forget();
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
            *due = self.0.shared.local.clock.wall_at(*due);
        }
        Ok(records)
    }

    /// What became of reports in this process so far.
    pub(crate) fn counters(&self) -> counters::Counted {
        self.0.shared.local.counters.read()
    }

    #[cfg(test)]
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.0.shared.local.backlog
    }

    /// What is in the store.
    pub(crate) async fn counts(&self) -> Result<Counts, Error> {
        self.reader()?.counts().await.map_err(Error::Backend)
    }

    /// To be taken *before* looking at the request; its `changed()` returns when the request was settled since.
    pub(crate) fn watch(&self, id: &RequestId) -> Watch {
        self.0.shared.local.wake.watches.watch(id)
    }

    /// As the caller's clock shows it.
    fn by_wall<T>(&self, batch: Batch<T>) -> Batch<T> {
        Batch { next_due: batch.next_due.map(|due| self.0.shared.local.clock.wall_at(due)), ..batch }
    }

    /// Commits an operation that does not wait in the intake, and returns its answer.
    async fn ask<K: Kind>(&self, op: K) -> Result<K::Answer, Error> {
        K::answer(self.inbox().control(op.into()).await?.wait().await?).ok_or(Error::Closed)
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
