//! Spares what does not work: while it fails, its reports wait, and single tries find out when it works again.
//!
//! A URL has a breaker of its own, so that a path that fails holds up no other path of its origin. An origin has one
//! too. It opens where nothing connects, or where all tries at several URLs fail.
//!
//! A breaker only delays. What it stops has used up no attempt, and the longest that it stops everything is
//! [`LONGEST_PAUSE`].

use std::time::Duration;

use super::turns::SinceStart;

/// Tries within a window, at least, before they say anything.
const MIN_ATTEMPTS: u32 = 10;
/// URLs that fail, at least, before they say something about their origin.
const MIN_FAILING_URLS: usize = 3;
/// What is judged are the tries that ended in the last minute, give or take half of it.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The breaker of one URL, or of one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    state: State,
    /// The last one.
    pause: Duration,
    /// When it was closed after having been open.
    closed: Option<SinceStart>,
    /// Grows as it opens, so that what was begun before is told apart.
    opened: u32,
    /// It opened because nothing connected.
    unreachable: bool,
}

/// What a breaker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Url,
    /// So many of its URLs failed of late.
    Origin {
        failing: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Closed(Window),
    Open {
        until: SinceStart,
    },
    /// A single try is under way.
    Probing,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Window::default())
    }
}

/// How the tries of the last time ended, in two halves: the earlier one is forgotten as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    since: SinceStart,
    now: WindowCounts,
    before: WindowCounts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowCounts {
    all: u32,
    /// Those that reached nobody included.
    failed: u32,
    unreachable: u32,
}

/// Leave to try, given back with what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permit {
    opened: u32,
}

/// What a try says about where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Works,
    /// The URL fails; there was a connection.
    Fails,
    /// Nothing connected: no look-up, no connection, no TLS.
    Unreachable,
    /// Nothing was sent.
    Unknown,
}

/// What a sign has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many of so many tries failed.
    Opened {
        failed: u32,
        attempts: u32,
        until: SinceStart,
    },
    /// The single try failed.
    Extended {
        until: SinceStart,
    },
    Closed,
}

impl Health {
    /// Any answer below 500 is one of a receiver that works, if not for this report: many may share its origin, and 404
    /// or 429 to one of them shall not delay the others.
    pub(crate) fn of(status: Option<u16>, connected: bool) -> Self {
        match status {
            Some(..500) => Self::Works,
            None if !connected => Self::Unreachable,
            Some(500..) | None => Self::Fails,
        }
    }
}

impl Breaker {
    /// Whether a try may begin.
    pub(crate) fn allows_attempt(&self, now: SinceStart) -> bool {
        match self.state {
            State::Closed(_) => true,
            State::Open { until } => until <= now,
            State::Probing => false,
        }
    }

    /// Whether the next try is a single one that finds out whether the origin works again.
    pub(crate) fn is_probing(&self) -> bool {
        !matches!(self.state, State::Closed(_))
    }

    /// When it will let a single try begin; `None` if it lets all, or if that try is under way.
    pub(crate) fn probe_at(&self) -> Option<SinceStart> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed(_) | State::Probing => None,
        }
    }

    /// Begins a try, if one may.
    pub(crate) fn begin(&mut self, now: SinceStart) -> Option<Permit> {
        if !self.allows_attempt(now) {
            return None;
        }
        if self.is_probing() {
            self.state = State::Probing;
        }
        Some(Permit { opened: self.opened })
    }

    /// A try has ended. What began before the breaker opened says nothing that it did not know.
    pub(crate) fn ended(&mut self, permit: Permit, health: Health, scope: Scope, now: SinceStart) -> Option<Change> {
        if permit.opened != self.opened {
            return None;
        }
        let connects_again = self.unreachable && scope != Scope::Url;
        match (&mut self.state, health) {
            (State::Closed(_) | State::Open { .. }, Health::Unknown) | (State::Open { .. }, _) => None,
            (State::Closed(window), _) => {
                window.count(health, now);
                let counts_in_window = window.counts_in_window();
                let WindowCounts { all, failed, .. } = counts_in_window;
                if !counts_in_window.show_failure(scope) {
                    return None;
                }
                self.unreachable = counts_in_window.is_unreachable();
                // What fails again soon after has not recovered: the pause grows on.
                let relapse = self.closed.is_some_and(|closed| now.saturating_sub(closed) < WINDOW);
                let pause = if relapse { self.longer_pause() } else { FIRST_PAUSE };
                let until = self.open(pause, now);
                Some(Change::Opened { failed, attempts: all, until })
            }
            (State::Probing, Health::Unknown) => {
                self.state = State::Open { until: now };
                None
            }
            // An origin that connects again is no longer what it was spared for.
            (State::Probing, _) if health == Health::Works || (health == Health::Fails && connects_again) => {
                self.state = State::Closed(Window { since: now, ..Window::default() });
                self.closed = Some(now);
                Some(Change::Closed)
            }
            (State::Probing, _) => {
                let until = self.open(self.longer_pause(), now);
                Some(Change::Extended { until })
            }
        }
    }

    /// Opens at once, for what has just failed a single try; `None` if it was open.
    pub(crate) fn trip(&mut self, now: SinceStart) -> Option<Change> {
        let State::Closed(window) = &mut self.state else { return None };
        window.count(Health::Fails, now);
        let WindowCounts { all, failed, .. } = window.counts_in_window();
        let until = self.open(FIRST_PAUSE, now);
        Some(Change::Opened { failed, attempts: all, until })
    }

    fn longer_pause(&self) -> Duration {
        (self.pause * 2).min(LONGEST_PAUSE)
    }

    fn open(&mut self, pause: Duration, now: SinceStart) -> SinceStart {
        let until = now + pause;
        self.state = State::Open { until };
        self.pause = pause;
        self.opened = self.opened.wrapping_add(1);
        until
    }
}

impl Window {
    fn count(&mut self, health: Health, now: SinceStart) {
        let age = now.saturating_sub(self.since);
        if age >= WINDOW / 2 {
            self.before = if age < WINDOW { self.now } else { WindowCounts::default() };
            self.now = WindowCounts::default();
            self.since = now;
        }
        self.now.all = self.now.all.saturating_add(1);
        let (fails, unreachable) = (health != Health::Works, health == Health::Unreachable);
        self.now.failed = self.now.failed.saturating_add(u32::from(fails));
        self.now.unreachable = self.now.unreachable.saturating_add(u32::from(unreachable));
    }

    fn counts_in_window(&self) -> WindowCounts {
        WindowCounts {
            all: self.now.all.saturating_add(self.before.all),
            failed: self.now.failed.saturating_add(self.before.failed),
            unreachable: self.now.unreachable.saturating_add(self.before.unreachable),
        }
    }
}

impl WindowCounts {
    fn show_failure(self, scope: Scope) -> bool {
        let Self { all, failed, .. } = self;
        all >= MIN_ATTEMPTS
            && match scope {
                Scope::Url => failed * 2 >= all,
                Scope::Origin { failing } => self.is_unreachable() || (failed == all && failing >= MIN_FAILING_URLS),
            }
    }

    fn is_unreachable(self) -> bool {
        self.unreachable * 2 >= self.all
    }
}

#[cfg(test)]
mod tests;
