//! What a node does for the other nodes on its database: it shows that it lives, takes over what nodes that have ended
//! left behind, and learns of tokens that others have made or revoked. A store that only one process can use needs none
//! of this.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::reload::Reloader;
use super::start_log::log_recovered;
use crate::access::Access;
use postback_store::shutdown::Shutdown;
use postback_store::{ClaimedRequest, Error, Recovered, Store};
use postback_wire::names::metric;

/// How often a node shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How many beats lie between two looks at the tokens.
const BEATS_PER_LOOK: u32 = 2;

pub(super) struct Beat {
    pub(super) store: Store,
    pub(super) access: Arc<Access>,
    pub(super) reloader: Arc<Reloader>,
    /// Returns after how many crashes a request is not run again.
    pub(super) max_crashes: Box<dyn Fn() -> u32 + Send + Sync>,
    /// Takes the requests that are not run again, and settles them.
    pub(super) lost: mpsc::Sender<ClaimedRequest>,
}

impl Beat {
    /// Beats until the stop signal. The node beats while it drains, too, because its last runs are still its own.
    pub(super) async fn run(self, shutdown: Shutdown) {
        if !self.store.is_shared() {
            return shutdown.stopping().await;
        }
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut beats, mut others) = (0_u32, 0);
        loop {
            tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                _ = tick.tick() => {}
            }
            beats = beats.wrapping_add(1);
            match self.store.beat((self.max_crashes)()).await {
                Ok(recovered) => {
                    metrics::gauge!(metric::NODES)
                        .set(f64::from(u32::try_from(recovered.others + 1).unwrap_or(u32::MAX)));
                    if others != recovered.others {
                        tracing::info!("{} other nodes use the database now, {others} before", recovered.others);
                        others = recovered.others;
                        self.reloader.share_among(others + 1).await;
                    }
                    self.take_over(recovered).await;
                }
                // The node stops, or its store has failed for good. Others notice that.
                Err(Error::Closed) => return shutdown.stopping().await,
                // The store has logged the cause.
                Err(error) => tracing::debug!(%error, "this node could not show that it lives, trying again"),
            }
            // A command that has made a token is a node only for a moment, so the tokens are read in any case.
            if beats % BEATS_PER_LOOK == 0
                && let Err(error) = self.access.read_again(&self.store).await
            {
                tracing::debug!(%error, "the tokens cannot be read again, trying again");
            }
        }
    }

    async fn take_over(&self, recovered: Recovered) {
        if recovered.ended > 0 {
            metrics::counter!(metric::NODE_TAKEOVERS).increment(recovered.ended as u64);
        }
        log_recovered(&recovered, "a node that has ended");
        for row in recovered.lost {
            // The worker has ended. Another node settles the request when this one has ended.
            if self.lost.send(row).await.is_err() {
                return;
            }
        }
    }
}
