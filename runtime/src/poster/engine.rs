//! What a poster has running behind it, and how to know that its reports are safe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::fork_guard::ForkGuard;
use super::loss::lost_so_far;
use super::{Disabled, Flushed};
use crate::background::Background;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// The least time that threads have to end when nothing is left to be done on them.
const JOIN: Duration = Duration::from_millis(100);

/// How to know that reports are safe.
#[derive(Clone)]
pub(crate) enum Flusher {
    Active(StoreFlusher),
    Disabled(Disabled),
}

impl Flusher {
    /// Of a store, on a runtime that runs for as long as it.
    pub(crate) fn new(store: Store, handle: Handle) -> Self {
        Self::Active(StoreFlusher::new(store, handle))
    }

    /// The answer comes in this time, whatever the store does; the channel is closed if the threads are gone.
    pub(super) fn flush(&self, timeout: Duration) -> oneshot::Receiver<Flushed> {
        match self {
            Self::Active(behind) => behind.flush(timeout),
            Self::Disabled(disabled) => ready(disabled.flushed()),
        }
    }
}

/// An answer that is there.
fn ready(flushed: Flushed) -> oneshot::Receiver<Flushed> {
    let (answer, answered) = oneshot::channel();
    // The receiver is right here.
    let _ = answer.send(flushed);
    answered
}

/// Waits until reports are safe, on threads of its own, so that any executor may await the answer, and none.
#[derive(Clone)]
pub(crate) struct StoreFlusher {
    store: Store,
    handle: Handle,
    fork_guard: ForkGuard,
    lost_before: u64,
}

impl StoreFlusher {
    fn new(store: Store, handle: Handle) -> Self {
        Self { store, handle, fork_guard: ForkGuard::here(), lost_before: lost_so_far() }
    }

    fn flush(&self, timeout: Duration) -> oneshot::Receiver<Flushed> {
        if self.fork_guard.is_forked() {
            // The threads that would answer are in the other process.
            return ready(Flushed { lost: lost_so_far() - self.lost_before, ..Flushed::default() });
        }
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        #[expect(clippy::disallowed_methods, reason = "bounded by its timeout, and nobody stops for it")]
        self.handle.spawn(async move {
            // Nobody may be waiting any more.
            let _ = answer.send(this.flush_until(after(timeout)).await);
        });
        answered
    }

    async fn flush_until(&self, deadline: Instant) -> Flushed {
        let safe = timeout_at(deadline, self.safe()).await.unwrap_or(false);
        self.figures(safe, deadline).await
    }

    /// Where all reports stand now.
    async fn figures(&self, safe: bool, deadline: Instant) -> Flushed {
        let counts = timeout_at(deadline, self.store.counts()).await;
        let undelivered = counts.ok().and_then(Result::ok).map(|counts| counts.undelivered);
        let ends = self.store.counters();
        // A row that can be counted is committed.
        let durable = self.store.is_durable();
        Flushed {
            delivered: ends.delivered,
            stored: undelivered.filter(|_| durable).unwrap_or(0),
            waiting: undelivered.filter(|_| !durable).unwrap_or(0),
            lost: lost_so_far() - self.lost_before + ends.given_up,
            discarded: 0,
            known: safe && undelivered.is_some(),
        }
    }

    /// Waits until every report posted so far is committed (durable store) or was tried once (memory).
    async fn safe(&self) -> bool {
        match self.store.barrier().await {
            Ok(_) if self.store.is_durable() => true,
            Ok(posted) => {
                self.store.tried(posted).await;
                true
            }
            Err(_) => false,
        }
    }
}

/// The background of a poster that was started by hand.
pub(crate) struct Engine {
    behind: StoreFlusher,
    shutdown: Shutdown,
    /// Taken when the engine stops.
    background: Mutex<Option<Background>>,
}

impl Engine {
    pub(super) fn new(store: Store, shutdown: Shutdown, background: Background) -> Self {
        let behind = StoreFlusher::new(store, background.handle().clone());
        Self { behind, shutdown, background: Mutex::new(Some(background)) }
    }

    pub(super) fn flusher(&self) -> Flusher {
        Flusher::Active(self.behind.clone())
    }

    /// Whether this process is a fork of the one that has the threads.
    pub(super) fn is_forked(&self) -> bool {
        self.behind.fork_guard.is_forked()
    }

    /// Flushes, stops store and delivery, and joins their threads, all in this time: attempts that outlast it are cut off.
    /// Done by a thread of its own, since a runtime must not be dropped inside another.
    pub(super) fn stop(self: &Arc<Self>, timeout: Duration) -> oneshot::Receiver<Flushed> {
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(self);
        let stop = move || {
            let Some(background) = this.take() else { return };
            let deadline = after(timeout);
            let flushed = background.block_on(async {
                let flushed = this.behind.flush_until(deadline).await;
                this.shutdown.stop();
                let _ = timeout_at(deadline, this.shutdown.finished()).await;
                // What was in flight has come to its end since.
                let ended = this.behind.figures(flushed.known, deadline).await;
                let _ = timeout_at(deadline, this.behind.store.close()).await;
                if ended.known { ended } else { flushed }
            });
            background.join(deadline.saturating_duration_since(Instant::now()).max(JOIN));
            // Nobody may be waiting any more.
            let _ = answer.send(flushed);
        };
        // If no thread can be started, the answer is dropped, which says that nothing is known.
        let _ = std::thread::Builder::new().name("postback-stop".into()).spawn(stop);
        answered
    }

    fn take(&self) -> Option<Background> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// So much later, or as good as never.
fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_hours(24 * 365))
}
