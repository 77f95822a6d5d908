//! How long a test waits for something that may never come.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The longest wait by tokio's clock, which may be paused. The attempts of a delivery take three days.
pub(super) const LONGEST: Duration = Duration::from_hours(24 * 4);
/// The longest wait by the clock on the wall.
const LONGEST_REAL: Duration = Duration::from_secs(30);
/// The first step, after which the test looks again.
const FIRST: Duration = Duration::from_millis(100);

/// A wait that ends.
pub(super) struct Patience {
    longest: Duration,
    begun: Instant,
    really_begun: std::time::Instant,
}

impl Patience {
    pub(super) fn begin(longest: Duration) -> Self {
        Self { longest, begun: Instant::now(), really_begun: std::time::Instant::now() }
    }

    /// Returns after which time the test should look again. `None`: the wait is over.
    pub(super) fn step(&self) -> Option<Duration> {
        let waited = self.begun.elapsed();
        let is_over = waited >= self.longest || self.really_begun.elapsed() >= LONGEST_REAL;
        // A step that grows with the wait keeps the number of looks small, whichever clock it is.
        (!is_over).then(|| FIRST.max(waited / 4))
    }
}

/// Says how long the wait was.
impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = self.begun.elapsed();
        let (hours, minutes) = (waited.as_secs() / 3_600, waited.as_secs() / 60);
        match (hours, minutes) {
            (48.., _) => write!(f, "after {} days", hours / 24),
            (2.., _) => write!(f, "after {hours} h"),
            (_, 2..) => write!(f, "after {minutes} min"),
            _ => write!(f, "after {} s", waited.as_secs()),
        }
    }
}
