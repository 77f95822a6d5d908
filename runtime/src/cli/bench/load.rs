//! The load of `bench`: connections that each submit a request, wait until it has ended, and begin again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt as _;
use url::Url;

use super::latency::Latency;
use crate::delivery;
use postback_store::shutdown::Shutdown;
use postback_wire::line::Causes;

/// The longest time of one call.
const CALL: Duration = Duration::from_secs(70);
/// How long one call waits for the end of a request, in seconds.
const WAIT: u32 = 30;
/// The longest time until a request must have ended.
const END: Duration = Duration::from_mins(5);
/// The pause after an error, so that a server that is away is not asked without a pause.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
/// The largest number of different errors that are told.
const MAX_ERRORS: usize = 50;

/// What is sent, where and for how long.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) url: Url,
    pub(super) route: String,
    pub(super) token: Option<HeaderValue>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) body: Bytes,
    /// Whether to wait until each request has ended.
    pub(super) to_the_end: bool,
    pub(super) until: Instant,
    /// The number of requests that may still begin.
    pub(super) left: AtomicU64,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// From the begin of the call to the answer that the request is accepted.
    pub(super) submit: Latency,
    /// From the begin of the same call to the end of the request.
    pub(super) end: Latency,
    /// By code: the calls that failed, and the requests that did not complete.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Measured {
    fn error(&mut self, code: String) {
        let code =
            if self.errors.len() < MAX_ERRORS || self.errors.contains_key(&code) { code } else { "others".into() };
        *self.errors.entry(code).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.submit.merge(&other.submit);
        self.end.merge(&other.end);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

/// The members of an answer that are read.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: String,
    /// Of a request, a text. Of a problem, a number.
    #[serde(default)]
    status: Value,
    #[serde(default)]
    code: String,
}

/// Submits requests on one connection, one after the other, until the load is over or `stop`.
pub(super) async fn run(load: Arc<Load>, stop: Shutdown) -> Measured {
    let (mut measured, mut line) = (Measured::default(), None);
    while !stop.is_stopping() && Instant::now() < load.until && takes_one(&load.left) {
        let begun = Instant::now();
        let ended = tokio::select! {
            biased;
            ended = one(&load, &mut line, begun, &mut measured, &stop) => ended,
            // An interrupted request counts neither as an error nor as ended.
            () = stop.stopping() => break,
        };
        if let Err(code) = ended {
            measured.error(code);
            // The connection may be in any state.
            line = None;
            let _ = timeout(PAUSE, stop.stopping()).await;
        }
    }
    measured
}

fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

type Line = Option<SendRequest<Full<Bytes>>>;

/// Makes one request. An error is the code under which it is counted.
async fn one(
    load: &Load,
    line: &mut Line,
    begun: Instant,
    measured: &mut Measured,
    stop: &Shutdown,
) -> Result<(), String> {
    let (status, answer) = call(load, line, Method::POST, &load.route, load.body.clone(), stop).await?;
    if !status.is_success() {
        return Err(code(status, &answer));
    }
    measured.submit.record(begun.elapsed());
    if !load.to_the_end {
        return Ok(());
    }
    let path = format!("{}/{}?wait={WAIT}", load.route, answer.id);
    loop {
        let (status, answer) = call(load, line, Method::GET, &path, Bytes::new(), stop).await?;
        match answer.status.as_str().unwrap_or_default() {
            "completed" => {
                measured.end.record(begun.elapsed());
                return Ok(());
            }
            "failed" => return Err("the request failed".to_owned()),
            "cancelled" => return Err("the request was cancelled".to_owned()),
            "in_queue" | "in_progress" if begun.elapsed() >= END => return Err("the request did not end".to_owned()),
            "in_queue" | "in_progress" => sleep(Duration::from_millis(1)).await,
            _ => return Err(code(status, &answer)),
        }
    }
}

fn code(status: StatusCode, answer: &Answer) -> String {
    let code: String = answer.code.chars().filter(char::is_ascii).take(64).collect();
    if code.is_empty() { status.as_u16().to_string() } else { format!("{} {code}", status.as_u16()) }
}

async fn call(
    load: &Load,
    line: &mut Line,
    method: Method,
    path: &str,
    body: Bytes,
    stop: &Shutdown,
) -> Result<(StatusCode, Answer), String> {
    let called = async {
        let sender = match line {
            Some(sender) if !sender.is_closed() => sender,
            _ => line.insert(connect(load, stop).await?),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, delivery::host(&load.url));
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header(ACCEPT, "application/json, application/problem+json");
        if let Some(token) = &load.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        sender.ready().await.map_err(|error| Causes(&error).to_string())?;
        let (head, body) = sender.send_request(request).await.map_err(|error| Causes(&error).to_string())?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?.to_bytes();
        let empty = || Answer { id: String::new(), status: Value::Null, code: String::new() };
        Ok((head.status, serde_json::from_slice(&body).unwrap_or_else(|_| empty())))
    };
    timeout(CALL, called).await.map_err(|_| format!("no answer within {} s", CALL.as_secs()))?
}

async fn connect(load: &Load, stop: &Shutdown) -> Result<SendRequest<Full<Bytes>>, String> {
    let connector =
        delivery::connector(load.ca_file.as_deref(), Some(CALL)).map_err(|error| Causes(&error).to_string())?;
    let uri = Uri::try_from(load.url.as_str()).map_err(|error| error.to_string())?;
    let stream = connector.oneshot(uri).await.map_err(|error| Causes(&*error).to_string())?;
    let (sender, connection) = http1::handshake(stream).await.map_err(|error| Causes(&error).to_string())?;
    // The connection ends with its sender.
    stop.spawn(async move { drop(connection.await) });
    Ok(sender)
}
