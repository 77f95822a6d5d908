//! The wall clock and the monotonic clock. Only this module reads the wall clock of the operating system.
//!
//! The wall clock can jump forwards and backwards. Its times are only shown, signed and stored: no code waits until
//! the wall clock reaches a time.
//! For timers, time limits and the due times in the store, the monotonic clock is used, because it never jumps.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time in UTC, in microseconds since 1970. `Display` shows the time in the format of RFC 3339, with six fractional
/// digits and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Parses a time of RFC 3339. Digits beyond microseconds are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_micros()))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns the time as the standard library has it. A time before 1970 becomes that of 1970.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(u64::try_from(self.0).unwrap_or_default())
    }

    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(by)))
    }

    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(by)))
    }

    /// Returns the duration from `earlier` to `self`, or zero if `self` is before `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(utc) => f.write_str(&utc.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            // Chrono cannot show years beyond ±262,000, so such a time is shown in microseconds.
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Returns the time of the operating system's wall clock, in microseconds since 1970. Returns 0 for a time before 1970.
pub(crate) fn wall_clock_micros() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the only place that reads the wall clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A source of wall-clock time and monotonic time. Every component gets a clock as an argument, so that tests can give
/// the component a clock whose time the test sets.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// Returns a clock that reads the operating system's wall clock and monotonic clock.
    pub fn system() -> Self {
        let begun = Instant::now();
        Self::new(|| Timestamp(i64::try_from(wall_clock_micros()).unwrap_or(i64::MAX)), move || begun.elapsed())
    }

    pub fn new(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), elapsed: Arc::new(elapsed) }
    }

    /// Makes a clock from a function. The wall-clock time and the monotonic time both come from this function.
    pub fn from_fn(now: impl Fn() -> Timestamp + Clone + Send + Sync + 'static) -> Self {
        let wall = now.clone();
        Self::new(wall, move || now().since(Timestamp::default()))
    }

    /// Returns the time of the wall clock.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// Returns the monotonic time: how much time has passed since a fixed moment. The monotonic time never goes back
    /// and never jumps.
    pub fn elapsed(&self) -> Duration {
        (self.elapsed)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// Displays a duration in a format for people: `8 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`.
pub struct Spoken(pub Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, s) = (self.0.as_millis(), self.0.as_secs());
        match () {
            () if ms == 0 => write!(f, "{} µs", self.0.as_micros()),
            () if ms < 1_000 => write!(f, "{ms} ms"),
            () if s < 60 => write!(f, "{}.{} s", s, (ms % 1_000) / 100),
            () if s < 3_600 => write!(f, "{} min {} s", s / 60, s % 60),
            () => write!(f, "{} h {} min", s / 3_600, (s % 3_600) / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc3339_with_microseconds() {
        let moment = Timestamp::from_micros(1_795_420_800_123_456);
        assert_eq!(moment.to_string(), "2026-11-23T08:00:00.123456Z");
        assert_eq!(Timestamp::from_micros(1_795_420_800_000_000).to_string(), "2026-11-23T08:00:00.000000Z");
        assert_eq!(moment.unix_seconds(), 1_795_420_800);
    }

    #[test]
    fn times_beyond_the_calendar_saturate() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert!(!end.to_string().is_empty());
        assert_eq!(Timestamp::from_micros(5).since(Timestamp::from_micros(9)), Duration::ZERO);
    }

    #[test]
    fn durations_are_spoken() {
        let said = |ms| Spoken(Duration::from_millis(ms)).to_string();
        assert_eq!(said(8), "8 ms");
        assert_eq!(said(1_234), "1.2 s");
        assert_eq!(said(200_000), "3 min 20 s");
        assert_eq!(said(7_500_000), "2 h 5 min");
        assert_eq!(Spoken(Duration::from_micros(120)).to_string(), "120 µs");
    }
}
