//! Attempts that never wait for a turn: they take what room others leave.

use super::{Key, Turns};
#[cfg(feature = "server")]
use super::{LimitGroup, Limits, SinceStart, SlotsInUse};

impl<T> Turns<T> {
    /// Starts an attempt that never waits, if one may start now: no report of the origin waits, no report of another
    /// origin could start, and the attempt leaves room for reports that come later. The attempt uses a slot until [`end_at_once`](Self::end_at_once) is called.
    ///
    /// - A quarter of all slots stays free. Of the slots of slow origins, and of those of origins that have not answered
    ///   yet, a quarter stays free, too.
    /// - An origin uses at most half of its share, or of its own limit. An origin that is slow or has not answered yet uses
    ///   at most half of what a small origin may use.
    ///
    /// So with very few slots, no such attempt starts.
    #[cfg(feature = "server")]
    pub(crate) fn begin_at_once(&mut self, key: Key, now: SinceStart) -> bool {
        self.has_fallen_silent(key, now);
        let may_begin = self.may_begin_at_once(key);
        if may_begin {
            self.change(key, |origin| {
                origin.in_flight += 1;
                origin.at_once += 1;
            });
        }
        may_begin
    }

    /// Records that an attempt that never waited has ended, and frees its slot. The attempt does not show how fast the
    /// origin is.
    pub(crate) fn end_at_once(&mut self, key: Key) {
        self.change(key, |origin| {
            origin.in_flight = origin.in_flight.saturating_sub(1);
            origin.at_once = origin.at_once.saturating_sub(1);
        });
    }

    #[cfg(feature = "server")]
    fn may_begin_at_once(&self, key: Key) -> bool {
        let Some(origin) = self.origins.get(key) else { return false };
        let Limits { total, share, small, slow, unproven, .. } = self.limits;
        let SlotsInUse { all, by_slow, by_unproven, .. } = self.in_use;
        let leaves_a_quarter = |in_use: usize, slots: usize| in_use < slots - slots.div_ceil(4);
        let most = origin.own_limit.unwrap_or(share) / 2;
        let (most, group_has_room) = match origin.group_of_next(&self.limits) {
            Some(LimitGroup::Small | LimitGroup::Large) => (most, true),
            Some(LimitGroup::Unproven) => (most.min(small / 2), leaves_a_quarter(by_unproven, unproven)),
            Some(LimitGroup::Slow) => {
                let has_room = leaves_a_quarter(by_slow, slow) && leaves_a_quarter(by_unproven, unproven);
                (most.min(small / 2), has_room)
            }
            Some(LimitGroup::SlowLarge | LimitGroup::BeyondShare) | None => return false,
        };
        let has_room = leaves_a_quarter(all, total) && origin.in_flight < most && group_has_room;
        // Reports of other origins may wait for their own limits, or for an end of theirs. What such a report could use is
        // left free above.
        origin.queue.is_empty() && self.next_group().is_none() && has_room && self.has_room_for_large(key)
    }
}

#[cfg(all(test, feature = "server"))]
mod tests;
