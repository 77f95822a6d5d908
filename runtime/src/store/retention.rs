//! Forgetting what came to its end long ago.

use std::time::Duration;

use super::clock::Trust;
use super::operation::{Op, Purged, Reply};
use super::{Error, Store, warn_unless_told};
use crate::line::Causes;
use crate::shutdown::Shutdown;
use crate::time::Timestamp;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_mins(1);
/// Rows in one commit: few enough that nobody waits for it.
const BATCH: usize = 500;

/// Deletes what ended longer ago than `retention`, and ends what is parked for longer than the whole `schedule` takes and
/// `retention` besides, until told to stop.
pub(crate) async fn run(store: Store, retention: Duration, schedule: Duration, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        match store.purge_ended(retention, BATCH).await {
            // Others come in between.
            Ok(purged) if purged.more => continue,
            Ok(_) => {}
            Err(Error::Closed) => return,
            Err(error) => warn_unless_told!(error, "old requests cannot be deleted, trying again: {}", Causes(&error)),
        }
        match store.give_up_parked(schedule.saturating_add(retention), BATCH).await {
            Ok(0) => {}
            Ok(ended) => {
                tracing::warn!(
                    "{ended} reports are dead: their origins took none for so long that they are older than delivery.schedule \
                     and store.retention together"
                );
                continue;
            }
            Err(Error::Closed) => return,
            Err(error) => warn_unless_told!(error, "old reports cannot be ended, trying again: {}", Causes(&error)),
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

impl Store {
    /// Deletes up to `limit` requests and reports that came to their end longer ago than `retention`, and gives up as many reports
    /// that are older and still held. No more than [`PURGE_BYTES`](super::operation::PURGE_BYTES) of requests, and of reports, unless
    /// the first alone has more.
    pub(crate) async fn purge_ended(&self, retention: Duration, limit: usize) -> Result<Purged, Error> {
        let clock = &self.0.shared.clock;
        let (before, trust) = clock.ended_before(retention);
        let purged = self.purge_before(before, limit, trust).await?;
        if let Some(trust) = trust {
            clock.keep(trust);
        }
        Ok(purged)
    }

    async fn purge_before(&self, before: Timestamp, limit: usize, trust: Option<Trust>) -> Result<Purged, Error> {
        match self.ask(Op::Purge { before, limit, trust }).await? {
            Reply::Purged(purged) => Ok(purged),
            _ => Err(Error::Closed),
        }
    }

    /// What came to its end before this moment; how many rows that were.
    #[cfg(test)]
    pub(crate) async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.purge_before(before, limit, None).await.map(|purged| purged.deleted + purged.given_up)
    }
}
