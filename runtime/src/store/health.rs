//! Whether the writer gets on. Asked from outside, since a writer that hangs cannot tell.
//!
//! From the first try that fails until as much could be written again, the store is *failing*, whether somebody wants to write
//! or not: who asks whether to send requests here has to hear what those requests would. Meanwhile the writer finds out once a
//! second. The log has a line for each cause, and one when it is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::error::Bound;
use crate::line::Causes;

/// How long callers are kept waiting while the backend fails; a batch that takes longer is told of.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A call to the backend that takes longer is not waited for any more. Failing storage answers with errors, and is tried
/// again for as long as it takes.
const HOPELESS: Duration = Duration::from_mins(5);
/// A store that fails for less is not told of, unless a caller was: it passes.
const PASSES: Duration = Duration::from_secs(1);
/// How often a failing store is tried.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The most that is written to find out whether it works again.
const MOST_TRIED: usize = 1 << 20;
/// Causes that are told apart while the store fails.
const CAUSES: usize = 8;

/// Why nothing is written at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the store's writer ended by a fault of its own; the log says more")]
    Ended,
    #[error("the store has been hanging in one operation for {} s", .0.as_secs())]
    Hangs(Duration),
    #[error("the store has not been able to write for {} s; the log says more", .0.as_secs())]
    Fails(Duration),
    #[error("new requests are refused: {0}")]
    Refuses(Bound),
}

impl Trouble {
    /// What stays the same while it goes on.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Hangs(_) => "hangs",
            Self::Fails(_) => "fails",
            Self::Refuses(bound) => bound.name(),
        }
    }
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
    failing: Option<Failing>,
}

/// A store that cannot write.
struct Failing {
    since: Instant,
    tries: u64,
    /// Operations that were given up.
    given_up: u64,
    /// As told in the log.
    causes: Vec<String>,
    /// What could not be written.
    bytes: usize,
    next_try: Instant,
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

    /// A try to write so much has failed.
    pub(super) fn failed(&self, cause: &(dyn std::error::Error + 'static), bytes: usize) {
        let (cause, now) = (Causes(cause).to_string(), Instant::now());
        let mut state = self.lock();
        let failing = state.failing.get_or_insert_with(|| Failing {
            since: now,
            tries: 0,
            given_up: 0,
            causes: Vec::new(),
            bytes: 0,
            next_try: now,
        });
        failing.tries += 1;
        failing.bytes = failing.bytes.max(bytes.min(MOST_TRIED));
        failing.next_try = now + TRY_AGAIN;
        let is_new = failing.causes.len() < CAUSES && !failing.causes.contains(&cause);
        if is_new {
            failing.causes.push(cause.clone());
        }
        drop(state);
        if is_new {
            tracing::error!(error = cause, "the store cannot write: {cause}; it is tried again until it can");
        } else {
            tracing::debug!(error = cause, "the store still cannot write");
        }
    }

    /// The callers of so many operations were told that nothing was written, or that nobody knows.
    pub(super) fn gave_up(&self, operations: usize) {
        if let Some(failing) = &mut self.lock().failing {
            failing.given_up += operations as u64;
        }
    }

    /// So much was written in one operation.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        // Where there is room for little, there may be none for what was refused.
        let Some(failing) = state.failing.take_if(|failing| bytes >= failing.bytes) else { return };
        drop(state);
        let (tries, given_up, seconds) = (failing.tries, failing.given_up, failing.since.elapsed().as_secs());
        tracing::info!(
            tries,
            given_up,
            "the store can write again, after {tries} failures in {seconds} s; {given_up} operations were given up"
        );
    }

    /// Whether the store fails, so that it has to be found out when it works again.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().failing.is_some()
    }

    /// What is to be written now, to find out whether the store works again.
    pub(super) fn to_try(&self) -> Option<usize> {
        let state = self.lock();
        state.failing.as_ref().filter(|failing| failing.next_try <= Instant::now()).map(|failing| failing.bytes)
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
        let fails = failing.filter(|(time, told)| *told || *time >= PASSES).map(|(time, _)| time);
        long(state.call).map(Trouble::Hangs).or_else(|| fails.or_else(|| long(state.batch)).map(Trouble::Fails))
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
    /// Why a request could not be taken in at the moment, if that is so.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let shared = &self.0.shared;
        shared.health.trouble().or_else(|| shared.space.bound().map(Trouble::Refuses))
    }

    /// Why a request would not be taken in, though nothing is wrong: too many wait.
    pub(crate) fn is_full(&self) -> Option<Bound> {
        self.0.shared.backlog.bound()
    }

    /// Returns when the store will not write any more: only another process can go on from here.
    pub(crate) async fn broken(&self) -> Trouble {
        self.0.shared.health.broken().await
    }
}
