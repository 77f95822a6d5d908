//! The lowest rate at which a client must send a body or read an answer.

use std::time::Duration;

use tokio::time::Instant;

/// The lowest rate at which a client may send or read, in bytes per second, averaged over any period of
/// [`STALL_LIMIT`]. The rate is 64 kbit/s, and every network link in use today is faster. The limit prevents a client
/// from occupying memory for long with few bytes.
pub(super) const MIN_BYTES_PER_SECOND: usize = 8 << 10;
/// The longest time for which a client may send or read no byte at all. A client needs such a pause if one or two
/// packets were lost, or if the client changes to another network.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(10);
/// A client counts as slow if its deadline (see [`MinRate`]) is at least this much earlier than the latest possible
/// deadline, which is [`STALL_LIMIT`] from now. If other clients need the memory of a slow client, the server ends the
/// HTTP call of the slow client.
const LAG: Duration = Duration::from_secs(1);

/// The deadline after which a client is too slow. Each byte that the client sends or reads postpones the deadline, but
/// never to later than [`STALL_LIMIT`] from now. So a client that is fast at the start may not pause for longer later.
/// A client that sends or reads only a single byte postpones the deadline by almost nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRate {
    deadline: Instant,
}

impl MinRate {
    pub(super) fn start(now: Instant) -> Self {
        Self { deadline: now + STALL_LIMIT }
    }

    /// Postpones the deadline, because the client has sent or read `bytes` bytes.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let worth = Duration::from_micros(bytes.saturating_mul(1_000_000) / MIN_BYTES_PER_SECOND as u64);
        let latest = now + STALL_LIMIT;
        self.deadline = self.deadline.checked_add(worth).map_or(latest, |deadline| deadline.min(latest));
    }

    /// Postpones the deadline by the time from `since` to `now`, because the client could not send or read during this
    /// time.
    pub(super) fn pause_over(&mut self, since: Instant, now: Instant) {
        self.deadline = (self.deadline + (now - since)).min(now + STALL_LIMIT);
    }

    /// Returns the time at which the client becomes too slow if the client sends or reads no byte before this time.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.deadline + LAG <= now + STALL_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn many_bytes_at_first_buy_no_more_than_the_stall_limit() {
        let begun = Instant::now();
        let mut rate = MinRate::start(begun);
        rate.moved(1 << 30, begun);
        assert_eq!(rate.deadline(), begun + STALL_LIMIT);
        rate.moved(usize::MAX, begun + SECOND);
        assert_eq!(rate.deadline(), begun + SECOND + STALL_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_buys_next_to_nothing_and_the_least_rate_buys_all() {
        let begun = Instant::now();
        let (mut drips, mut flows) = (MinRate::start(begun), MinRate::start(begun));
        for n in 1..=60 {
            let now = begun + n * SECOND;
            drips.moved(1, now);
            flows.moved(MIN_BYTES_PER_SECOND, now);
            assert!(!flows.is_slow(now) && flows.deadline() > now);
        }
        assert!(drips.deadline() < begun + STALL_LIMIT + SECOND);
        assert!(MinRate::start(begun).is_slow(begun + SECOND));
    }
}
