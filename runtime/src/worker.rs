//! Takes requests from the store, runs their handlers, commits what became of them.
//!
//! The loop and all waiting are on the control threads; handlers alone run on theirs. So handlers that compute for minutes
//! hold up neither claims nor outcomes nor time limits.

mod after_run;
mod handler_task;
mod registration;
mod run;
mod settle;
mod sink;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tracing::Span;

use self::slot::{Lane, Slots};
use crate::handler::Routes;
use crate::line::Causes;
use crate::names::target;
use crate::poster::Outbox;
use crate::shutdown::Shutdown;
use crate::store::{ClaimedRequest, Error, PreClaimed, RequestClaim, warn_unless_told};

/// The longest that the worker goes without looking into the store: a lost wake-up costs this much.
const SLOW_POLL: Duration = Duration::from_secs(10);
/// After an error of the store.
const BACKOFF: Duration = Duration::from_secs(1);

/// Checked values; see `settings`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Requests running at once on this node, at least 1.
    pub(crate) concurrency: usize,
    /// Threads that handlers run on; `None`: one per core.
    pub(crate) threads: Option<usize>,
    /// The longest that one run may take.
    pub(crate) timeout: Duration,
    /// Runs that may end in error, panic or timeout, at least 1.
    pub(crate) max_attempts: u32,
    /// Between the first of these and the next run; doubled after each further one.
    pub(crate) retry_delay: Duration,
    /// What it is doubled up to, unless the first is longer.
    pub(crate) max_retry_delay: Duration,
    /// Runs that may be lost with their process, at least 1.
    pub(crate) max_crashes: u32,
}

/// The running service. Ends when told to, after the runs that it has or the end of the grace time.
pub(crate) struct Worker {
    context: Arc<Context>,
    grace: Duration,
    slots: Slots,
    handed: mpsc::Receiver<PreClaimed<ClaimedRequest>>,
}

/// What every run needs.
struct Context {
    outbox: Outbox,
    routes: Routes,
    options: Options,
    handlers: Handle,
    /// Told when the grace time is over. Its tasks are the runs.
    cut: Shutdown,
}

impl Worker {
    /// Handlers run on `handlers`; what they report goes to `outbox`, whose store is the one that requests come from.
    pub(crate) fn new(outbox: Outbox, routes: Routes, options: Options, handlers: Handle, grace: Duration) -> Self {
        let slots = Slots::new(options.concurrency, &routes.paths());
        let handed = outbox.store().attach_requests(routes.paths(), Arc::clone(&slots.all));
        let context = Context { outbox, routes, options, handlers, cut: Shutdown::new() };
        Self { context: Arc::new(context), grace, slots, handed }
    }

    /// Runs requests until told to stop; `lost` are those that are not run again, to be told so.
    pub(crate) async fn run(mut self, lost: Vec<ClaimedRequest>, shutdown: Shutdown) {
        for row in lost {
            self.context.cut.spawn(settle::settle_unrun(Arc::clone(&self.context), row));
        }
        let store = self.context.outbox.store().clone();
        let mut look = true;
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(held) = self.handed.recv() => self.start(held.row, held.room, None),
                () = store.requests_due(), if !look => look = true,
                () = self.slots.lane_free(), if !look => look = true,
                () = tokio::time::sleep_until(next_look), if !look => look = true,
                // Looked for only when something could be run.
                Ok(slot) = Arc::clone(&self.slots.all).acquire_owned(), if look => {
                    let (again, at) = self.claim(slot).await;
                    (look, next_look) = (again, at);
                }
            }
        }
        self.stop().await;
    }

    /// Claims as many requests as there are free slots; whether there may be more, and when to look again.
    async fn claim(&self, slot: OwnedSemaphorePermit) -> (bool, Instant) {
        let mut slots = vec![slot];
        while let Ok(slot) = Arc::clone(&self.slots.all).try_acquire_owned() {
            slots.push(slot);
        }
        let free = slots.len();
        let mut lane = self.slots.lane();
        let store = self.context.outbox.store();
        match store.claim_requests_beside(free, |route| self.slots.running(route), lane.is_some()).await {
            Ok(batch) => {
                let full = batch.rows.len() == free;
                for (row, slot) in batch.rows.into_iter().zip(slots) {
                    let lane = if row.crashes > 0 { lane.take() } else { None };
                    self.start(row, slot, lane);
                }
                let now = self.context.outbox.clock().now();
                let wait = batch.next_due.map_or(SLOW_POLL, |due| due.since(now).min(SLOW_POLL));
                (full, Instant::now() + wait)
            }
            Err(Error::Closed) => (false, Instant::now() + SLOW_POLL),
            Err(error) => {
                warn_unless_told!(error, "requests cannot be claimed, trying again: {}", Causes(&error));
                (false, Instant::now() + BACKOFF)
            }
        }
    }

    fn start(&self, row: ClaimedRequest, permit: OwnedSemaphorePermit, lane: Option<Lane>) {
        let slot = self.slots.take(permit, &row.route, lane);
        self.context.cut.spawn(run::run(Arc::clone(&self.context), row, slot));
    }

    async fn stop(&mut self) {
        self.handed.close();
        while let Some(held) = self.handed.recv().await {
            self.context.put_back(&held.row.route, held.row.claim).await;
        }
        let cut = &self.context.cut;
        if tokio::time::timeout(self.grace, cut.finished()).await.is_err() {
            cut.stop();
            cut.finished().await;
        }
    }
}

/// The span around all that is logged during a run, also by the handler.
///
/// Its level is `error`: a log that leaves out warnings still shows which request an error belongs to.
fn run_span(row: &ClaimedRequest) -> Span {
    let (route, attempt) = (&*row.route, row.attempt());
    tracing::error_span!(target: target::RUN, "run", request_id = %row.claim.id, route, attempt)
}

impl Context {
    /// Puts a request back. If the store cannot do that now, the next start does it.
    async fn put_back(&self, route: &str, claim: RequestClaim) {
        let id = claim.id.clone();
        match self.outbox.store().put_back_request(claim).await {
            Ok(_) => tracing::info!(request_id = %id, route, "{id} was put back into the queue: the node is stopping"),
            Err(error) => {
                tracing::warn!(request_id = %id, route, "{id} could not be put back, the next start does it: {}", Causes(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
