//! Counts latencies in buckets, so that the memory does not grow with the number of calls.

use std::time::Duration;

/// The number of buckets for each power of two. A value that is read back is at most one part in this number too large.
const PARTS: u64 = 64;
/// Buckets up to 2^40 µs, which is more than a week.
const BUCKETS: usize = 64 * 41;

/// The distribution of latencies.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

/// Returns the bucket of a number of µs.
fn bucket(micros: u64) -> usize {
    if micros < PARTS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = u64::from(micros.ilog2() - PARTS.ilog2());
    let at = (shift + 1) * PARTS + ((micros >> shift) - PARTS);
    usize::try_from(at).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// Returns the largest number of µs in the bucket.
fn largest_in(bucket: usize) -> u64 {
    let (row, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    if row == 0 { part } else { ((PARTS + part + 1) << (row - 1)) - 1 }
}

impl Latency {
    pub(super) fn record(&mut self, time: Duration) {
        self.buckets[bucket(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// Returns the time that this part of a hundred of all calls did not exceed. It is at most 2 % too long.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(largest_in(at)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_two_percent_too_long() {
        for micros in [0, 1, 63, 64, 65, 127, 128, 1_000, 65_535, 1_000_000, 3_600_000_000, u64::MAX >> 24] {
            let upper = largest_in(bucket(micros));
            assert!(upper >= micros && upper - micros <= micros / 50, "{micros}: {upper}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_all_values() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        for millis in 1..=50 {
            one.record(Duration::from_millis(millis));
            other.record(Duration::from_millis(millis + 50));
        }
        one.merge(&other);
        assert_eq!((one.count(), one.max()), (100, Duration::from_millis(100)));
        for percent in [50, 90, 99, 100] {
            let (found, exact) = (one.percentile(percent), Duration::from_millis(percent));
            assert!(found >= exact && found <= exact * 102 / 100, "{percent}: {found:?}");
        }
        assert_eq!(Latency::default().percentile(99), Duration::ZERO);
    }
}
