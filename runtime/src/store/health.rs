//! Whether the writer gets on. Asked from outside, since a writer that hangs cannot tell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Store;

/// How long callers are kept waiting while the backend fails; a batch that takes longer is told of.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A call to the backend that takes longer is not waited for any more. Failing storage answers with errors, and is tried
/// again for as long as it takes.
const HOPELESS: Duration = Duration::from_mins(5);

/// Why nothing is written at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the store's writer ended by a fault of its own; the log says more")]
    Ended,
    #[error("the store has been hanging in one operation for {} s", .0.as_secs())]
    Hangs(Duration),
    #[error("the store has not been able to write for {} s; the log says more", .0.as_secs())]
    Fails(Duration),
}

/// What the writer says of itself.
#[derive(Default)]
pub(crate) struct Health {
    state: Mutex<State>,
    /// The writer ended without having been told to.
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Since when the batch is under way.
    batch: Option<Instant>,
    /// Since when the backend has been busy with one call.
    call: Option<Instant>,
}

impl Health {
    pub(super) fn batch_begins(&self) {
        self.lock().batch = Some(Instant::now());
    }

    pub(super) fn batch_is_over(&self) {
        self.lock().batch = None;
    }

    /// Waits for a call to the backend.
    pub(super) async fn watching<T>(&self, call: impl Future<Output = T>) -> T {
        self.lock().call = Some(Instant::now());
        let done = call.await;
        self.lock().call = None;
        done
    }

    pub(super) fn writer_ended(&self) {
        self.ended.cancel();
    }

    fn trouble(&self) -> Option<Trouble> {
        let long = |since: Option<Instant>| since.map(|since| since.elapsed()).filter(|time| *time >= PATIENCE);
        if self.ended.is_cancelled() {
            return Some(Trouble::Ended);
        }
        let state = self.lock();
        long(state.call).map(Trouble::Hangs).or_else(|| long(state.batch).map(Trouble::Fails))
    }

    /// Returns when the writer has ended, or hangs for so long that nothing is to be hoped for.
    async fn broken(&self) -> Trouble {
        loop {
            let since = self.lock().call;
            if let Some(time) = since.map(|since| since.elapsed()).filter(|time| *time >= HOPELESS) {
                return Trouble::Hangs(time);
            }
            // A call that begins meanwhile is not hopeless before that, either.
            let look = since.unwrap_or_else(Instant::now) + HOPELESS;
            tokio::select! {
                () = self.ended.cancelled() => return Trouble::Ended,
                () = sleep_until(look) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Why nothing is written at the moment, if that is so.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0.shared.health.trouble()
    }

    /// Returns when the store will not write any more: only another process can go on from here.
    pub(crate) async fn broken(&self) -> Trouble {
        self.0.shared.health.broken().await
    }
}
