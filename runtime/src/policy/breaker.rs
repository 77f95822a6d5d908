//! The circuit breaker. While a circuit is open, the reports wait. After a pause, single attempts test whether the
//! receiver works again.
//!
//! A URL has a circuit of its own, so that a failing path delays no other path of its origin. An origin has a circuit
//! too. This circuit opens if at least half of the attempts get no connection, or if all attempts fail and at least
//! [`MIN_FAILING_URLS`] URLs of the origin are failing.
//!
//! An open circuit only delays reports. A delay uses up no attempt. After at most [`LONGEST_PAUSE`], a single attempt
//! may start.

use std::time::Duration;

use super::turns::SinceStart;

/// The number of attempts within one [`WINDOW`] that are needed before a circuit can open.
const MIN_ATTEMPTS: u32 = 10;
/// The number of failing URLs that are needed before the circuit of their origin can open.
const MIN_FAILING_URLS: usize = 3;
/// Only attempts that ended within this time decide whether a circuit opens. Attempts that ended more than half of this
/// time ago may be ignored too, because half a window is always forgotten as a whole.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
/// How long a circuit stays open after it has opened for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest time that a circuit stays open before one attempt may start to test the receiver.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The circuit breaker of one URL or of one origin. An open circuit stops all attempts for some time. Then a single
/// attempt may start to test the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    state: State,
    /// If the circuit is open, how long it stays open. If the circuit is closed, how long it stayed open the last time.
    pause: Duration,
    /// The time at which the circuit last closed. `None` if the circuit has never closed after it was open.
    closed_at: Option<SinceStart>,
    /// How many times the circuit has opened. The permit of an attempt stores this number. If the number has grown when
    /// the attempt ends, the attempt started before the circuit opened.
    opened: u32,
    /// Whether the circuit opened because at least half of the attempts got no connection.
    unreachable: bool,
}

/// Whether a breaker belongs to a URL or to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Url,
    Origin {
        /// How many URLs of the origin failed within the last window.
        failing: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Closed(Window),
    Open {
        until: SinceStart,
    },
    /// A single attempt is in flight to test whether the receiver works.
    Probing,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Window::default())
    }
}

/// The results of the attempts of the last window. `now` counts the later half of the window and `before` the earlier
/// half. When a new half begins, the counts of the earlier half are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    since: SinceStart,
    now: WindowCounts,
    before: WindowCounts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowCounts {
    all: u32,
    /// The number of failed attempts. Attempts without a connection are included.
    failed: u32,
    unreachable: u32,
}

/// The permission for one attempt. When the attempt has ended, the caller passes the permission to `Breaker::ended`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permit {
    opened: u32,
}

/// What an attempt shows about whether the URL and its origin work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Works,
    /// The attempt failed after a connection was opened.
    Fails,
    /// No connection was opened: the look-up, the connection or TLS failed.
    Unreachable,
    /// Nothing was sent, so the attempt does not show whether the receiver works.
    Unknown,
}

/// A change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The circuit has opened, because `failed` of the last `attempts` attempts failed.
    Opened {
        failed: u32,
        attempts: u32,
        until: SinceStart,
    },
    /// The single attempt that tested the receiver failed, so the circuit stays open.
    Extended {
        until: SinceStart,
    },
    Closed,
}

impl Health {
    /// Judges an attempt. A status below 500 means that the receiver works, even if the receiver did not accept this
    /// report. Many callers may share an origin. So an answer such as 404 or 429 to one caller's report must not delay
    /// the reports of other callers.
    pub(crate) fn of(status: Option<u16>, connected: bool) -> Self {
        match status {
            Some(..500) => Self::Works,
            None if !connected => Self::Unreachable,
            Some(500..) | None => Self::Fails,
        }
    }
}

impl Breaker {
    /// Whether an attempt may start now.
    pub(crate) fn allows_attempt(&self, now: SinceStart) -> bool {
        match self.state {
            State::Closed(_) => true,
            State::Open { until } => until <= now,
            State::Probing => false,
        }
    }

    /// Whether the circuit is open or a single attempt is testing the receiver. If so, only a single attempt may start,
    /// or none.
    pub(crate) fn is_probing(&self) -> bool {
        !matches!(self.state, State::Closed(_))
    }

    /// Returns the time at which a single attempt may start. `None` if the circuit is closed, or if the single attempt
    /// is already in flight.
    pub(crate) fn probe_at(&self) -> Option<SinceStart> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed(_) | State::Probing => None,
        }
    }

    /// Starts an attempt, if an attempt may start now.
    pub(crate) fn begin(&mut self, now: SinceStart) -> Option<Permit> {
        if !self.allows_attempt(now) {
            return None;
        }
        if self.is_probing() {
            self.state = State::Probing;
        }
        Some(Permit { opened: self.opened })
    }

    /// Records the end of an attempt. The attempt is ignored if it started before the circuit opened.
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
                // If the circuit opens again within one window after it closed, the receiver has not recovered, so the
                // next pause is longer.
                let relapse = self.closed_at.is_some_and(|closed| now.saturating_sub(closed) < WINDOW);
                let pause = if relapse { self.longer_pause() } else { FIRST_PAUSE };
                let until = self.open(pause, now);
                Some(Change::Opened { failed, attempts: all, until })
            }
            (State::Probing, Health::Unknown) => {
                self.state = State::Open { until: now };
                None
            }
            // If the circuit of an origin opened because attempts got no connection, the circuit closes as soon as a
            // connection succeeds.
            (State::Probing, _) if health == Health::Works || (health == Health::Fails && connects_again) => {
                self.state = State::Closed(Window { since: now, ..Window::default() });
                self.closed_at = Some(now);
                Some(Change::Closed)
            }
            (State::Probing, _) => {
                let until = self.open(self.longer_pause(), now);
                Some(Change::Extended { until })
            }
        }
    }

    /// Opens the circuit immediately, because a single attempt has just failed. Returns `None` if the circuit is
    /// already open.
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
    /// Whether these results show that the receiver fails, so that the circuit must open.
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
