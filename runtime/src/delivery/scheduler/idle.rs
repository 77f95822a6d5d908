//! What is known of lines with nothing to do: bounded, the longest idle is forgotten first.

use super::{InHand, Scheduler};
use crate::policy::turns::Key;

impl<W: InHand> Scheduler<W> {
    pub(super) fn note_idleness(&mut self, key: Key) {
        self.mark_idleness(key);
        while self.idle.len() > self.bounds.idle
            && let Some((_, key)) = self.idle.pop_first()
        {
            if let Some(origin) = self.forget(key) {
                self.mark_idleness(origin);
            }
        }
    }

    pub(super) fn mark_idleness(&mut self, key: Key) {
        let has_work = self.turns.has_work(key);
        let Some(at) = self.origins.get_mut(&key) else { return };
        let is_idle = !has_work && !at.is_parked() && at.urls.is_empty();
        match (is_idle, at.idle) {
            // It works again: its reports stand in the line of all others.
            (true, _) if at.origin.is_some() && !at.breaker.is_probing() => {
                if let Some(origin) = self.forget(key) {
                    self.mark_idleness(origin);
                }
            }
            (true, None) => {
                self.last_idle += 1;
                at.idle = Some(self.last_idle);
                self.idle.insert(self.last_idle, key);
            }
            (false, Some(stamp)) => {
                at.idle = None;
                self.idle.remove(&stamp);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Its origin, if it was a URL of one.
    pub(super) fn forget(&mut self, key: Key) -> Option<Key> {
        let at = self.origins.remove(&key)?;
        self.keys.remove(&at.name);
        self.turns.remove(key);
        if let Some(alarm) = at.alarm {
            self.alarms.remove(&(alarm, key));
        }
        if let Some(stamp) = at.idle {
            self.idle.remove(&stamp);
        }
        self.counts.open = self.counts.open.saturating_sub(usize::from(at.breaker.is_probing()));
        let origin = at.origin?;
        self.rejoin(origin, key, at.breaker);
        Some(origin)
    }
}
