//! Whether a body fits its route, found out where it keeps nobody waiting.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::intake::{SMALL, Share};
use super::problem::Problem;
use crate::handler::PayloadKind;

/// Checks of large bodies at once. Each may need many times the memory of its body, for the value that it makes of it.
const LARGE_AT_ONCE: usize = 2;
/// How long a body waits for its check before its client is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks bodies: small ones at once, large ones on threads on which nothing else is done, a few at a time.
pub(super) struct Checks(Arc<Semaphore>);

impl Checks {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }

    /// The body and its share, if it fits. They stay together also when the caller goes away during the check.
    pub(super) async fn check(
        &self,
        payload: PayloadKind,
        body: Bytes,
        share: Share,
    ) -> Result<(Bytes, Share), Problem> {
        if body.len() <= SMALL || payload.takes_any_body() {
            payload.check_body(&body)?;
            return Ok((body, share));
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::unavailable(
                "too many large bodies are being checked; nothing was accepted, try again",
            ));
        };
        let checked = tokio::task::spawn_blocking(move || {
            let checked = payload.check_body(&body);
            drop(turn);
            checked.map(|()| (body, share))
        });
        // It panicked: the type's own code did.
        checked.await.map_err(|_| Problem::internal())?.map_err(Problem::from)
    }
}
