//! Attempts that never wait: those of reports of a progress. They take what room is left, and come after all others.

use super::queue::Queue;
use super::terms::Withheld;
use super::{Schedulable, Scheduler, StartedAttempt};
use crate::policy::turns::{Key, SinceStart};

impl<W: Schedulable> Scheduler<W> {
    /// Starts an attempt to this origin and URL, if one may start at once. It may not if a circuit is open, if a report
    /// of the origin waits, or if the attempt would leave too few slots to reports: see `Turns::begin_at_once`.
    pub(in crate::delivery) fn begin_at_once(
        &mut self,
        origin: &str,
        url: &str,
        now: SinceStart,
    ) -> Result<StartedAttempt, Withheld> {
        let key = self.key(origin, url);
        let begun = self
            .may_begin_at_once(key)
            .and_then(|()| if self.turns.begin_at_once(key, now) { Ok(()) } else { Err(Withheld::Busy) });
        if let Err(why) = begun {
            // The origin may be new.
            self.update_idle(key);
            return Err(why);
        }
        let permit = self.queues.get_mut(&key).and_then(|queue| queue.breaker.begin(now)).unwrap_or_default();
        self.count_in_flight(key, now, |n| n + 1);
        self.refresh(key, now);
        Ok(StartedAttempt { key, permit, url: self.url_hash(url), at_once: true })
    }

    fn may_begin_at_once(&self, key: Key) -> Result<(), Withheld> {
        let Some(queue) = self.queues.get(&key) else { return Err(Withheld::Busy) };
        let of_origin = queue.origin.and_then(|origin| self.queues.get(&origin));
        if queue.breaker.is_probing() || of_origin.is_some_and(|origin| origin.breaker.is_probing()) {
            return Err(Withheld::Circuit);
        }
        let waits = |queue: &Queue| queue.waiting > 0 || queue.parked;
        if waits(queue) || of_origin.is_some_and(waits) || self.is_full(key) { Err(Withheld::Busy) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
