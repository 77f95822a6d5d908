//! Settles the requests that have not begun to run by their deadlines: at the deadline, and not when a slot is free.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{BACKOFF, Context, SLOW_POLL, settle};
use postback_store::shutdown::Shutdown;
use postback_store::{Error, warn_unless_logged};
use postback_wire::line::Causes;

/// How many requests are settled together. They are in memory with their bodies, which the store bounds.
const TOGETHER: usize = 64;

/// Settles requests until the stop signal.
pub(super) async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            () = context.outbox.store().expires_earlier() => {}
            () = tokio::time::sleep_until(next) => {}
        }
        next = settle_expired(&context).await;
    }
}

/// Settles some of the requests whose deadlines are over. Returns when to look again.
async fn settle_expired(context: &Arc<Context>) -> Instant {
    let batch = match context.outbox.store().claim_expired(TOGETHER).await {
        Ok(batch) => batch,
        Err(Error::Closed) => return Instant::now() + SLOW_POLL,
        Err(error) => {
            warn_unless_logged!(
                error,
                "requests that have expired cannot be claimed, trying again: {}",
                Causes(&error)
            );
            return Instant::now() + BACKOFF;
        }
    };
    join_all(batch.rows.into_iter().map(|row| settle::settle_unrun(Arc::clone(context), row))).await;
    let now = context.outbox.clock().now();
    Instant::now() + batch.next_due.map_or(SLOW_POLL, |due| due.since(now).min(SLOW_POLL))
}
