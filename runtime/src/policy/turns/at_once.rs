//! Attempts that never wait for a turn: they take what room others leave.

use super::{Key, LimitGroup, SinceStart, Turns};

impl<T> Turns<T> {
    /// Starts an attempt that never waits, if one may start now. It leaves a quarter of the slots to others, and an origin
    /// has no more of them than half of its share. The attempt uses a slot until [`done`](Self::done) is called.
    pub(crate) fn begin_at_once(&mut self, key: Key, now: SinceStart) -> bool {
        self.has_fallen_silent(key, now);
        let may_begin = self.may_begin_at_once(key);
        if may_begin {
            self.change(key, |origin| {
                if origin.in_flight == 0 {
                    origin.last_heard = now;
                }
                origin.in_flight += 1;
            });
        }
        may_begin
    }

    fn may_begin_at_once(&self, key: Key) -> bool {
        let Some(origin) = self.origins.get(key) else { return false };
        let total = self.limits.total;
        let most = origin.own_limit.unwrap_or(self.limits.share).div_ceil(2);
        let has_room = self.in_use.all < total - total / 4 && origin.in_flight < most;
        let group = origin.queue.is_empty().then(|| origin.group_of_next(&self.limits)).flatten();
        has_room
            && group.is_some_and(|group| match group {
                LimitGroup::SlowLarge | LimitGroup::BeyondShare => false,
                group => self.is_open(group) && self.has_room_for_large(key),
            })
    }
}

#[cfg(test)]
mod tests;
