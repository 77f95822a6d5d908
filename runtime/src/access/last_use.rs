//! Records when each token was last used: in memory with each call, and in the store once a minute.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Access;
use postback_store::shutdown::Shutdown;
use postback_store::{Store, warn_unless_logged};
use postback_wire::line::Causes;

/// The pause between two writes. A token costs at most one row in this time.
const INTERVAL: Duration = Duration::from_mins(1);

impl Access {
    /// Writes the last use of the tokens to the store once a minute, and at last when `stop` signals the end.
    pub(crate) async fn record_last_use(self: Arc<Self>, store: Store, stop: Shutdown) {
        loop {
            let is_last = tokio::select! {
                () = stop.stopping() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            self.write_last_use(&store).await;
            if is_last {
                return;
            }
        }
    }

    /// Writes the last use of the tokens that were used since the last write.
    pub(super) async fn write_last_use(&self, store: &Store) {
        let tokens = self.registry.all().into_iter();
        let used = tokens.filter_map(|token| token.last_used().map(|used| (token, used)));
        let is_new = |used: i64, written: i64| used != written;
        let used: Vec<_> =
            used.filter(|(token, used)| is_new(used.micros(), token.live.written.load(Ordering::Relaxed))).collect();
        if used.is_empty() {
            return;
        }
        let rows = used.iter().map(|(token, used)| (Arc::clone(&token.id), *used)).collect();
        match store.use_tokens(rows).await {
            Ok(()) => used.iter().for_each(|(token, used)| token.live.written.store(used.micros(), Ordering::Relaxed)),
            Err(error) => {
                let causes = Causes(&error);
                warn_unless_logged!(error, "the last use of tokens cannot be recorded; it is tried again: {causes}");
            }
        }
    }
}
