//! Deletes requests and reports that ended long ago, at regular intervals.

use std::time::Duration;

use crate::Store;
use crate::error::Error;
use crate::shutdown::Shutdown;
use crate::warn_unless_logged;
use postback_wire::line::Causes;

/// The pause between two rounds of deletions.
const INTERVAL: Duration = Duration::from_mins(1);
/// The largest number of rows that one commit deletes. The number is small, so that other operations do not wait
/// noticeably.
const BATCH: usize = 500;

/// How long ended requests and their deliveries stay in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub of_all: Duration,
    /// The routes whose requests stay for another time. If it is shorter, the deliveries of a request are deleted with
    /// the request.
    pub of_routes: Vec<(String, Duration)>,
}

impl From<Duration> for Retention {
    fn from(of_all: Duration) -> Self {
        Self { of_all, of_routes: Vec::new() }
    }
}

impl Retention {
    /// Returns the longest of these times.
    pub(crate) fn longest(&self) -> Duration {
        self.of_routes.iter().map(|(_, time)| *time).max().unwrap_or_default().max(self.of_all)
    }
}

/// Deletes old rows at regular intervals, until the shutdown begins. A row is old if it ended longer than its retention
/// ago. The function `times` returns the retention and the length of the schedule of deliveries. It is called for each
/// round, because the operator may change the times meanwhile. Also ends parked reports as dead, if they are older than
/// the schedule plus the retention of all.
pub async fn run(store: Store, times: impl Fn() -> (Retention, Duration), shutdown: Shutdown) {
    run_every(INTERVAL, store, times, shutdown).await;
}

/// Deletes old rows as [`run`] does, with this pause between two rounds.
pub async fn run_every(pause: Duration, store: Store, times: impl Fn() -> (Retention, Duration), shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        let (retention, schedule) = times();
        match store.purge_ended(&retention, BATCH).await {
            // The next deletion starts without a pause, because more rows are old enough. Other operations are
            // committed between two deletions.
            Ok(purged) if purged.more => continue,
            Ok(_) => {}
            Err(Error::Closed) => return,
            Err(error) => {
                warn_unless_logged!(error, "old rows cannot be deleted; the store retries: {}", Causes(&error));
            }
        }
        match store.give_up_parked(schedule.saturating_add(retention.of_all), BATCH).await {
            Ok(0) => {}
            Ok(ended) => {
                tracing::warn!(
                    "{ended} reports are dead: they were parked, and are older than delivery.schedule and store.retention \
                     together"
                );
                continue;
            }
            Err(Error::Closed) => return,
            Err(error) => {
                warn_unless_logged!(error, "old parked reports cannot be ended; the store retries: {}", Causes(&error));
            }
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
