//! The receiver of a [`TestApp`](super::TestApp): it keeps what comes, and answers as the test says.

mod answer;
mod hit;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::watch;

pub use self::answer::Answer;
use self::answer::Kind;
pub use self::hit::Hit;
use super::TestError;
use super::patience::Patience;
use postback_store::shutdown::Shutdown;
use postback_wire::id::ReportId;
use postback_wire::secret::Secret;
use postback_wire::time::Clock;

/// The bytes that one side of a connection may be ahead of the other.
const BUFFER: usize = 64 << 10;
/// The largest number of hits that an error names.
const MAX_NAMED: usize = 10;

/// Receives the reports of a [`TestApp`](super::TestApp), whatever their URL is. A clone is the same receiver.
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    secrets: Vec<Secret>,
    clock: Clock,
    stop: Shutdown,
    /// The longest wait by tokio's clock.
    longest: Duration,
    hits: watch::Sender<Vec<Hit>>,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    /// The answers to the next hits.
    next: VecDeque<Answer>,
    /// What answers the hits after these.
    usual: Option<Arc<Decide>>,
}

type Decide = dyn Fn(&Hit) -> Answer + Send + Sync;

/// The receiver closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the receiver of the test closes the connection")]
struct Reset;

impl Receiver {
    pub(super) fn new(secrets: Vec<Secret>, clock: Clock, stop: Shutdown, longest: Duration) -> Self {
        let (hits, answers) = (watch::Sender::new(Vec::new()), Mutex::default());
        Self(Arc::new(Inner { secrets, clock, stop, longest, hits, answers }))
    }

    /// Answers the next hits with these answers, in their order: a status, such as `500`, or an [`Answer`]. Later hits are
    /// answered as before.
    pub fn answer<A: Into<Answer>>(&self, answers: impl IntoIterator<Item = A>) {
        self.answers().next.extend(answers.into_iter().map(Into::into));
    }

    /// Answers each hit as `decide` says, from now on, after the answers of [`answer`](Self::answer). The default is 204.
    pub fn answer_with<A: Into<Answer>>(&self, decide: impl Fn(&Hit) -> A + Send + Sync + 'static) {
        self.answers().usual = Some(Arc::new(move |hit| decide(hit).into()));
    }

    /// Returns all hits so far, in their order. Each attempt of a delivery is one.
    pub fn hits(&self) -> Vec<Hit> {
        self.0.hits.borrow().clone()
    }

    /// Waits for a hit that `is_meant` says is the one, also among those that have come.
    ///
    /// # Errors
    ///
    /// Fails if no such hit comes within 4 days by tokio's clock ([`longest_wait`](super::NewTestApp::longest_wait)), or
    /// within half a minute. The text lists the hits that came instead.
    ///
    /// # Cancel safety
    ///
    /// You can drop the future at any time.
    pub async fn wait_for(&self, is_meant: impl Fn(&Hit) -> bool) -> Result<Hit, TestError> {
        let (mut hits, patience, mut seen) = (self.0.hits.subscribe(), Patience::begin(self.0.longest), 0);
        loop {
            let found = {
                let hits = hits.borrow_and_update();
                let new = hits.get(seen..).unwrap_or_default();
                seen = hits.len();
                new.iter().find(|hit| is_meant(hit)).cloned()
            };
            if let Some(hit) = found {
                return Ok(hit);
            }
            let Some(step) = patience.step() else {
                return Err(TestError(format!("no such hit came, {patience}; {}", self.what_came())));
            };
            let _ = tokio::time::timeout(step, hits.changed()).await;
        }
    }

    /// Returns the body of the hits with this `webhook-id`.
    pub(super) fn body_of(&self, webhook_id: ReportId) -> Option<Bytes> {
        let (hits, id) = (self.0.hits.borrow(), webhook_id.to_string());
        hits.iter().find(|hit| hit.webhook_id() == id).map(|hit| Bytes::copy_from_slice(hit.body()))
    }

    fn what_came(&self) -> String {
        let hits = self.0.hits.borrow();
        if hits.is_empty() {
            return "nothing came at all".to_owned();
        }
        let last = hits.get(hits.len().saturating_sub(MAX_NAMED)..).unwrap_or_default();
        let lines: Vec<_> = last.iter().map(|hit| format!("\n  {hit:?}")).collect();
        format!("{} came, of these the last are:{}", hits.len(), lines.concat())
    }

    /// Opens a connection to the receiver, for the origin of a URL. Returns the end of the sender.
    pub(super) fn connect(&self, origin: Uri) -> DuplexStream {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (receiver, stop) = (self.clone(), self.0.stop.clone());
        let service = service_fn(move |request| receiver.clone().take(origin.clone(), request));
        self.0.stop.spawn(async move {
            tokio::select! {
                // An error is what the test has asked for, or the sender has left.
                _ = http1::Builder::new().serve_connection(TokioIo::new(far), service) => {}
                () = stop.stopping() => {}
            }
        });
        near
    }

    async fn take(self, origin: Uri, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Reset> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
        let now = self.0.clock.now();
        let mut hit = {
            let hits = self.0.hits.borrow();
            Hit::of(&origin, head, body, (&self.0.secrets, now), &hits)
        };
        let answer = self.next_answer(&hit);
        hit.answer = answer.clone();
        self.0.hits.send_modify(|hits| hits.push(hit));
        match answer.kind {
            Kind::Respond(response) => Ok(response.map(Full::new)),
            Kind::Hang => std::future::pending().await,
            Kind::Reset => Err(Reset),
        }
    }

    fn next_answer(&self, hit: &Hit) -> Answer {
        let (next, usual) = {
            let mut answers = self.answers();
            (answers.next.pop_front(), answers.usual.clone())
        };
        next.or_else(|| usual.map(|decide| decide(hit))).unwrap_or_default()
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The debug text shows all hits, so that a failed assertion can print them.
impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("hits", &*self.0.hits.borrow()).finish()
    }
}
