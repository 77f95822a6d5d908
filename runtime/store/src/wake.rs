//! The signals that a commit sends: to tasks that claim rows, to tasks that wait for the end of one request, and to
//! tasks that wait for first attempts.
//!
//! A signal carries no data. A woken task reads the store to see what has changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::cancel::Cancels;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::time::Timestamp;

/// The signals of one store.
#[derive(Default)]
pub(crate) struct Wake {
    /// The signal that unclaimed requests were written. If no task waits for the signal, the signal is saved for the
    /// next task that waits.
    pub requests: Notify,
    /// The signal that unclaimed reports were written. If no task waits for the signal, the signal is saved for the
    /// next task that waits.
    pub reports: Notify,
    pub deadlines: Deadlines,
    /// The signal that something may have been handed in. If no task waits for the signal, it is saved for the next one.
    pub handed_in: Notify,
    /// The signal that the claims of a node that has ended were taken over.
    pub taken_over: Notify,
    pub watches: Arc<Watches>,
    pub cancels: Cancels,
    /// The reports that have not had their first attempt yet.
    pub first_attempts: FirstAttempts,
}

/// The times until which the first runs of waiting requests must begin.
pub(crate) struct Deadlines {
    /// The earliest of these times, in µs of the store's own time. No waiting request has an earlier one.
    next: AtomicI64,
    /// The signal that `next` has become earlier. If no task waits for the signal, it is saved for the next one.
    pub earlier: Notify,
}

impl Default for Deadlines {
    /// An earlier process may have left requests with such a time. So the first claim comes at once.
    fn default() -> Self {
        Self { next: AtomicI64::new(i64::MIN), earlier: Notify::new() }
    }
}

impl Deadlines {
    /// Records that a request waits whose first run must begin by this time. `None`: the time is not known.
    pub(crate) fn waits(&self, deadline: Option<Timestamp>) {
        let deadline = deadline.map_or(i64::MIN, Timestamp::micros);
        if deadline < self.next.fetch_min(deadline, Ordering::SeqCst) {
            self.earlier.notify_one();
        }
    }

    /// Records the earliest time. The last claim has returned it.
    pub(crate) fn next(&self, deadline: Option<Timestamp>) {
        self.next.store(deadline.map_or(i64::MAX, Timestamp::micros), Ordering::SeqCst);
    }
}

impl Store {
    /// Returns a watch on this request. The method `settled` of the watch waits until the request is settled. Call
    /// `watch` before you read the request, so that you do not miss a settlement in between.
    pub fn watch(&self, id: &RequestId) -> Watch {
        self.0.shared.local.wake.watches.watch(id)
    }
}

/// The signals of the watched requests.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<RequestId, Weak<Signal>>>);

/// What the watches of one request share.
#[derive(Default)]
struct Signal {
    /// Cancelled when the request has ended.
    ended: CancellationToken,
    /// Notified at each change of the status, also at the last one.
    changed: Notify,
}

impl Watches {
    pub(crate) fn watch(self: &Arc<Self>, id: &RequestId) -> Watch {
        let mut watched = lock(&self.0);
        let signal = watched.get(id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let signal = Arc::new(Signal::default());
            watched.insert(id.clone(), Arc::downgrade(&signal));
            signal
        });
        Watch { id: id.clone(), signal: Some(signal), all: self.clone() }
    }

    /// Wakes the tasks that watch this request. Called after the commit that ends the request.
    pub(crate) fn ended(&self, id: &RequestId) {
        // The entry can be removed from the map. If a task begins to watch the request later, the task then reads the
        // request, and sees that the request has ended.
        let signal = lock(&self.0).remove(id).as_ref().and_then(Weak::upgrade);
        if let Some(signal) = signal {
            signal.ended.cancel();
            signal.changed.notify_waiters();
        }
    }

    /// Wakes the tasks that wait for any change of the status of this request. Called after the commit of a claim, and
    /// of a run that did not end the request.
    pub(crate) fn changed(&self, id: &RequestId) {
        let signal = lock(&self.0).get(id).and_then(Weak::upgrade);
        if let Some(signal) = signal {
            signal.changed.notify_waiters();
        }
    }

    /// Returns the requests that are watched.
    pub(crate) fn watched(&self) -> Vec<RequestId> {
        lock(&self.0).keys().cloned().collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

/// A watch on one request, which [`Store::watch`](crate::Store::watch) returns.
pub struct Watch {
    id: RequestId,
    /// The signal of the request. The value is `None` only while the watch is being dropped.
    signal: Option<Arc<Signal>>,
    all: Arc<Watches>,
}

impl Watch {
    /// Waits until the request is settled. If the request was already settled between the making of this watch and the
    /// call, returns immediately. The future is cancel-safe.
    pub async fn settled(&self) {
        if let Some(signal) = &self.signal {
            signal.ended.cancelled().await;
        }
    }

    /// Returns a future that waits for the next change of the status after this call. Call this method, then read the
    /// request, then wait: so no change is missed. After the request has ended, the future returns immediately.
    pub fn change(&self) -> impl Future<Output = ()> + Send + '_ {
        // `notified` counts calls of `notify_waiters` from its creation on, not from its first poll on.
        let parts = self.signal.as_ref().map(|signal| (signal.changed.notified(), &signal.ended));
        async move {
            if let Some((changed, ended)) = parts {
                tokio::select! {
                    () = changed => {}
                    () = ended.cancelled() => {}
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.all.0);
        // The signal is dropped while the map is locked. So if several watches of one request are dropped at the same
        // time, the last of them finds that no watch has the signal any more (a strong count of 0), and removes the
        // entry from the map. If the entry already has the signal of a later watch, the strong count is not 0, and the
        // entry is not removed.
        self.signal = None;
        if watched.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
            watched.remove(&self.id);
        }
    }
}

/// The reports that this process has accepted and that have not had their first attempt yet.
#[derive(Default)]
pub(crate) struct FirstAttempts {
    pending: Mutex<Pending>,
    /// The signal that a report was removed from `pending`.
    one_less: Notify,
}

#[derive(Default)]
struct Pending {
    /// The number of reports that have received a number so far.
    posted: u64,
    by_id: HashMap<ReportId, u64>,
    numbers: BTreeSet<u64>,
}

/// The largest number of reports whose first attempts are tracked. If more reports wait, only the oldest reports are
/// tracked, so that the other reports take no memory in addition to their rows.
const MOST_PENDING: usize = 100_000;

impl FirstAttempts {
    /// Gives a report its number. Called when the report is sent to the backend.
    pub(crate) fn posted(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        pending.posted += 1;
        let number = pending.posted;
        if pending.numbers.len() < MOST_PENDING && pending.by_id.insert(id, number).is_none() {
            pending.numbers.insert(number);
        }
    }

    /// Returns the number of reports that have received a number so far.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.pending).posted
    }

    /// Records that callers need not wait for this report any more: the report was attempted, has ended, or was never
    /// written.
    pub(crate) fn done(&self, id: ReportId) {
        let mut pending = lock(&self.pending);
        if let Some(number) = pending.by_id.remove(&id) {
            pending.numbers.remove(&number);
            self.one_less.notify_waiters();
        }
    }

    /// Waits for the first `posted` reports: each of them was attempted, has ended, or was never written.
    pub(crate) async fn until(&self, posted: u64) {
        loop {
            // The future `one_less` is made before the count is read, because `notify_waiters` wakes only the futures
            // that exist already.
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
