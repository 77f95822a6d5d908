//! The signals that a commit sends: to tasks that claim rows, to tasks that wait for the end of one request, and to
//! tasks that wait for first attempts.
//!
//! A signal carries no data. A woken task reads the store to see what has changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancels;
use postback_wire::id::{ReportId, RequestId};

/// The signals of one store.
#[derive(Default)]
pub(crate) struct Wake {
    /// The signal that unclaimed requests were written. If no task waits for the signal, the next task that waits gets
    /// it.
    pub requests: Notify,
    /// The signal that unclaimed reports were written. If no task waits for the signal, the next task that waits gets
    /// it.
    pub reports: Notify,
    pub watches: Arc<Watches>,
    pub cancels: Cancels,
    /// The reports that still wait for their first attempt.
    pub first_attempts: FirstAttempts,
}

/// A token for each request whose end a task waits for. The token is cancelled when the request has ended.
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

    /// Wakes the tasks that watch this request. Called after the commit that ends the request.
    pub(crate) fn ended(&self, id: &RequestId) {
        // The entry can be removed. A task that begins to watch later reads the request's record after that, and finds
        // the end there.
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

/// A watch on one request. [`Store::watch`](crate::Store::watch) returns it, and [`Watch::changed`] waits for the
/// request's end.
pub struct Watch {
    id: RequestId,
    /// The token that is cancelled when the request has ended. `None` only while the watch is being dropped.
    ended: Option<Arc<CancellationToken>>,
    all: Arc<Watches>,
}

impl Watch {
    /// Returns when the request was settled after this watch was made. The future is cancel-safe.
    pub async fn changed(&self) {
        if let Some(ended) = &self.ended {
            ended.cancelled().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.all.0);
        // The token is released under the lock. If several watches are dropped at the same time, the last of them finds
        // a strong count of 0 and removes the entry. If the entry already belongs to a later watch, the strong count is
        // not 0, and the entry stays.
        self.ended = None;
        if watched.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
            watched.remove(&self.id);
        }
    }
}

/// The reports that this process accepted and that still wait for their first attempt.
#[derive(Default)]
pub(crate) struct FirstAttempts {
    pending: Mutex<Pending>,
    /// The signal that a report has left `pending`.
    one_less: Notify,
}

#[derive(Default)]
struct Pending {
    /// How many reports have got a number so far.
    posted: u64,
    by_id: HashMap<ReportId, u64>,
    numbers: BTreeSet<u64>,
}

/// The largest number of reports whose first attempts are tracked. If more reports wait, only the oldest are tracked,
/// so that the other reports cost no memory in addition to their rows.
const MOST_PENDING: usize = 100_000;

impl FirstAttempts {
    /// Gives a report its number. Called when the report goes to the backend.
    pub(crate) fn posted(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        pending.posted += 1;
        let number = pending.posted;
        if pending.numbers.len() < MOST_PENDING && pending.by_id.insert(id, number).is_none() {
            pending.numbers.insert(number);
        }
    }

    /// Returns how many reports have got a number so far.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.pending).posted
    }

    /// Records that callers need no longer wait for this report: an attempt was made, or the report ended, or it was
    /// never written.
    pub(crate) fn done(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        if let Some(number) = pending.by_id.remove(&id) {
            pending.numbers.remove(&number);
            self.one_less.notify_waiters();
        }
    }

    /// Returns when no caller needs to wait for the first `posted` reports: each was attempted, has ended, or was never
    /// written.
    pub(crate) async fn until(&self, posted: u64) {
        loop {
            // The signal must be requested before the count is read, because `notify_waiters` wakes only a `Notified`
            // that was made before.
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
