//! The signals that a commit sends: to tasks that claim rows, to tasks that wait for the end of one request, and to
//! tasks that wait for first attempts.
//!
//! A signal carries no data. A woken task looks into the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancels;
use postback_wire::id::{ReportId, RequestId};

/// The signals of one store.
#[derive(Default)]
pub(crate) struct Wake {
    /// Unclaimed requests were written. If no task waits, the signal is kept for the next task that waits.
    pub requests: Notify,
    /// Unclaimed reports were written. If no task waits, the signal is kept for the next task that waits.
    pub reports: Notify,
    pub watches: Arc<Watches>,
    pub cancels: Cancels,
    /// Which reports still wait for their first attempt.
    pub tried: FirstAttempts,
}

/// The tasks that wait for the end of a request, by the request's id.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<RequestId, Weak<CancellationToken>>>);

impl Watches {
    pub(crate) fn watch(self: &Arc<Self>, id: &RequestId) -> Watch {
        let mut watched = lock(&self.0);
        let ended = watched.get(id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let ended = Arc::new(CancellationToken::new());
            watched.insert(id.clone(), Arc::downgrade(&ended));
            ended
        });
        Watch { id: id.clone(), ended: Some(ended), all: self.clone() }
    }

    /// Wakes the tasks that watch this request: its end is committed.
    pub(crate) fn ended(&self, id: &RequestId) {
        // A task that begins to watch from now on reads the record afterwards, and finds the end there.
        let ended = lock(&self.0).remove(id).as_ref().and_then(Weak::upgrade);
        if let Some(ended) = ended {
            ended.cancel();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

/// Waits for the end of one request. [`Store::watch`](crate::Store::watch) makes it.
pub struct Watch {
    id: RequestId,
    /// `None` only while the watch is being dropped.
    ended: Option<Arc<CancellationToken>>,
    all: Arc<Watches>,
}

impl Watch {
    /// Returns when the request was settled after the watch was made. Cancel-safe.
    pub async fn changed(&self) {
        if let Some(ended) = &self.ended {
            ended.cancelled().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.all.0);
        // `ended` is released under the lock: if several watches are dropped at once, the last one finds a strong count
        // of 0 and removes the entry. The entry may already belong to a later watch, whose strong count is not 0: then
        // it stays.
        self.ended = None;
        if watched.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
            watched.remove(&self.id);
        }
    }
}

/// Which reports that this process accepted still wait for their first attempt.
#[derive(Default)]
pub(crate) struct FirstAttempts {
    pending: Mutex<Pending>,
    /// Signalled when a report leaves `pending`.
    one_less: Notify,
}

#[derive(Default)]
struct Pending {
    /// How many reports were numbered so far.
    posted: u64,
    by_id: HashMap<ReportId, u64>,
    numbers: BTreeSet<u64>,
}

/// The most reports that callers wait for. Of a longer backlog only the oldest reports are waited for, so that the
/// backlog costs no memory besides its rows.
const MOST_PENDING: usize = 100_000;

impl FirstAttempts {
    /// Gives a report its number, when it goes to the backend.
    pub(crate) fn posted(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        pending.posted += 1;
        let number = pending.posted;
        if pending.numbers.len() < MOST_PENDING && pending.by_id.insert(id, number).is_none() {
            pending.numbers.insert(number);
        }
    }

    /// How many reports have been numbered.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.pending).posted
    }

    /// Marks a report as done: an attempt was made, or the report ended, or it was never written.
    pub(crate) fn done(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        if let Some(number) = pending.by_id.remove(&id) {
            pending.numbers.remove(&number);
            self.one_less.notify_waiters();
        }
    }

    /// Returns when each of the first `posted` reports is done: attempted, ended, or never written.
    pub(crate) async fn until(&self, posted: u64) {
        loop {
            // Register for the signal before looking: `notify_waiters` wakes every `Notified` that was made before.
            let one_less = self.one_less.notified();
            if lock(&self.pending).numbers.first().is_none_or(|oldest| *oldest > posted) {
                return;
            }
            one_less.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
