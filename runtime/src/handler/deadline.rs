//! The extractor [`Deadline`]: how long the run may still take.

use std::time::Duration;

use tokio::time::Instant;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};

/// Until when the run may take: `worker.timeout`, the limit of its route, or the header `Postback-Timeout`, whichever
/// ends first. At this time the run is stopped.
///
/// ```
/// use std::time::Duration;
///
/// use postback::Deadline;
///
/// async fn search(deadline: Deadline) -> Result<u32, String> {
///     let mut best = 0;
///     // Stops in time to return what it has.
///     while best < 3 && deadline.remaining() > Duration::from_secs(1) {
///         best += 1;
///     }
///     Ok(best)
/// }
/// ```
///
/// This is not the header `Postback-Deadline`, which says until when the first run must begin. To call a handler by
/// hand, as a test does, use [`Deadline::after`], or `Deadline::default()`, which never comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Makes a deadline that comes after this time, so that a test can call a handler directly.
    pub fn after(time: Duration) -> Self {
        // A time that no clock can show never comes.
        Self(Instant::now().checked_add(time))
    }

    /// Returns how much time is left. Zero: the time is over. `Duration::MAX`: there is no deadline.
    pub fn remaining(&self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns the time of the deadline. `None`: there is none.
    pub fn instant(&self) -> Option<std::time::Instant> {
        self.0.map(Instant::into_std)
    }
}

impl Parameter for Deadline {}

impl<S> Extract<S> for Deadline {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        // Parameters are made when the run begins, and its time limit counts from then on.
        Ok(run.info.limit.map_or_else(Self::default, Self::after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_left_becomes_less_until_it_is_over() {
        let deadline = Deadline::after(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(deadline.remaining(), Duration::from_secs(6));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert!(deadline.instant().is_some());
        for never in [Deadline::default(), Deadline::after(Duration::MAX)] {
            assert_eq!((never.remaining(), never.instant()), (Duration::MAX, None));
        }
    }
}
