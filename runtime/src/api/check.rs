//! Whether a body fits its route, found out where it keeps nobody waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::intake::{SMALL, Share};
use super::problem::Problem;
use crate::handler::{Asked, PayloadError, PayloadKind, Route, Run};

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

    /// What became of the request in question, if it fits. It stays together with its share also when the caller goes away
    /// during the check.
    pub(super) async fn check(&self, route: &Arc<Route>, run: Run, share: Share) -> Result<(Fitting, Share), Problem> {
        if run.body.len() <= SMALL || route.payload.is_none_or(PayloadKind::takes_any_body) {
            return Ok((fitting(route, run)?, share));
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::unavailable(
                "too many large bodies are being checked; nothing was accepted, try again",
            ));
        };
        let route = Arc::clone(route);
        let checked = tokio::task::spawn_blocking(move || {
            let checked = fitting(&route, run);
            drop(turn);
            checked.map(|fitting| (fitting, share))
        });
        // It panicked: the type's own code did.
        checked.await.map_err(|_| Problem::internal())?.map_err(Problem::from)
    }
}

/// A request that can be run.
pub(super) struct Fitting {
    pub(super) run: Run,
    /// Where its end would be reported, if that is known by now.
    pub(super) asked: Option<Asked>,
}

/// To ask a handler is to read the payload for it, which is checked by that.
fn fitting(route: &Route, run: Run) -> Result<Fitting, PayloadError> {
    let asked = route.ask(&run);
    if let (None, Some(payload)) = (&asked, route.payload) {
        payload.check_body(&run.body)?;
    }
    Ok(Fitting { run, asked })
}
