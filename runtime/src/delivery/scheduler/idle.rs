//! Limits how many idle queues the scheduler remembers. When there are too many, the queue that has been idle longest
//! is forgotten first.

use super::{Schedulable, Scheduler};
use crate::policy::turns::Key;

impl<W: Schedulable> Scheduler<W> {
    /// Updates whether a queue is idle. If there are more idle queues than the scheduler may remember, forgets the
    /// oldest ones.
    pub(super) fn update_idle(&mut self, key: Key) {
        self.mark_idle(key);
        while self.idle.len() > self.bounds.idle
            && let Some((_, key)) = self.idle.pop_first()
        {
            if let Some(origin) = self.forget(key) {
                self.mark_idle(origin);
            }
        }
    }

    /// Updates whether a queue is idle. A queue is idle if it has no attempts in flight and no reports in memory or in
    /// the store.
    pub(super) fn mark_idle(&mut self, key: Key) {
        let has_work = self.turns.has_work(key);
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let is_idle = !has_work && !queue.is_parked() && queue.url_queues.is_empty();
        match (is_idle, queue.idle) {
            // The URL works again, so its next reports go into the queue of its origin.
            (true, _) if queue.origin.is_some() && !queue.breaker.is_probing() => {
                if let Some(origin) = self.forget(key) {
                    self.mark_idle(origin);
                }
            }
            (true, None) => {
                self.last_idle += 1;
                queue.idle = Some(self.last_idle);
                self.idle.insert(self.last_idle, key);
            }
            (false, Some(stamp)) => {
                queue.idle = None;
                self.idle.remove(&stamp);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Removes a queue. If the queue belongs to a URL, returns the key of the queue of the URL's origin.
    pub(super) fn forget(&mut self, key: Key) -> Option<Key> {
        let queue = self.queues.remove(&key)?;
        self.keys.remove(&queue.name);
        self.turns.remove(key);
        if let Some(alarm) = queue.alarm {
            self.alarms.remove(&(alarm, key));
        }
        if let Some(stamp) = queue.idle {
            self.idle.remove(&stamp);
        }
        self.counts.open = self.counts.open.saturating_sub(usize::from(queue.breaker.is_probing()));
        let origin = queue.origin?;
        self.rejoin(origin, key, queue.breaker);
        Some(origin)
    }
}
