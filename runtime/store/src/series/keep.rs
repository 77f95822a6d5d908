//! The task that writes the figures of each minute, and those of the minute that has begun when the server stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{MINUTE, Row, Step, Waiting, begin_of};
use crate::error::Error;
use crate::overview::Waits;
use crate::record::Counts;
use crate::shutdown::Shutdown;
use crate::{Store, warn_unless_logged};
use postback_wire::line::Causes;
use postback_wire::time::Timestamp;

/// The longest time that the store may take to count what waits.
const MAX_READ: Duration = Duration::from_secs(5);
/// The count reads the index entries of all rows that wait. So if it takes long, the next minutes have none: the reads
/// take at most one part in this number of the time.
const SHARE: u32 = 200;

/// Counts what happens, and writes the figures of each minute, until `stop`. At the end, writes those of the minute that
/// has begun. If the store cannot write, the figures are kept and written with those of the next minute.
pub async fn keep(store: Store, stop: Shutdown) {
    store.tally().begin();
    let mut next_read = Instant::now();
    loop {
        let minute = begin_of(store.wall(), MINUTE);
        let left = minute.saturating_add(MINUTE).since(store.wall());
        let stops = timeout(left, stop.stopping()).await.is_ok();
        let begun = Instant::now();
        let waits = if stops || begun >= next_read { what_waits(&store).await } else { None };
        next_read = begun + begun.elapsed() * SHARE;
        let written = store.keep_minute(minute, waits).await;
        if let Err(error) = &written
            && !matches!(error, Error::Closed)
        {
            warn_unless_logged!(
                error,
                "the figures of a minute cannot be written; they are written with those of the next minute: {}",
                Causes(error)
            );
        }
        if stops || matches!(written, Err(Error::Closed)) {
            return;
        }
    }
}

async fn what_waits(store: &Store) -> Option<(Counts, Waits)> {
    let read = async { tokio::try_join!(store.counts(), store.waits()) };
    timeout(MAX_READ, read).await.ok().and_then(Result::ok)
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// Returns what waits: of everything together, and by route.
fn waiting(counts: &Counts, waits: &Waits) -> (Waiting, BTreeMap<String, Waiting>) {
    let mut by_route: BTreeMap<String, Waiting> = BTreeMap::new();
    for (route, queued) in &counts.queued {
        by_route.entry(route.clone()).or_default().queued = Some(*queued);
    }
    for (route, age) in &waits.requests {
        by_route.entry(route.clone()).or_default().oldest_request_ms = Some(millis(*age));
    }
    let all = Waiting {
        queued: Some(counts.queued.values().sum()),
        running: Some(counts.running),
        undelivered: Some(counts.undelivered),
        oldest_request_ms: Some(waits.requests.values().max().map_or(0, |age| millis(*age))),
        oldest_delivery_ms: Some(waits.delivery.map_or(0, millis)),
    };
    (all, by_route)
}

impl Store {
    /// Writes everything that was counted as the figures of this minute. If this fails, the figures are kept for the next
    /// call.
    pub(crate) async fn keep_minute(&self, minute: Timestamp, waits: Option<(Counts, Waits)>) -> Result<(), Error> {
        let (all, by_route) = waits.map(|(counts, waits)| waiting(&counts, &waits)).unwrap_or_default();
        let rows: Arc<[Row]> = self.tally().take(all, by_route).into();
        let written = self.add_figures(minute, Arc::clone(&rows)).await;
        if written.is_err() {
            self.tally().put_back(&rows);
        }
        self.tally().forget_names_before(begin_of(self.wall(), Step::TenMinutes.length()));
        written
    }
}
