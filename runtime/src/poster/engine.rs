//! The background part of a poster: its store and its delivery, with their threads. Also the flusher, which waits until
//! reports are safe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::disabled::DisabledReporting;
use super::flushed::Flushed;
use super::fork_guard::ForkGuard;
use super::loss::lost_so_far;
use crate::background::Background;
use postback_store::Store;
use postback_store::shutdown::Shutdown;

/// The shortest time that the poster waits for its threads to end, even if the timeout has already ended.
const JOIN: Duration = Duration::from_millis(100);

/// Waits until all posted reports are safe. In a durable store, a report is safe when it is on disk. In an in-memory
/// store, a report is safe when it was attempted once.
#[derive(Clone)]
pub(crate) enum Flusher {
    Active(StoreFlusher),
    Disabled(DisabledReporting),
}

impl Flusher {
    /// Makes a flusher for this store. The runtime of `handle` must run for as long as the store is used.
    pub(crate) fn new(store: Store, handle: Handle) -> Self {
        Self::Active(StoreFlusher::new(store, handle))
    }

    /// Starts a flush and returns a channel, which receives the result before the timeout ends, even if the store
    /// hangs. If the threads of the poster have ended, the channel closes without a result.
    pub(super) fn flush(&self, timeout: Duration) -> oneshot::Receiver<Flushed> {
        match self {
            Self::Active(flusher) => flusher.flush(timeout),
            Self::Disabled(disabled) => ready(disabled.flushed()),
        }
    }
}

/// Returns a channel that already contains this result.
fn ready(flushed: Flushed) -> oneshot::Receiver<Flushed> {
    let (answer, answered) = oneshot::channel();
    // `send` does not fail, because this function still has the receiver of the channel.
    let _ = answer.send(flushed);
    answered
}

/// Waits until all reports in a store are safe: committed in a durable store, or attempted once in an in-memory store.
/// The poster's own threads wait, so the caller may use any async executor, or no executor.
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
            // In a forked process, the poster's threads do not exist, so no thread would send a result.
            return ready(Flushed { lost: lost_so_far() - self.lost_before, ..Flushed::default() });
        }
        let (answer, answered) = oneshot::channel();
        let flusher = self.clone();
        #[expect(clippy::disallowed_methods, reason = "bounded by its timeout, and nobody stops for it")]
        self.handle.spawn(async move {
            // `send` fails if the caller has stopped waiting. This error is ignored, because nobody needs the result.
            let _ = answer.send(flusher.flush_until(after(timeout)).await);
        });
        answered
    }

    async fn flush_until(&self, deadline: Instant) -> Flushed {
        let safe = timeout_at(deadline, self.safe()).await.unwrap_or(false);
        self.figures(safe, deadline).await
    }

    /// Returns the numbers of delivered, stored, waiting and lost reports of the poster.
    async fn figures(&self, safe: bool, deadline: Instant) -> Flushed {
        let counts = timeout_at(deadline, self.store.counts()).await;
        let undelivered = counts.ok().and_then(Result::ok).map(|counts| counts.undelivered);
        let ends = self.store.counters();
        // The store counts only committed reports. So if the store is durable, each undelivered report that it counts
        // is on disk.
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

    /// Waits until every report that was posted before this call is safe. In a durable store, a report is safe when it
    /// is committed. In an in-memory store, a report is safe when it was attempted once.
    async fn safe(&self) -> bool {
        match self.store.barrier().await {
            Ok(_) if self.store.is_durable() => true,
            Ok(posted) => {
                self.store.attempted(posted).await;
                true
            }
            Err(_) => false,
        }
    }
}

/// The background work of a poster: its store, its delivery and the threads on which they run.
pub(crate) struct Engine {
    flusher: StoreFlusher,
    shutdown: Shutdown,
    /// The runtime that has the poster's threads. `None` after the engine has begun to stop.
    background: Mutex<Option<Background>>,
}

impl Engine {
    pub(super) fn new(store: Store, shutdown: Shutdown, background: Background) -> Self {
        let flusher = StoreFlusher::new(store, background.handle().clone());
        Self { flusher, shutdown, background: Mutex::new(Some(background)) }
    }

    pub(super) fn flusher(&self) -> Flusher {
        Flusher::Active(self.flusher.clone())
    }

    /// Whether this process was forked from the process in which the poster's threads run.
    pub(super) fn is_forked(&self) -> bool {
        self.flusher.fork_guard.is_forked()
    }

    /// Flushes, stops the delivery and the store, and joins their threads before the timeout ends. A delivery attempt
    /// that takes longer is stopped. A separate thread does this work, because a runtime must not be dropped inside
    /// another runtime.
    pub(super) fn stop(self: &Arc<Self>, timeout: Duration) -> oneshot::Receiver<Flushed> {
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(self);
        let stop = move || {
            let Some(background) = this.take() else { return };
            let deadline = after(timeout);
            let flushed = background.block_on(async {
                let flushed = this.flusher.flush_until(deadline).await;
                this.shutdown.stop();
                let _ = timeout_at(deadline, this.shutdown.finished()).await;
                // The reports are counted again, because delivery attempts that were running at the flush may have
                // ended since then.
                let ended = this.flusher.figures(flushed.known, deadline).await;
                let _ = timeout_at(deadline, this.flusher.store.close()).await;
                if ended.known { ended } else { flushed }
            });
            background.join(deadline.saturating_duration_since(Instant::now()).max(JOIN));
            // `send` fails if the caller has stopped waiting. This error is ignored, because nobody needs the result.
            let _ = answer.send(flushed);
        };
        // If the thread cannot be started, `spawn` drops the sender of the channel. The caller then uses
        // `Flushed::default()`, whose field `known` is false, because the flush did not come to its end.
        let _ = std::thread::Builder::new().name("postback-stop".into()).spawn(stop);
        answered
    }

    fn take(&self) -> Option<Background> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns the time at which this timeout ends. If the timeout is too large for the clock, returns the time one year
/// from now.
fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_hours(24 * 365))
}
