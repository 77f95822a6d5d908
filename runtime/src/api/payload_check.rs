//! Checks whether a body fits the payload type of its route, on a thread where the check delays no other call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::body_memory::{SMALL, Share};
use super::problem::{Code, Problem};
use crate::handler::{Asked, PayloadKind, Route, Run};
use crate::panics::caught;
use postback_store::Registration;

/// The largest number of large request bodies that are checked at the same time. A check deserialises the body, and the
/// deserialised value may need many times the memory of the body.
const LARGE_AT_ONCE: usize = 2;
/// The longest time for which a request body waits until the check of the body can begin. After this time, the client
/// gets an answer that tells the client to retry.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// A check that takes longer is slow: it would delay all other calls too much.
const SLOW: Duration = Duration::from_millis(2);
/// By how many slow checks more than fast ones a route counts as slow. A single check may also take long because the
/// system has given the processor to another thread.
const SLOW_CHECKS: u8 = 3;
/// How long a route counts as slow, and how long slow checks are remembered.
const SLOW_FOR: Duration = Duration::from_mins(1);

/// Checks request bodies. A small body is checked immediately, on the thread of the caller. A large body, and each body
/// of a route whose checks are slow, is checked on a thread for blocking code. At most [`LARGE_AT_ONCE`] large bodies are
/// checked at the same time, and as many small ones of slow routes.
///
/// So the code with which a program reads its payloads delays other calls three times a minute, if all its payloads are
/// slow to read. If some are fast, it delays others a few times more.
pub(super) struct Checks {
    large: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    routes: Arc<SlowRoutes>,
}

/// The routes that had slow checks.
#[derive(Default)]
struct SlowRoutes {
    /// Whether there may be one. Most programs have none, and this is all that is read then.
    any: AtomicBool,
    /// What is known of each of them, by path.
    known: Mutex<HashMap<String, Slow>>,
}

/// What is known of a route that had slow checks.
struct Slow {
    /// The number of slow checks without that of the fast ones after them.
    checks: u8,
    /// Until when this is remembered.
    until: Instant,
}

impl SlowRoutes {
    fn contains(&self, path: &str) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let (mut known, now) = (self.lock(), Instant::now());
        known.retain(|_, slow| slow.until > now);
        self.any.store(!known.is_empty(), Ordering::Relaxed);
        known.get(path).is_some_and(Slow::is_slow)
    }

    /// Checks a body, and notes how long that took.
    fn timed(&self, route: &Route, run: Run) -> Result<Checked, Problem> {
        let begun = Instant::now();
        let checked = check_body(route, run);
        self.took(&route.path, begun.elapsed());
        checked
    }

    /// Notes how long a check of the route with this path took.
    fn took(&self, path: &str, time: Duration) {
        if time < SLOW {
            if self.any.load(Ordering::Relaxed)
                && let Some(slow) = self.lock().get_mut(path)
                && !slow.is_slow()
            {
                slow.checks = slow.checks.saturating_sub(1);
            }
            return;
        }
        let mut known = self.lock();
        let until = Instant::now() + SLOW_FOR;
        let slow = known.entry(path.to_owned()).or_insert(Slow { checks: 0, until });
        let was_slow = slow.is_slow();
        slow.checks = slow.checks.saturating_add(1);
        slow.until = until;
        if slow.is_slow() && !was_slow {
            let milliseconds = time.as_millis();
            tracing::debug!(
                route = path,
                "reading a payload of {path} took {milliseconds} ms, so its payloads are read on other threads for now"
            );
        }
        drop(known);
        self.any.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slow>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slow {
    fn is_slow(&self) -> bool {
        self.checks >= SLOW_CHECKS
    }
}

impl Checks {
    pub(super) fn new() -> Self {
        let turns = || Arc::new(Semaphore::new(LARGE_AT_ONCE));
        Self { large: turns(), slow: turns(), routes: Arc::default() }
    }

    /// Checks the body of `run`. `share` is the memory of the body. If this future is dropped during a check, the memory
    /// becomes free only when the check has ended.
    pub(super) async fn check(&self, route: &Arc<Route>, run: Run, share: Share) -> Result<(Checked, Share), Problem> {
        let takes_any = route.payload.is_none_or(PayloadKind::takes_any_body);
        let is_large = run.body.len() > SMALL && !takes_any;
        if !is_large && !self.routes.contains(&route.path) {
            return Ok((self.routes.timed(route, run)?, share));
        }
        let turns = if is_large { &self.large } else { &self.slow };
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let which = if is_large { "too many large bodies" } else { "too many bodies of this route" };
            let what = format!("{which} are being checked; nothing was accepted, try again");
            return Err(Problem::new(Code::Overloaded, what));
        };
        let (route, routes) = (Arc::clone(route), Arc::clone(&self.routes));
        let checked = tokio::task::spawn_blocking(move || {
            // A large body may take its time: this says nothing of the small bodies of the route.
            let checked = if is_large { check_body(&route, run) } else { routes.timed(&route, run) };
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
fn check_body(route: &Route, run: Run) -> Result<Checked, Problem> {
    let checked = caught(move || {
        route.check_query(&run.headers)?;
        let asked = match route.constant_registration() {
            Some(constant) => Answer::Constant(Arc::clone(constant)),
            None => route.ask(&run).map_or(Answer::Unknown, Answer::Asked),
        };
        if let (Answer::Unknown | Answer::Constant(_), Some(payload)) = (&asked, route.payload) {
            payload.check_body(&run.headers, &run.body)?;
        }
        Ok(Checked { run, asked })
    });
    checked.unwrap_or_else(|_| Err(Problem::internal()))
}

#[cfg(test)]
mod tests;
