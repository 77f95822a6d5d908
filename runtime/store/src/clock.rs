//! The store's time: the time by which rows are due. A jump of the wall clock does not move the store's time.
//!
//! While the store is open, its time advances with the machine's monotonic clock. While the store is closed, its time
//! advances with the wall clock, but never goes back: each commit records both clocks. So a wall clock that is set back
//! delays no row, and a wall clock that is set forward makes no retry due early. A restart, whatever the wall clock
//! shows then, delays a row by at most the pause of the schedule that the row was waiting for. There is one exception:
//! the store cannot tell a long stop from a wall clock that was set forward while the store was closed. Then all
//! waiting rows are due now, and are claimed longest due first, under the usual limits.
//!
//! All other times are wall-clock times: when a row was made, when an attempt began, when a request finished. Callers
//! of [`Store`](crate::Store) give and get wall-clock times only: `Store` translates due times. On Linux and macOS the
//! monotonic clock stands still while the machine sleeps, and so does the delay of a retry.
//!
//! The wall clock decides when an ended row is old enough to be deleted, as far as the store trusts the wall clock: see
//! [`Trust`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postback_wire::time::{Clock, Timestamp};

/// The store converts due times with the difference between the wall clock and the store's own time. If this difference
/// changes by less than this many µs, the store still uses the earlier difference, so that callers read the same due
/// time every time.
const TOLERANCE: u64 = 10_000;

/// The time at one moment, by the wall clock and by the store's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub wall: Timestamp,
    /// The store's own time, which does not jump when the wall clock is set. The store compares due times with its own
    /// time.
    pub due: Timestamp,
}

impl Now {
    /// Converts a wall-clock time to the store's own time. The result is correct if the wall clock was not set in
    /// between.
    pub(crate) fn due_at(self, wall: Timestamp) -> Timestamp {
        let ahead = wall.micros().saturating_sub(self.wall.micros());
        Timestamp::from_micros(self.due.micros().saturating_add(ahead))
    }
}

/// By how much the time of a node is changed at once, in µs.
const MOST_STEERED: i64 = 100_000;

/// The largest jump of the wall clock that the store trusts immediately, in µs. Time synchronisation makes such small
/// jumps.
const STEP: i64 = 60_000_000;

/// How long the store waits before it trusts a wall clock that was set back. A machine without a battery-backed clock
/// starts with an early time, until it gets the right time from the network.
const SET_BACK: Duration = Duration::from_secs(50);

/// How far the store trusts the wall clock when the store decides whether a request or a report was finished so long
/// ago that it can be deleted.
///
/// If the wall clock is set forward, even only for a while, the store must not delete rows too early. The store's own
/// time does not jump. If the wall clock gets further ahead of the store's own time, the store trusts the new
/// difference only after the difference has lasted for as long as ended rows are kept. By that time, every row that
/// ended before the jump is old enough by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// By how much the wall clock is ahead of the store's own time, in µs. The store trusts this difference.
    lead: i64,
    /// Since when the wall clock has been further ahead than `lead`, by the store's own time. `None`: the wall clock is
    /// not further ahead.
    ahead: Option<Timestamp>,
    /// Since when the wall clock has been less far ahead than `lead`, by the store's own time. `None`: the wall clock
    /// is not less far ahead.
    behind: Option<Timestamp>,
}

impl Trust {
    /// Returns how far the store trusts the wall clock after the clocks showed `now`. `retention` is the time for which
    /// ended rows are kept.
    fn after(self, now: Now, retention: Duration) -> Self {
        let lead = now.wall.micros().saturating_sub(now.due.micros());
        if lead < self.lead - STEP {
            let since = self.behind.unwrap_or(now.due);
            // Rows that end while the wall clock is set back get too early a time, and would look old as soon as the
            // wall clock is correct again. So the store trusts a wall clock that was set back after the short time
            // `SET_BACK`.
            return if now.due.since(since) >= SET_BACK {
                Self { lead, ahead: None, behind: None }
            } else {
                Self { ahead: None, behind: Some(since), ..self }
            };
        }
        if lead <= self.lead {
            return Self { ahead: None, behind: None, ..self };
        }
        let since = self.ahead.unwrap_or(now.due);
        if lead - self.lead <= STEP || (self.ahead.is_some() && now.due.since(since) >= retention) {
            return Self { lead, ahead: None, behind: None };
        }
        Self { ahead: Some(since), behind: None, ..self }
    }

    /// Converts this value to the text that the backend stores.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn to_text(self) -> String {
        match self.ahead {
            Some(since) => format!("{} {}", self.lead, since.micros()),
            None => self.lead.to_string(),
        }
    }

    /// Parses a text that [`to_text`](Self::to_text) made. Returns `None` if `to_text` cannot have made the text.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse);
        let lead = numbers.next()?.ok()?;
        let ahead = numbers.next().transpose().ok()?;
        Some(Self { lead, ahead: ahead.map(Timestamp::from_micros), behind: None })
    }
}

/// The clocks of one open store: the wall clock, the monotonic clock, and the store's own time, which is computed from
/// them.
pub(crate) struct StoreClock {
    clock: Clock,
    /// The store's own time at the moment when the store was opened.
    base: Timestamp,
    /// The reading of the monotonic clock at the moment when the store was opened.
    opened: Duration,
    /// What was added to the store's own time since then, in µs, so that all nodes on one database have the same time.
    steered: AtomicI64,
    /// By how much the wall clock was ahead of the store's own time when a due time was last converted for a caller, in
    /// µs.
    lead: AtomicI64,
    /// How far the store trusts the wall clock, as the backend last stored it.
    trust: Mutex<Trust>,
}

impl StoreClock {
    /// Makes the clocks of a store. The store's own time continues from `last`, the readings of the clocks at the last
    /// commit.
    pub(crate) fn resume(clock: Clock, last: Option<Now>, trust: Option<Trust>) -> Self {
        let (wall, opened) = (clock.now(), clock.elapsed());
        let base = last.map_or(wall, |last| last.due.saturating_add(wall.since(last.wall)));
        let lead = wall.micros().saturating_sub(base.micros());
        let trust = Mutex::new(trust.unwrap_or(Trust { lead, ahead: None, behind: None }));
        let steered = AtomicI64::new(0);
        Self { clock, base, opened, steered, lead: AtomicI64::new(lead), trust }
    }

    pub(crate) fn now(&self) -> Now {
        // The wall clock is read before the store's own clock. If time passes between the two readings, a delay gets
        // longer, not shorter.
        let wall = self.clock.now();
        let due = self.base.saturating_add(self.clock.elapsed().saturating_sub(self.opened));
        Now { wall, due: Timestamp::from_micros(due.micros().saturating_add(self.steered.load(Ordering::Relaxed))) }
    }

    /// Brings the store's own time nearer to the time of another node, which is ahead by `behind` µs. One call changes
    /// the time by at most [`MOST_STEERED`], so that a wrong answer does little harm.
    pub(crate) fn steer(&self, behind: i64) {
        if behind.unsigned_abs() > TOLERANCE {
            self.steered.fetch_add(behind.clamp(-MOST_STEERED, MOST_STEERED), Ordering::Relaxed);
        }
    }

    /// Converts a wall-clock time to the store's own time.
    pub(crate) fn due_at(&self, wall: Timestamp) -> Timestamp {
        self.now().due_at(wall)
    }

    /// Returns two values. The first value is a wall-clock time: requests and reports that were finished before this
    /// time were finished longer than `retention` ago. The second value says how far the store now trusts the wall
    /// clock, if this has changed. After the backend has stored the second value, pass it to [`keep`](Self::keep).
    pub(crate) fn ended_before(&self, retention: Duration) -> (Timestamp, Option<Trust>) {
        let (now, known) = (self.now(), *self.trust());
        let trust = known.after(now, retention);
        if trust.ahead.is_some() && known.ahead.is_none() {
            tracing::warn!("the wall clock was set forward; ended rows are kept until the retention has really passed");
        }
        let believed = Timestamp::from_micros(now.due.micros().saturating_add(trust.lead)).min(now.wall);
        // The store ignores a small change of `lead`, because a small change is not worth a write.
        let changed = trust.ahead != known.ahead || (trust.lead - known.lead).abs() > STEP / 2;
        if !changed {
            *self.trust() = Trust { behind: trust.behind, ..known };
        }
        (believed.saturating_sub(retention), changed.then_some(trust))
    }

    /// Records how far the store trusts the wall clock. Call this after the backend has stored `trust`.
    pub(crate) fn keep(&self, trust: Trust) {
        *self.trust() = trust;
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Converts a time of the store's own clock to wall-clock time.
    pub(crate) fn wall_at(&self, due: Timestamp) -> Timestamp {
        let now = self.now();
        let (lead, known) = (now.wall.micros().saturating_sub(now.due.micros()), self.lead.load(Ordering::Relaxed));
        let lead = if lead.abs_diff(known) < TOLERANCE { known } else { lead };
        self.lead.store(lead, Ordering::Relaxed);
        Timestamp::from_micros(due.micros().saturating_add(lead))
    }
}
