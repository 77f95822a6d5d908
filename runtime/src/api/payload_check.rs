//! Checks whether a body fits the payload type of its route, on a thread where the check delays no other call.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::body_memory::{SMALL, Share};
use super::problem::{Code, Problem};
use crate::handler::{Asked, PayloadKind, Route, Run};
use crate::panics::caught;
use postback_store::Registration;

/// The largest number of large request bodies that are checked at the same time. A check deserialises the body, and the
/// deserialised value may need many times the memory of the body.
const LARGE_AT_ONCE: usize = 2;
/// The longest time for which a large request body waits until the check of the body can begin. After this time, the
/// client gets an answer that tells the client to retry.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Checks request bodies. A small body is checked immediately, on the thread of the caller. A large body is checked on
/// a thread for blocking code. At most [`LARGE_AT_ONCE`] large bodies are checked at the same time.
pub(super) struct Checks(Arc<Semaphore>);

impl Checks {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }

    /// Checks the body of `run`. If `wants_digest` is true, also makes the digest of the body. `share` is the memory of the body. If this future is dropped during a check, the
    /// memory becomes free only when the check has ended.
    pub(super) async fn check(
        &self,
        route: &Arc<Route>,
        run: Run,
        wants_digest: bool,
        share: Share,
    ) -> Result<(Checked, Share), Problem> {
        let is_quick = route.payload.is_none_or(PayloadKind::takes_any_body) && !wants_digest;
        if run.body.len() <= SMALL || is_quick {
            return Ok((check_body(route, run, wants_digest)?, share));
        }
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(
                Code::Overloaded,
                "too many large bodies are being checked; nothing was accepted, try again",
            ));
        };
        let route = Arc::clone(route);
        let checked = tokio::task::spawn_blocking(move || {
            let checked = check_body(&route, run, wants_digest);
            drop(turn);
            checked.map(|checked| (checked, share))
        });
        checked.await.map_err(|_| Problem::internal())?
    }
}

/// A request whose body was checked and is valid for the request's route.
pub(super) struct Checked {
    pub(super) run: Run,
    /// The webhooks of the request, if the handler can name the webhooks before the handler runs.
    pub(super) asked: Answer,
    /// The SHA-256 of the body, if it was wanted.
    pub(super) digest: Option<[u8; 32]>,
}

/// What is known of the webhooks of a request before its handler runs.
pub(super) enum Answer {
    /// The handler cannot name them.
    Unknown,
    Asked(Asked),
    /// The webhooks are the operator's, and the same for all requests of the route.
    Constant(Arc<Registration>),
}

/// Checks the body of a request, and asks the handler for the webhooks of the request. To name the webhooks, the
/// handler must deserialise the payload, so this question also shows whether the payload is valid. If the handler
/// cannot name the webhooks before it runs, only the payload is checked, without the handler.
///
/// The code that deserialises the payload is user code and may panic. After a panic, the panic hook logs the panic, and
/// the client gets status 500.
fn check_body(route: &Route, run: Run, wants_digest: bool) -> Result<Checked, Problem> {
    let digest = wants_digest.then(|| Sha256::digest(&run.body).into());
    let checked = caught(move || {
        let asked = match route.constant_registration() {
            Some(constant) => Answer::Constant(Arc::clone(constant)),
            None => route.ask(&run).map_or(Answer::Unknown, Answer::Asked),
        };
        if let (Answer::Unknown | Answer::Constant(_), Some(payload)) = (&asked, route.payload) {
            payload.check_body(&run.body)?;
        }
        Ok(Checked { run, asked, digest })
    });
    checked.unwrap_or_else(|_| Err(Problem::internal()))
}

#[cfg(test)]
mod tests;
