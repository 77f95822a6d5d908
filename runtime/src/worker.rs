//! The worker: claims requests from the store, runs their handlers, and commits their outcomes.
//!
//! The worker's loop and its timers run on the control threads. Handlers run on threads of their own. So a handler that
//! computes for minutes delays neither claims nor outcomes nor time limits.

mod after_run;
mod checkpoint;
mod expiry;
#[cfg(feature = "multipart")]
mod files;
mod handler_task;
mod keep;
mod progress;
mod registration;
mod run;
mod settle;
mod sink;
mod slot;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tracing::Span;

use self::after_run::TimeLimit;
use self::slot::{Lane, Size, Slots};
use crate::handler::{Limits, Routes};
use crate::poster::Outbox;
use postback_store::shutdown::Shutdown;
use postback_store::{
    ClaimedRequest, Error, PreClaimedRequest, RequestClaim, RequestRoom, RouteRoom, warn_unless_logged,
};
use postback_wire::line::Causes;
use postback_wire::names::target;

/// The longest time that a worker with a free slot waits until it claims again. If the signal for a due request was
/// lost, the worker finds the request after this time.
const SLOW_POLL: Duration = Duration::from_secs(10);
/// How long the worker waits after an error of the store, before it tries to use the store again.
const BACKOFF: Duration = Duration::from_secs(1);

/// The worker's settings. The module `settings` has checked their values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The largest number of requests that run at the same time on this node. It is at least 1.
    pub(crate) concurrency: usize,
    /// The number of threads on which handlers run. `None` means one thread for each core.
    pub(crate) threads: Option<usize>,
    /// The longest time that one run may take.
    pub(crate) timeout: Duration,
    /// The largest number of runs of one request that may end with an error, a panic or a timeout. It is at least 1.
    pub(crate) max_attempts: u32,
    /// The time between the first failed run of a request and the next run. This time doubles after each further failed
    /// run.
    pub(crate) retry_delay: Duration,
    /// The longest time between a failed run and the next run. If `retry_delay` is longer than this value,
    /// `retry_delay` is the longest time.
    pub(crate) max_retry_delay: Duration,
    /// The largest number of runs of one request during which the process may die. It is at least 1.
    pub(crate) max_crashes: u32,
}

impl Options {
    /// Returns the options for the requests of a route with these limits.
    fn of_route(self, limits: Limits) -> Self {
        Self {
            timeout: limits.timeout.unwrap_or(self.timeout),
            max_attempts: limits.max_attempts.unwrap_or(self.max_attempts),
            retry_delay: limits.retry_delay.unwrap_or(self.retry_delay),
            max_retry_delay: limits.max_retry_delay.unwrap_or(self.max_retry_delay),
            ..self
        }
    }
}

/// The options that the worker has now. All clones have the same options.
#[derive(Clone)]
struct LiveOptions(Arc<RwLock<Options>>);

impl LiveOptions {
    fn new(options: Options) -> Self {
        Self(Arc::new(RwLock::new(options)))
    }

    fn get(&self) -> Options {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle through which the options of a worker can be changed while it runs. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Control {
    options: LiveOptions,
    size: Size,
    rooms: Arc<[(String, RouteRoom)]>,
}

impl Control {
    /// Replaces the options of the worker, except for the number of threads. Runs that have begun go on, also if more of
    /// them run than the new options allow.
    pub(crate) fn replace(&self, options: Options) {
        *self.options.0.write().unwrap_or_else(PoisonError::into_inner) = options;
        self.size.set(options.concurrency);
    }

    /// Returns the longest time of a run now, if its route has no limit of its own.
    pub(crate) fn timeout(&self) -> Duration {
        self.options.get().timeout
    }

    /// Returns after how many crashes a request is not run again.
    pub(crate) fn max_crashes(&self) -> u32 {
        self.options.get().max_crashes
    }

    /// Returns the room of each route, through which its limit can be changed.
    pub(crate) fn rooms(&self) -> &[(String, RouteRoom)] {
        &self.rooms
    }
}

/// The worker of a node, which claims and runs requests. After the stop signal, the worker ends when all its runs have
/// ended, or when the grace time is over.
pub(crate) struct Worker {
    context: Arc<Context>,
    grace: Duration,
    slots: Slots,
    handed: mpsc::Receiver<PreClaimedRequest>,
    /// Requests that are not run again, for the worker to settle.
    lost: (mpsc::Sender<ClaimedRequest>, mpsc::Receiver<ClaimedRequest>),
    /// The time of [`SLOW_POLL`].
    slow_poll: Duration,
}

/// How many requests that are not run again wait for the worker.
const LOST: usize = 16;

/// The data that all runs of a worker use together.
struct Context {
    outbox: Outbox,
    routes: Routes,
    options: LiveOptions,
    handlers: Handle,
    /// The signal that ends all runs when the grace time is over. The same value counts the tasks of the runs, so that
    /// the worker can wait for them.
    cut: Shutdown,
}

impl Worker {
    /// Makes a worker that runs the handlers on the tokio runtime `handlers`. The worker claims requests from the store
    /// of `outbox`, and reports outcomes through `outbox`.
    pub(crate) fn new(outbox: Outbox, routes: Routes, options: Options, handlers: Handle, grace: Duration) -> Self {
        let slots = Slots::new(options.concurrency, &routes);
        let handed = outbox.store().attach_limited_requests(slots.rooms(), Arc::clone(&slots.all));
        let options = LiveOptions::new(options);
        let context = Context { outbox, routes, options, handlers, cut: Shutdown::new() };
        Self { context: Arc::new(context), grace, slots, handed, lost: mpsc::channel(LOST), slow_poll: SLOW_POLL }
    }

    /// Sets the time in place of [`SLOW_POLL`]. A test of days would otherwise have many polls.
    #[cfg(feature = "testing")]
    pub(crate) fn polling_after(self, slow_poll: Duration) -> Self {
        Self { slow_poll, ..self }
    }

    /// Returns a sender for requests that this node has claimed and that are not run again. The worker settles them.
    pub(crate) fn lost(&self) -> mpsc::Sender<ClaimedRequest> {
        self.lost.0.clone()
    }

    /// Returns a handle through which the limits can be changed while the worker runs.
    pub(crate) fn control(&self) -> Control {
        Control { options: self.context.options.clone(), size: self.slots.size(), rooms: self.slots.rooms().into() }
    }

    /// Runs requests until the stop signal. First settles the requests in `lost`. These requests do not run again,
    /// because they are cancelled or because the process died during too many of their runs.
    pub(crate) async fn run(mut self, lost: Vec<ClaimedRequest>, shutdown: Shutdown) {
        for row in lost {
            self.context.cut.spawn(settle::settle_unrun(Arc::clone(&self.context), row));
        }
        self.context.cut.spawn(expiry::run(Arc::clone(&self.context), shutdown.clone()));
        let store = self.context.outbox.store().clone();
        let mut look = true;
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(claimed) = self.handed.recv() => self.start(claimed.row, claimed.room, None),
                Some(row) = self.lost.1.recv() => {
                    self.context.cut.spawn(settle::settle_unrun(Arc::clone(&self.context), row));
                }
                // This line comes before the claims, so that a slot that is to go is not used again.
                () = self.slots.shrunk() => {}
                () = self.slots.route_free(), if !look => look = true,
                () = store.requests_due(), if !look => look = true,
                () = self.slots.lane_free(), if !look => look = true,
                () = tokio::time::sleep_until(next_look), if !look => look = true,
                // The worker waits for a free slot before it claims, so that it can run each request that it claims.
                Ok(slot) = Arc::clone(&self.slots.all).acquire_owned(), if look => {
                    let (again, at) = self.claim(slot).await;
                    (look, next_look) = (again, at);
                }
            }
        }
        self.stop().await;
    }

    /// Claims at most as many requests as there are free slots. Returns whether the store may have more due requests,
    /// and the time at which the worker must claim again.
    async fn claim(&self, slot: OwnedSemaphorePermit) -> (bool, Instant) {
        let mut slots = vec![slot];
        while let Ok(slot) = Arc::clone(&self.slots.all).try_acquire_owned() {
            slots.push(slot);
        }
        let free = slots.len();
        let mut reserved = self.slots.reserve(free);
        let mut lane = self.slots.lane();
        let store = self.context.outbox.store();
        match store.claim_requests_beside(free, |route| reserved.load(route), lane.is_some()).await {
            Ok(batch) => {
                let full = batch.rows.len() == free;
                for (row, slot) in batch.rows.into_iter().zip(slots) {
                    let lane = if row.crashes > 0 { lane.take() } else { None };
                    let room = RequestRoom { slot, route: reserved.permit(&row.route) };
                    self.start(row, room, lane);
                }
                let now = self.context.outbox.clock().now();
                let wait = batch.next_due.map_or(self.slow_poll, |due| due.since(now).min(self.slow_poll));
                (full, Instant::now() + wait)
            }
            Err(Error::Closed) => (false, Instant::now() + SLOW_POLL),
            Err(error) => {
                warn_unless_logged!(error, "requests cannot be claimed, trying again: {}", Causes(&error));
                (false, Instant::now() + BACKOFF)
            }
        }
    }

    fn start(&self, row: ClaimedRequest, room: RequestRoom, lane: Option<Lane>) {
        let slot = self.slots.take(room, lane);
        self.context.cut.spawn(run::run(Arc::clone(&self.context), row, slot));
    }

    async fn stop(&mut self) {
        self.handed.close();
        while let Some(claimed) = self.handed.recv().await {
            self.context.put_back(&claimed.row.route, claimed.row.claim, false).await;
        }
        let cut = &self.context.cut;
        if tokio::time::timeout(self.grace, cut.finished()).await.is_err() {
            cut.stop();
            cut.finished().await;
        }
    }
}

/// Makes the tracing span of a run. All log events of the run and of its handler are in this span.
///
/// The span has the level `error`, so that each error in the log names its request even if the log shows only errors.
fn run_span(row: &ClaimedRequest) -> Span {
    let (route, attempt) = (&*row.route, row.attempt());
    tracing::error_span!(target: target::RUN, "run", request_id = %row.claim.id, route, attempt)
}

impl Context {
    /// Returns the longest time that a run of this request may take.
    fn time_limit(&self, row: &ClaimedRequest) -> TimeLimit {
        let of_route = self.routes.get(&row.route).and_then(|route| route.limits().timeout);
        let (limit, set_by) = match of_route {
            Some(limit) => (limit, "the timeout of its route"),
            None => (self.options.get().timeout, "worker.timeout"),
        };
        let time = row.timeout(limit);
        TimeLimit { time, set_by: if time < limit { "the timeout of its caller" } else { set_by } }
    }

    /// Returns the options for a request of this route.
    fn options_of(&self, route: &str) -> Options {
        let options = self.options.get();
        self.routes.get(route).map_or(options, |route| options.of_route(route.limits()))
    }

    /// Puts a request back into the queue. `begun` says whether its run has begun. If the store fails, the request goes back into the queue at the next start
    /// of the program.
    async fn put_back(&self, route: &str, claim: RequestClaim, begun: bool) {
        let id = claim.id.clone();
        let store = self.outbox.store();
        let put_back = if begun { store.put_back_request(claim).await } else { store.give_back_request(claim).await };
        match put_back {
            Ok(_) => tracing::info!(request_id = %id, route, "{id} was put back into the queue: the node is stopping"),
            Err(error) => {
                tracing::warn!(request_id = %id, route, "{id} could not be put back into the queue; the next start does that: {}", Causes(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
