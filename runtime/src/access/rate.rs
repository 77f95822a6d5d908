//! How many calls a token may make in a time, and the limiter that counts them.
//!
//! The limiter is the generic cell rate algorithm: it keeps one time, until which the calls so far use up the rate. So a
//! whole quota may be used at once, and comes back evenly.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest window of a rate.
const MAX_WINDOW: Duration = Duration::from_hours(24);
/// The largest number of calls in a window.
const MAX_CALLS: u32 = 1_000_000;

/// A number of calls in a window of time, such as `100/min`. All of the calls may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Rate {
    pub(crate) calls: u32,
    pub(crate) window: Duration,
}

/// The error of a text that is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is a number of calls, `/` and a time of whole seconds up to a day, such as `10/s`, `100/min` or `500/10s`"
)]
pub(crate) struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (calls, window) = text.split_once('/').ok_or(NotARate)?;
        let calls = calls.trim().parse().ok().filter(|calls| (1..=MAX_CALLS).contains(calls)).ok_or(NotARate)?;
        let window = window.trim();
        // A unit alone means one of it.
        let window = match window.bytes().next() {
            Some(b'0'..=b'9') => humantime::parse_duration(window),
            _ => humantime::parse_duration(&format!("1{window}")),
        };
        let window = window.map_err(|_| NotARate)?;
        let is_whole = window.subsec_nanos() == 0 && !window.is_zero() && window <= MAX_WINDOW;
        if is_whole { Ok(Self { calls, window }) } else { Err(NotARate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window.as_secs() {
            1 => write!(f, "{}/s", self.calls),
            60 => write!(f, "{}/min", self.calls),
            3_600 => write!(f, "{}/h", self.calls),
            seconds => write!(f, "{}/{seconds}s", self.calls),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = NotARate;

    fn try_from(text: String) -> Result<Self, NotARate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// What is left of a rate after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) rate: Rate,
    /// The number of calls that may follow at once.
    pub(crate) calls: u32,
    /// The time until the whole quota is back.
    pub(crate) full_after: Duration,
    /// The time until the next call is allowed, if this call is not. `None`: this call is allowed.
    pub(crate) refused_for: Option<Duration>,
}

/// Counts the calls against a rate. The counting needs no lock.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// The time until which the calls so far use up the rate, in ns of the monotonic clock.
    until: AtomicU64,
}

impl Limiter {
    /// Counts a call at the monotonic time `now`, if the rate allows the call.
    pub(crate) fn count(&self, rate: Rate, now: Duration) -> Left {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, window) = (nanos(now), nanos(rate.window));
        // The number is at least 1, because a window of a second has more nanoseconds than the most calls.
        let per_call = (window / u64::from(rate.calls)).max(1);
        let mut until = self.until.load(Ordering::Relaxed);
        loop {
            let next = until.max(now).saturating_add(per_call);
            // The calls of one window may all be used at once.
            let ahead = next.saturating_sub(now);
            if ahead > per_call.saturating_mul(u64::from(rate.calls)) {
                let wait = ahead - per_call.saturating_mul(u64::from(rate.calls));
                return Self::left(rate, per_call, until.saturating_sub(now), Some(wait));
            }
            match self.until.compare_exchange_weak(until, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Self::left(rate, per_call, ahead, None),
                Err(current) => until = current,
            }
        }
    }

    fn left(rate: Rate, per_call: u64, used: u64, wait: Option<u64>) -> Left {
        let used_calls = u32::try_from(used.div_ceil(per_call)).unwrap_or(u32::MAX);
        Left {
            rate,
            calls: rate.calls.saturating_sub(used_calls),
            full_after: Duration::from_nanos(used),
            refused_for: wait.map(Duration::from_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { calls: 4, window: Duration::from_secs(2) };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(10_000 + millis)
    }

    #[test]
    fn a_quota_may_be_used_at_once_and_comes_back_evenly() {
        let limiter = Limiter::default();
        let left: Vec<_> = (0..4).map(|_| limiter.count(RATE, at(0)).calls).collect();
        assert_eq!(left, [3, 2, 1, 0]);
        let refused = limiter.count(RATE, at(100));
        assert_eq!((refused.calls, refused.refused_for), (0, Some(Duration::from_millis(400))));
        assert_eq!(refused.full_after, Duration::from_millis(1_900));
        assert!(limiter.count(RATE, at(499)).refused_for.is_some());
        assert!(limiter.count(RATE, at(500)).refused_for.is_none());
        assert!(limiter.count(RATE, at(500)).refused_for.is_some());
        assert_eq!(limiter.count(RATE, at(60_000)).calls, 3, "a pause gives no more than the quota");
    }

    #[test]
    fn a_rate_is_read_as_it_is_shown() {
        for (text, calls, seconds) in [("10/s", 10, 1), ("100/min", 100, 60), ("5/h", 5, 3_600), ("7/10s", 7, 10)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { calls, window: Duration::from_secs(seconds) });
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!("60 / 1m".parse::<Rate>().unwrap().to_string(), "60/min");
        for wrong in ["", "10", "0/s", "-1/s", "1/0s", "1/500ms", "1/2d", "1/", "x/s", "1/s/s", "2000000/s"] {
            assert_eq!(wrong.parse::<Rate>(), Err(NotARate), "{wrong}");
        }
    }
}
