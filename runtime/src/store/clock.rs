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
//! the machine sleeps, and so does a retry's delay.
//!
//! What came to its end is deleted by the wall clock, as far as that can be believed: see [`Trust`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// Steps of the wall clock up to this are followed at once: what keeps it right makes them. In µs.
const STEP: i64 = 60_000_000;

/// A clock that is set back for less is not followed: machines without one of their own start so, until they have asked the network.
const SET_BACK: Duration = Duration::from_secs(50);

/// How far the wall clock is believed when it says that something ended long ago. A clock that is set forward, even if it is for a
/// while only, must not delete what is not old enough by the time that has really passed. So its lead over the store's time, which
/// does not jump, is believed only once it has lasted for as long as ended rows are kept: by then all that ended before is old
/// enough by any clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The believed lead of the wall clock over the store's time, in µs.
    lead: i64,
    /// Since when, by the store's time, the wall clock has had a greater one.
    ahead: Option<Timestamp>,
    /// Since when, by the store's time, it has had a smaller one.
    behind: Option<Timestamp>,
}

impl Trust {
    /// What is believed after a look at the clocks.
    fn after(self, now: Now, retention: Duration) -> Self {
        let lead = now.wall.micros().saturating_sub(now.due.micros());
        if lead < self.lead - STEP {
            let since = self.behind.unwrap_or(now.due);
            // What ends from now on is stamped so, and would look old as soon as the clock is right again.
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

    /// As the backend keeps it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn to_text(self) -> String {
        match self.ahead {
            Some(since) => format!("{} {}", self.lead, since.micros()),
            None => self.lead.to_string(),
        }
    }

    /// What [`to_text`](Self::to_text) made.
    #[cfg(feature = "sqlite")]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse);
        let lead = numbers.next()?.ok()?;
        let ahead = numbers.next().transpose().ok()?;
        Some(Self { lead, ahead: ahead.map(Timestamp::from_micros), behind: None })
    }
}

pub(crate) struct StoreClock {
    clock: Clock,
    /// The store's time when it was opened, and the monotonic clock then.
    base: Timestamp,
    opened: Duration,
    /// The wall clock's lead over the store's time, as it was last shown, in µs.
    lead: AtomicI64,
    /// As it was last kept by the backend.
    trust: Mutex<Trust>,
}

impl StoreClock {
    /// Goes on from where the clocks stood at the last commit.
    pub(crate) fn resume(clock: Clock, last: Option<Now>, trust: Option<Trust>) -> Self {
        let (wall, opened) = (clock.now(), clock.elapsed());
        let base = last.map_or(wall, |last| last.due.saturating_add(wall.since(last.wall)));
        let lead = wall.micros().saturating_sub(base.micros());
        let trust = Mutex::new(trust.unwrap_or(Trust { lead, ahead: None, behind: None }));
        Self { clock, base, opened, lead: AtomicI64::new(lead), trust }
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

    /// What ended before this moment of the wall clock has been over for longer than `retention`; and what is to be [kept](Self::keep)
    /// of that, if it has changed.
    pub(crate) fn ended_before(&self, retention: Duration) -> (Timestamp, Option<Trust>) {
        let (now, known) = (self.now(), *self.trust());
        let trust = known.after(now, retention);
        if trust.ahead.is_some() && known.ahead.is_none() {
            tracing::warn!("the clock was set forward: what ended is kept by the time that really passes");
        }
        let believed = Timestamp::from_micros(now.due.micros().saturating_add(trust.lead)).min(now.wall);
        // Small steps are not worth a write each.
        let changed = trust.ahead != known.ahead || (trust.lead - known.lead).abs() > STEP / 2;
        if !changed {
            *self.trust() = Trust { behind: trust.behind, ..known };
        }
        (believed.saturating_sub(retention), changed.then_some(trust))
    }

    /// The backend has it.
    pub(crate) fn keep(&self, trust: Trust) {
        *self.trust() = trust;
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
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
