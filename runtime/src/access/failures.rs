//! Calls without a valid token: they are counted, logged once a minute, and slowed down per address.
//!
//! A call with a valid token is never slowed down by the failures of others from the same address. A failure costs two
//! hashes of a short text and no lock.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client_address::ClientAddress;
use super::rate::{Limiter, Rate};
use postback_wire::names::metric;

/// The number of failures of one address that are answered at once. After that, the answers are 429.
const RATE: Rate = Rate { calls: 20, window: Duration::from_mins(1) };
/// The number of limiters. Addresses share a limiter if they have the same hash. Only callers without a valid token
/// would notice.
const LIMITERS: usize = 4_096;
/// The shortest time between two log lines.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Counts and slows down the calls without a valid token.
pub(super) struct Failures {
    limiters: Box<[Limiter]>,
    hasher: RandomState,
    /// The time of the last log line, in ms of the monotonic clock, plus 1. 0: there was no line yet.
    logged: AtomicU64,
    /// The number of failures since the last log line.
    since: AtomicU64,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            limiters: (0..LIMITERS).map(|_| Limiter::default()).collect(),
            hasher: RandomState::new(),
            logged: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// Counts a failure. `reason` is a label of the metric. Returns how long the caller should wait, if too many calls
    /// of its address have failed.
    pub(super) fn met(&self, client: ClientAddress, reason: &'static str, now: Duration) -> Option<Duration> {
        metrics::counter!(metric::AUTHENTICATION_FAILURES, "reason" => reason).increment(1);
        self.log(client, reason, now);
        let hash = self.hasher.hash_one(network(client.0));
        let at = usize::try_from(hash % LIMITERS as u64).unwrap_or_default();
        self.limiters.get(at)?.count(RATE, now).refused_for
    }

    fn log(&self, client: ClientAddress, reason: &str, now: Duration) {
        self.since.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let logged = self.logged.load(Ordering::Relaxed);
        let is_due = logged == 0 || Duration::from_millis(now.saturating_sub(logged)) >= LOG_EVERY;
        let is_mine = || self.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due && is_mine() {
            let calls = self.since.swap(0, Ordering::Relaxed);
            let s = if calls == 1 { "" } else { "s" };
            tracing::warn!(
                "{calls} call{s} had no valid token since the last such line; the last came from {} ({reason})",
                client.0
            );
        }
    }
}

/// Returns the network whose addresses count together. For IPv6 this is the /64, because a client that has one of its
/// addresses can usually use all of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_guesses_is_slowed_down_and_others_are_not() {
        let failures = Failures::new();
        let now = Duration::from_secs(100);
        let met = |text: &str, now| failures.met(address(text), "unknown", now);
        for n in 0..RATE.calls {
            assert_eq!(met(&format!("2001:db8::{n}"), now), None);
        }
        assert_eq!(met("2001:db8::ffff", now), Some(Duration::from_secs(3)), "a network is one address");
        // The other address may have the same limiter by chance, but several of them do not.
        let free = (0..8).filter(|n| met(&format!("203.0.113.{n}"), now).is_none()).count();
        assert!(free >= 6, "{free}");
        assert_eq!(met("2001:db8::ffff", now + Duration::from_secs(3)), None);
    }

    #[test]
    fn failures_are_logged_once_a_minute() {
        let failures = Failures::new();
        let logged = |seconds| {
            failures.met(address("203.0.113.9"), "unknown", Duration::from_secs(seconds));
            failures.since.load(Ordering::Relaxed) == 0
        };
        assert_eq!([0, 1, 59, 60, 61, 119, 121].map(logged), [true, false, false, true, false, false, true]);
    }
}
