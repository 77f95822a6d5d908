//! Whether the store's writer makes progress. Other tasks ask this module, because a writer that hangs cannot answer.
//!
//! The store is *failing* from the first failed write until a write of at least the same size succeeds. The store also
//! counts as failing while no caller wants to write, because a client that asks whether to send requests must learn
//! that they would fail. While the store is failing, the writer attempts a write once a second. The program logs one
//! line for each cause, and one line when the failure is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::error::Bound;
use postback_wire::line::Causes;

/// The longest time that a caller waits while the backend fails. If a batch takes longer, the store reports a
/// [`Trouble`].
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The longest time that a single call to the backend may take. After this time the store assumes that the call never
/// returns. A device that fails returns errors instead, and after errors the store retries without limit.
const HOPELESS: Duration = Duration::from_mins(5);
/// The shortest time after which a failure of the backend is reported as [`Trouble`]. A shorter failure is reported
/// only if a caller received an error because of it.
const SHORT_FAILURE: Duration = Duration::from_secs(1);
/// The pause between two writes that test whether the backend works again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The largest number of bytes of a write that tests whether the backend works again.
const LARGEST_PROBE: usize = 1 << 20;
/// The largest number of different causes that the store logs as errors during one failure.
const CAUSES: usize = 8;

/// The reason why the store does not accept new requests at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("the store's writer ended unexpectedly; the log has the cause")]
    Ended,
    #[error("the store has been hanging in one operation for {} s", .0.as_secs())]
    Hangs(Duration),
    #[error("the store has not been able to write for {} s; the log has the cause", .0.as_secs())]
    Fails(Duration),
    #[error("new requests are refused: {0}")]
    Refuses(Bound),
}

impl Trouble {
    /// Returns a short name for this trouble, such as `hangs` or `fails`. The name does not contain the duration, so
    /// the name stays the same for as long as the trouble lasts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Hangs(_) => "hangs",
            Self::Fails(_) => "fails",
            Self::Refuses(bound) => bound.name(),
        }
    }
}

/// Records whether the writer makes progress. The writer updates this record.
#[derive(Default)]
pub(crate) struct Health {
    state: Mutex<State>,
    /// A token that is cancelled if the writer has ended although the store was not closed.
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    /// When the writer began its current batch. `None`: the writer has no batch now.
    batch: Option<Instant>,
    /// When the writer began its current call to the backend. `None`: the writer does not call the backend now.
    call: Option<Instant>,
    failing: Option<Failing>,
}

/// A failure of the backend that is not over yet.
struct Failing {
    since: Instant,
    failures: u64,
    /// The number of operations that were given up. The callers of these operations received an error.
    given_up: u64,
    /// The causes that the store has already logged as errors.
    causes: Vec<String>,
    /// The size of the largest operation that could not be written, in bytes. The value is at most [`LARGEST_PROBE`].
    bytes: usize,
    /// The earliest time at which the writer tests again whether the backend can write.
    next_probe: Instant,
}

impl Health {
    pub(super) fn batch_begins(&self) {
        self.lock().batch = Some(Instant::now());
    }

    pub(super) fn batch_is_over(&self) {
        self.lock().batch = None;
    }

    /// Awaits a call to the backend, and records when the call began, so that other tasks notice a call that never
    /// returns.
    pub(super) async fn watching<T>(&self, call: impl Future<Output = T>) -> T {
        self.lock().call = Some(Instant::now());
        let done = call.await;
        self.lock().call = None;
        done
    }

    /// Records that a write of `bytes` bytes failed. Logs each new cause once.
    pub(super) fn failed(&self, cause: &(dyn std::error::Error + 'static), bytes: usize) {
        let (cause, now) = (Causes(cause).to_string(), Instant::now());
        let mut state = self.lock();
        let failing = state.failing.get_or_insert_with(|| Failing {
            since: now,
            failures: 0,
            given_up: 0,
            causes: Vec::new(),
            bytes: 0,
            next_probe: now,
        });
        failing.failures += 1;
        failing.bytes = failing.bytes.max(bytes.min(LARGEST_PROBE));
        failing.next_probe = now + PROBE_INTERVAL;
        let is_new = failing.causes.len() < CAUSES && !failing.causes.contains(&cause);
        if is_new {
            failing.causes.push(cause.clone());
        }
        drop(state);
        if is_new {
            tracing::error!(error = cause, "the store cannot write: {cause}; it retries until a write succeeds");
        } else {
            tracing::debug!(error = cause, "the store still cannot write");
        }
    }

    /// Counts operations whose callers received an error, because nothing was written or because the outcome of the
    /// commit is unknown.
    pub(super) fn gave_up(&self, operations: usize) {
        if let Some(failing) = &mut self.lock().failing {
            failing.given_up += operations as u64;
        }
    }

    /// Records that an operation of `bytes` bytes was written. If the operation is at least as large as the largest
    /// operation that failed, the failure is over.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        // A smaller write proves nothing: the disk may have space for it, but not for the larger write that failed.
        let Some(failing) = state.failing.take_if(|failing| bytes >= failing.bytes) else { return };
        drop(state);
        let (failures, given_up, seconds) = (failing.failures, failing.given_up, failing.since.elapsed().as_secs());
        tracing::info!(
            failures,
            given_up,
            "the store can write again, after {failures} failures in {seconds} s; {given_up} operations were given up"
        );
    }

    /// Returns whether the backend is failing. While it is, the writer must test whether the backend works again.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().failing.is_some()
    }

    /// Returns how many bytes the writer should write now to test whether the backend works again. `None`: the backend
    /// does not fail, or it is too early for a test.
    pub(super) fn bytes_to_probe(&self) -> Option<usize> {
        let state = self.lock();
        state.failing.as_ref().filter(|failing| failing.next_probe <= Instant::now()).map(|failing| failing.bytes)
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
        let failing = state.failing.as_ref().map(|failing| (failing.since.elapsed(), failing.given_up > 0));
        let fails = failing.filter(|(time, gave_up)| *gave_up || *time >= SHORT_FAILURE).map(|(time, _)| time);
        long(state.call).map(Trouble::Hangs).or_else(|| fails.or_else(|| long(state.batch)).map(Trouble::Fails))
    }

    /// Waits until the writer has ended, or until one call to the backend has taken longer than [`HOPELESS`]. Then
    /// returns which of the two has happened.
    async fn broken(&self) -> Trouble {
        loop {
            let since = self.lock().call;
            if let Some(time) = since.map(|since| since.elapsed()).filter(|time| *time >= HOPELESS) {
                return Trouble::Hangs(time);
            }
            // This function can sleep until `look`, because a call that begins after this line reaches the limit
            // `HOPELESS` only after `look`.
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
    /// Returns the reason why the store would refuse a new request now. `None`: nothing is wrong with the store.
    pub fn trouble(&self) -> Option<Trouble> {
        let shared = &self.0.shared;
        shared.health.trouble().or_else(|| shared.space.bound().map(Trouble::Refuses))
    }

    /// Returns the limit of waiting requests that would refuse a new request now, although nothing is wrong with the
    /// store. `None`: the limits of waiting requests allow a new request.
    pub fn is_full(&self) -> Option<Bound> {
        self.0.shared.local.backlog.bound()
    }

    /// Waits until the store can never write again in this process. Then another process must open the store.
    pub async fn broken(&self) -> Trouble {
        self.0.shared.health.broken().await
    }
}
