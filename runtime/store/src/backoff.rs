//! The pause after a failure. Each further failure doubles the pause, up to a longest pause.

use std::time::Duration;

/// The pauses between failed attempts. The pauses get longer, up to a longest pause, until an attempt succeeds.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    pauses: u32,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, pauses: 0 }
    }

    /// Returns the next pause. Each pause is twice as long as the pause before it, up to the longest pause.
    pub fn pause(&mut self) -> Duration {
        let pause = doubled(self.first, self.longest, self.pauses);
        self.pauses = self.pauses.saturating_add(1);
        pause
    }

    /// Starts again with the first, shortest pause. Call `reset` after a success.
    pub fn reset(&mut self) {
        self.pauses = 0;
    }
}

/// Doubles the duration `first` as many times as `times` says. Returns at most `longest`.
pub fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_until_the_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_millis(100));
    }

    #[test]
    fn a_large_number_of_doublings_is_the_longest_pause() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_mins(5));
        assert_eq!(doubled(first, longest, 8), Duration::from_secs(256));
        assert_eq!(doubled(first, longest, 9), longest);
        assert_eq!(doubled(first, longest, u32::MAX), longest);
    }
}
