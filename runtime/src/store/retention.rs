//! Forgetting what came to its end long ago.

use std::time::Duration;

use super::{Error, Store, warn_unless_told};
use crate::line::Causes;
use crate::shutdown::Shutdown;

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
