//! The time by which rows are due. It is the store's own, and no jump of the wall clock moves it.
//!
//! It goes as fast as the monotonic clock of the machine while the store is open, and by the wall clock, but never back,
//! while it is closed: each commit writes down where both clocks stood. So a wall clock that is set back strands no row, one
//! that is set forward makes no retry due early, and a restart with any wall clock delays a row by no more than the step of
//! the schedule that it was waiting for. What it cannot tell from a long stop is a wall clock that was set forward while
//! the store was closed: what waits is then due at once, longest due first, under the usual limits.
//!
//! All other times are the wall clock's: when something was made, tried, finished. So is what goes in and out of
//! [`Store`](super::Store): due times are translated at its surface. On Linux and macOS the monotonic clock stands still while
//! the machine sleeps, and so does a retry's delay. The retention goes by the wall clock, for it is about what is shown.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// Differences between the clocks below this are not followed where a due time is shown, so that it reads the same every
/// time. In µs.
const TOLERANCE: u64 = 10_000;

/// Where both clocks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    /// What due times are compared with.
    pub(crate) due: Timestamp,
}

impl Now {
    /// The store's time at a moment of the wall clock, if that has not jumped since.
    pub(crate) fn due_at(self, wall: Timestamp) -> Timestamp {
        let ahead = wall.micros().saturating_sub(self.wall.micros());
        Timestamp::from_micros(self.due.micros().saturating_add(ahead))
    }
}

pub(crate) struct StoreClock {
    clock: Clock,
    /// The store's time when it was opened, and the monotonic clock then.
    base: Timestamp,
    opened: Duration,
    /// The wall clock's lead over the store's time, as it was last shown, in µs.
    lead: AtomicI64,
}

impl StoreClock {
    /// Goes on from where the clocks stood at the last commit.
    pub(crate) fn resume(clock: Clock, last: Option<Now>) -> Self {
        let (wall, opened) = (clock.now(), clock.elapsed());
        let base = last.map_or(wall, |last| last.due.saturating_add(wall.since(last.wall)));
        let lead = AtomicI64::new(wall.micros().saturating_sub(base.micros()));
        Self { clock, base, opened, lead }
    }

    pub(crate) fn now(&self) -> Now {
        // In this order: what passes in between makes a delay longer, not shorter.
        let wall = self.clock.now();
        Now { wall, due: self.base.saturating_add(self.clock.elapsed().saturating_sub(self.opened)) }
    }

    /// The store's time at a moment of the wall clock.
    pub(crate) fn due_at(&self, wall: Timestamp) -> Timestamp {
        self.now().due_at(wall)
    }

    /// What the wall clock will show at a moment of the store's time.
    pub(crate) fn wall_at(&self, due: Timestamp) -> Timestamp {
        let now = self.now();
        let (lead, known) = (now.wall.micros().saturating_sub(now.due.micros()), self.lead.load(Ordering::Relaxed));
        let lead = if lead.abs_diff(known) < TOLERANCE { known } else { lead };
        self.lead.store(lead, Ordering::Relaxed);
        Timestamp::from_micros(due.micros().saturating_add(lead))
    }
}
