//! How slow a peer may be: what both bodies and answers are measured by.

use std::time::Duration;

use tokio::time::Instant;

/// The least bytes a second, over any [`CREDIT`]: 64 kbit/s, less than any link in use has, and enough that nobody holds
/// memory for nothing.
pub(super) const LEAST_RATE: usize = 8 << 10;
/// How long a peer may move nothing at all: a lost packet or two, and a change of network.
pub(super) const CREDIT: Duration = Duration::from_secs(10);
/// Who has lost so much of the credit is behind, and gives way when there is no room for others.
const LAG: Duration = Duration::from_secs(1);

/// The time that a peer has left. Bytes prolong it, up to the credit: so neither many bytes at first nor a byte now and then
/// buys time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    due: Instant,
}

impl Pace {
    pub(super) fn start(now: Instant) -> Self {
        Self { due: now + CREDIT }
    }

    /// So many bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let worth = Duration::from_micros(bytes.saturating_mul(1_000_000) / LEAST_RATE as u64);
        self.due = self.due.checked_add(worth).map_or(now + CREDIT, |due| due.min(now + CREDIT));
    }

    /// Time in which the peer could do nothing does not count.
    pub(super) fn pause_over(&mut self, since: Instant, now: Instant) {
        self.due = (self.due + (now - since)).min(now + CREDIT);
    }

    /// When the peer is too slow, if nothing moves until then.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_behind(&self, now: Instant) -> bool {
        self.due + LAG <= now + CREDIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn many_bytes_at_first_buy_no_more_than_the_credit() {
        let begun = Instant::now();
        let mut pace = Pace::start(begun);
        pace.moved(1 << 30, begun);
        assert_eq!(pace.due(), begun + CREDIT);
        pace.moved(usize::MAX, begun + SECOND);
        assert_eq!(pace.due(), begun + SECOND + CREDIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_buys_next_to_nothing_and_the_least_rate_buys_all() {
        let begun = Instant::now();
        let (mut drips, mut flows) = (Pace::start(begun), Pace::start(begun));
        for n in 1..=60 {
            let now = begun + n * SECOND;
            drips.moved(1, now);
            flows.moved(LEAST_RATE, now);
            assert!(!flows.is_behind(now) && flows.due() > now);
        }
        assert!(drips.due() < begun + CREDIT + SECOND);
        assert!(Pace::start(begun).is_behind(begun + SECOND));
    }
}
