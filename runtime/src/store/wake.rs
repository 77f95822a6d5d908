//! Who is woken by a commit: claimers, those who wait for one request, those who wait for first tries.
//!
//! A wake-up carries no data: it means "look".

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::cancel::Cancels;
use crate::id::{ReportId, RequestId};

/// The signals of one store.
#[derive(Default)]
pub(crate) struct Wake {
    /// Unclaimed requests were written. A signal that finds nobody waiting is kept for the next one.
    pub(crate) requests: Notify,
    /// The same for reports.
    pub(crate) reports: Notify,
    pub(crate) watches: Arc<Watches>,
    pub(crate) cancels: Cancels,
    pub(crate) tried: Tried,
}

/// Those who wait for the end of one request, by its id.
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

    /// The request came to its end, which is committed.
    pub(crate) fn ended(&self, id: &RequestId) {
        // Whoever watches from now on looks at the record afterwards, and finds the end there.
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

/// See [`Store::watch`](super::Store::watch).
pub(crate) struct Watch {
    id: RequestId,
    /// Taken when it is dropped.
    ended: Option<Arc<CancellationToken>>,
    all: Arc<Watches>,
}

impl Watch {
    /// Returns when the request has been settled since the watch was taken. Cancel-safe.
    pub(crate) async fn changed(&self) {
        if let Some(ended) = &self.ended {
            ended.cancelled().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.all.0);
        // Given back under the lock, so that of several that are dropped at once the last one finds nobody left. The entry
        // may be a later watch's by now, which then has a share in it.
        self.ended = None;
        if watched.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
            watched.remove(&self.id);
        }
    }
}

/// Which of the reports that this process took in have not been tried yet.
#[derive(Default)]
pub(crate) struct Tried {
    untried: Mutex<Untried>,
    one_less: Notify,
}

#[derive(Default)]
struct Untried {
    posted: u64,
    by_id: HashMap<ReportId, u64>,
    numbers: BTreeSet<u64>,
}

/// Of a longer backlog only the oldest are waited for, so that it does not cost memory beside the rows.
const MOST_UNTRIED: usize = 100_000;

impl Tried {
    /// Numbers a report as it goes to the backend.
    pub(crate) fn posted(&self, id: ReportId) {
        let mut untried = lock(&self.untried);
        untried.posted += 1;
        let number = untried.posted;
        if untried.numbers.len() < MOST_UNTRIED && untried.by_id.insert(id, number).is_none() {
            untried.numbers.insert(number);
        }
    }

    /// How many have been numbered.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.untried).posted
    }

    /// It was tried, or came to its end, or was never written.
    pub(crate) fn done(&self, id: ReportId) {
        let mut untried = lock(&self.untried);
        if let Some(number) = untried.by_id.remove(&id) {
            untried.numbers.remove(&number);
            self.one_less.notify_waiters();
        }
    }

    /// Returns when each of the first `posted` is done.
    pub(crate) async fn until(&self, posted: u64) {
        loop {
            // Registers before looking: `notify_waiters` reaches every `Notified` made before it.
            let one_less = self.one_less.notified();
            if lock(&self.untried).numbers.first().is_none_or(|oldest| *oldest > posted) {
                return;
            }
            one_less.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
