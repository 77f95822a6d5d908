//! What a poster does for the other processes on its database.

use std::time::Duration;

use postback_store::shutdown::Shutdown;
use postback_store::{Error, Store};

/// How often a process that shares its store with others shows that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// Shows the other processes on the same database that this one lives, and takes over what processes that have ended left
/// behind. A store that only one process can use needs none of this.
///
/// This goes on while the poster stops, until its store is closed. Otherwise the others would take over reports whose last
/// attempts are still on their way.
pub(super) async fn run(store: Store, shutdown: Shutdown) {
    if !store.is_shared() {
        return shutdown.stopping().await;
    }
    loop {
        match store.beat(u32::MAX).await {
            Ok(_) => {}
            Err(Error::Closed) => return shutdown.stopping().await,
            // The store has logged the cause.
            Err(error) => tracing::debug!(%error, "this process could not show that it lives, trying again"),
        }
        tokio::time::sleep(BEAT).await;
    }
}
