//! Forgetting what came to its end long ago.

use std::time::Duration;

use super::{Error, Store};
use crate::line::Causes;
use crate::shutdown::Shutdown;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_mins(1);
/// Rows in one commit: few enough that nobody waits for it.
const BATCH: usize = 500;

/// Deletes what ended longer ago than `retention`, until told to stop.
pub(crate) async fn run(store: Store, retention: Duration, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        match store.purge_ended(retention, BATCH).await {
            // Others come in between.
            Ok(purged) if purged.more => continue,
            Ok(_) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!("old requests cannot be deleted, trying again: {}", Causes(&error)),
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
