//! How many retries that fail are told of each origin.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Timestamp;

/// Lines within one [`WINDOW`], of one origin.
pub(super) const MOST_LINES: usize = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// Origins of which lines are counted at once. Of others nothing is told until there is room.
const MAX_ORIGINS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<String, RetryLines>);

#[derive(Debug)]
struct RetryLines {
    since: Timestamp,
    lines: usize,
    skipped: u64,
}

/// Whether a retry is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineDecision {
    /// And how many were not since the last line.
    Now {
        skipped: u64,
    },
    Later,
}

impl Retries {
    pub(super) fn failed(&mut self, origin: &str, now: Timestamp) -> LineDecision {
        if !self.0.contains_key(origin) {
            if self.0.len() >= MAX_ORIGINS {
                self.0.retain(|_, told| now.since(told.since) < WINDOW);
            }
            if self.0.len() >= MAX_ORIGINS {
                return LineDecision::Later;
            }
            self.0.insert(origin.to_owned(), RetryLines { since: now, lines: 0, skipped: 0 });
        }
        let Some(told) = self.0.get_mut(origin) else { return LineDecision::Later };
        if now.since(told.since) >= WINDOW {
            (told.since, told.lines) = (now, 0);
        }
        if told.lines >= MOST_LINES {
            told.skipped += 1;
            return LineDecision::Later;
        }
        told.lines += 1;
        LineDecision::Now { skipped: std::mem::take(&mut told.skipped) }
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
                .filter(|n| retries.failed(&(n % (2 * MAX_ORIGINS)).to_string(), at(seconds)) != LineDecision::Later)
                .count()
        };
        assert_eq!(told(0), MOST_LINES * MAX_ORIGINS);
        assert_eq!(told(59), 0);
        assert_eq!(told(60), MOST_LINES * MAX_ORIGINS);
    }
}
