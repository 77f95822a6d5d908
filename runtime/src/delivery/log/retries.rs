//! Bounds how many failed retries are logged for each origin.

use std::collections::HashMap;
use std::time::Duration;

use postback_wire::time::Timestamp;

/// The largest number of log lines about failed retries to one origin within one [`WINDOW`].
pub(super) const MOST_LINES: usize = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// The largest number of origins for which log lines are counted. While this many origins are counted, failed retries
/// to other origins are not logged.
const MAX_ORIGINS: usize = 256;

/// Counts the log lines about failed retries, by origin.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<String, RetryLines>);

#[derive(Debug)]
struct RetryLines {
    since: Timestamp,
    lines: usize,
    skipped: u64,
}

/// The decision whether a failed retry is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineDecision {
    Log {
        /// How many failed retries to this origin were not logged since the last log line about this origin.
        skipped: u64,
    },
    Skip,
}

impl Retries {
    pub(super) fn failed(&mut self, origin: &str, now: Timestamp) -> LineDecision {
        if !self.0.contains_key(origin) {
            if self.0.len() >= MAX_ORIGINS {
                self.0.retain(|_, lines| now.since(lines.since) < WINDOW);
            }
            if self.0.len() >= MAX_ORIGINS {
                return LineDecision::Skip;
            }
            self.0.insert(origin.to_owned(), RetryLines { since: now, lines: 0, skipped: 0 });
        }
        let Some(counts) = self.0.get_mut(origin) else { return LineDecision::Skip };
        if now.since(counts.since) >= WINDOW {
            (counts.since, counts.lines) = (now, 0);
        }
        if counts.lines >= MOST_LINES {
            counts.skipped += 1;
            return LineDecision::Skip;
        }
        counts.lines += 1;
        LineDecision::Log { skipped: std::mem::take(&mut counts.skipped) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_origins_fail_the_lines_of_a_minute_are_bounded() {
        let mut retries = Retries::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut told = |seconds| {
            (0..40 * MAX_ORIGINS)
                .filter(|n| retries.failed(&(n % (2 * MAX_ORIGINS)).to_string(), at(seconds)) != LineDecision::Skip)
                .count()
        };
        assert_eq!(told(0), MOST_LINES * MAX_ORIGINS);
        assert_eq!(told(59), 0);
        assert_eq!(told(60), MOST_LINES * MAX_ORIGINS);
    }
}
