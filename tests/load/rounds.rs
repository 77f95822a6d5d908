//! A round: several clients, each of which makes round trips or bare posts, one after the other, until the time is
//! over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::ledger::Ledger;
use crate::receiver::{self, Receiver};

/// The most operations of one round. The limit bounds the memory for the answers. Even a fast machine does not reach it.
const MOST_PER_ROUND: usize = 2_000_000;
/// The longest wait of a client for its webhook. After it, the webhook counts as lost, unless it arrives later.
const PATIENCE: Duration = Duration::from_secs(60);
/// The payload of each request, and the result in each report. It has the size of a small job.
pub(crate) const PAYLOAD: &str = r#"{"input":"https://media.example.com/2026/11/23/interview-0042.wav","language":"en","speakers":2,"words":["alpha","beta","gamma","delta"],"threshold":0.25,"tags":{"team":"research","priority":"normal"}}"#;

/// The operation that the clients of a round repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    RoundTrip,
    BarePost,
}

/// What the clients of a round share.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) client: reqwest::Client,
    pub(crate) server: String,
    pub(crate) receiver: String,
    pub(crate) trips: Arc<Ledger>,
    pub(crate) bare: Arc<Ledger>,
    pub(crate) brings: Brings,
    /// The body of each request.
    pub(crate) payload: Bytes,
}

/// What the client of a round trip brings in headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brings {
    pub(crate) token: Option<String>,
    /// A new idempotency key with each call. It is random, as the keys of most clients are.
    pub(crate) key: bool,
    /// A new trace with each call.
    pub(crate) trace: bool,
    /// The URLs of which each call names one in the header `x-hook`. They are taken at random, because a pool of
    /// connections may suit one order of calls very well, and another one not at all.
    pub(crate) hooks: Vec<String>,
}

impl Brings {
    fn add_to(&self, mut post: RequestBuilder) -> RequestBuilder {
        if let Some(token) = &self.token {
            post = post.bearer_auth(token);
        }
        if self.key {
            post = post.header("idempotency-key", Uuid::from_u128(rand::random()).to_string());
        }
        if self.trace {
            let trace = Uuid::now_v7().simple().to_string();
            post = post.header("traceparent", format!("00-{trace}-{}-01", &trace[16..]));
        }
        if !self.hooks.is_empty() {
            post = post.header("x-hook", &self.hooks[rand::random_range(0..self.hooks.len())]);
        }
        post
    }
}

/// The figures of one round.
pub(crate) struct Round {
    pub(crate) time: Duration,
    /// The number of operations that ended within the time.
    pub(crate) in_time: usize,
    /// The times of all operations that succeeded, also of those that ended after the round.
    pub(crate) latencies: Vec<Duration>,
    /// The times until the answers to the POSTs of these round trips were read. Empty for bare posts.
    pub(crate) submits: Vec<Duration>,
    pub(crate) errors: usize,
}

impl Round {
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, in_time: 0, latencies: Vec::new(), submits: Vec::new(), errors: 0 }
    }

    /// The parts of one round together.
    pub(crate) fn whole(time: Duration, parts: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::new(time);
        for part in parts {
            whole.in_time += part.in_time;
            whole.latencies.extend(part.latencies);
            whole.submits.extend(part.submits);
            whole.errors += part.errors;
        }
        whole
    }
}

impl Load {
    /// The load of clients that post to this server, and whose webhooks and bare posts arrive at this receiver.
    pub(crate) fn new(server: &str, receiver: &Receiver) -> Self {
        Self {
            client: postback_tests::client(),
            server: format!("{server}/echo"),
            receiver: receiver.url(receiver::BARE),
            trips: Arc::clone(&receiver.trips),
            bare: Arc::clone(&receiver.bare),
            brings: Brings::default(),
            payload: Bytes::from_static(PAYLOAD.as_bytes()),
        }
    }

    /// The same load, on another route of the server, by clients that bring nothing.
    pub(crate) fn on(&self, route: &str) -> Self {
        let server = self.server.rsplit_once('/').map_or_else(String::new, |(server, _)| format!("{server}{route}"));
        Self { server, ..self.bringing(Brings::default()) }
    }

    /// The same load, by clients that bring this.
    pub(crate) fn bringing(&self, brings: Brings) -> Self {
        Self { brings, ..self.clone() }
    }

    /// Runs one round. Operations that are not finished when the time is over are waited for, but do not count as in
    /// time.
    pub(crate) async fn round(self: &Arc<Self>, kind: Kind, clients: usize, time: Duration) -> Round {
        let end = Instant::now() + time;
        let begun = Arc::new(AtomicUsize::new(0));
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let (load, begun) = (Arc::clone(self), Arc::clone(&begun));
            set.spawn(async move {
                let mut round = Round::new(time);
                while Instant::now() < end && begun.fetch_add(1, Ordering::Relaxed) < MOST_PER_ROUND {
                    load.once(kind, end, &mut round).await;
                }
                round
            });
        }
        Round::whole(time, set.join_all().await)
    }

    async fn once(&self, kind: Kind, end: Instant, round: &mut Round) {
        let begun = Instant::now();
        let since = |time: Instant| time.saturating_duration_since(begun);
        let done = match kind {
            Kind::RoundTrip => self.round_trip().await.map(|(accepted, arrived)| (Some(accepted), arrived)),
            Kind::BarePost => self.bare_post().await.map(|done| (None, done)),
        };
        match done {
            Some((accepted, done)) => {
                round.in_time += usize::from(done <= end);
                round.latencies.push(since(done));
                round.submits.extend(accepted.map(since));
            }
            None => round.errors += 1,
        }
    }

    /// Makes a round trip. Returns when the answer to its POST was read, and when its webhook arrived.
    async fn round_trip(&self) -> Option<(Instant, Instant)> {
        #[derive(Deserialize)]
        struct Accepted {
            id: String,
        }
        let post = self.brings.add_to(self.client.post(&self.server));
        let answer = send(post, self.payload.clone()).await?.bytes().await.ok()?;
        let accepted = Instant::now();
        let Accepted { id } = serde_json::from_slice(&answer).ok()?;
        Some((accepted, self.trips.arrival(&id, PATIENCE).await?))
    }

    /// Makes a bare post. Returns when its answer was read.
    async fn bare_post(&self) -> Option<Instant> {
        let id = Uuid::now_v7();
        let body = format!(
            r#"{{"id":"{id}","status":"completed","result":{PAYLOAD},"timestamp":"2026-11-23T08:00:00.123456Z"}}"#
        );
        send(self.client.post(&self.receiver), body.into()).await?.bytes().await.ok()?;
        self.bare.sent(&id.to_string());
        Some(Instant::now())
    }
}

/// Sends a body. Returns the answer if its status is a success.
async fn send(post: RequestBuilder, body: Bytes) -> Option<reqwest::Response> {
    let post = post.header("content-type", "application/json").body(body);
    match post.send().await.and_then(reqwest::Response::error_for_status) {
        Ok(answer) => Some(answer),
        Err(error) => {
            eprintln!("{error:?}");
            None
        }
    }
}
