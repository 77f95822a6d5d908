//! Sends spans to the collector, in batches.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use prost::Message as _;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;
use url::Url;

use super::Traces;
use super::queue::{Waiting, lost};
use crate::delivery;
use postback_store::shutdown::Shutdown;
use postback_wire::line::{Causes, Escaped};
use postback_wire::names;
use postback_wire::webhook::Shown;

/// The most spans in one message.
const BATCH: usize = 512;
/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// The longest time of one message, with its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a message that the collector did not take. It doubles after each further one …
const PAUSE: Duration = Duration::from_secs(1);
/// … up to this time.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How often a message is sent before it is dropped.
const TRIES: u32 = 5;
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The shortest time between two lines of the log about the collector.
const LOG_PAUSE: Duration = Duration::from_mins(1);

/// Describes this process in the traces.
pub(super) fn resource(name: &str, version: &'static str) -> Resource {
    Resource::builder_empty()
        .with_service_name(name.to_owned())
        .with_attributes([
            KeyValue::new("service.version", version),
            KeyValue::new("process.pid", i64::from(std::process::id())),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
            KeyValue::new("telemetry.sdk.language", "rust"),
        ])
        .build()
}

/// Sends the spans of the queue.
pub(super) struct Export {
    traces: Traces,
    resource: ResourceAttributesWithSchema,
    waiting: Waiting,
    /// The provider is kept, because it ends the traces when it is dropped.
    _provider: SdkTracerProvider,
    log: Log,
}

/// Why the collector has not taken a message.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {0}")]
    Answered(StatusCode),
    #[error("it did not answer within {} s", TIMEOUT.as_secs())]
    Slow,
}

impl Failed {
    /// Whether the same message may be taken later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Slow => true,
            Self::Answered(status) => matches!(status.as_u16(), 429 | 502..=504),
        }
    }
}

impl Export {
    pub(super) fn new(traces: Traces, resource: &Resource, waiting: Waiting, provider: SdkTracerProvider) -> Self {
        let log = Log { endpoint: Shown(&traces.endpoint).to_string(), told: None, lost: 0 };
        Self { traces, resource: resource.into(), waiting, _provider: provider, log }
    }

    /// Sends spans until the stop signal, and then those that still wait.
    pub(super) async fn run(mut self, stop: Shutdown) {
        let collector = match Collector::new(&self.traces) {
            Ok(collector) => collector,
            Err(why) => {
                tracing::error!("traces cannot be sent to {}: {why}", self.log.endpoint);
                return;
            }
        };
        let mut batch = Vec::with_capacity(BATCH);
        while !stop.is_stopping() {
            tokio::select! {
                biased;
                () = stop.stopping() => break,
                count = self.waiting.take(&mut batch, BATCH) => if count == 0 { return },
            }
            self.gather(&mut batch, &stop).await;
            let message = self.message(&mut batch);
            self.send(&collector, message, &stop).await;
        }
        while !self.waiting.is_empty() || !batch.is_empty() {
            let room = BATCH.saturating_sub(batch.len());
            self.waiting.take_now(&mut batch, room);
            let (body, spans) = self.message(&mut batch);
            if let Err(why) = collector.send(&body).await {
                self.log.failed("collector", &why, spans);
                return;
            }
        }
    }

    /// Waits a moment for more spans, so that a message has many of them.
    async fn gather(&mut self, batch: &mut Vec<SpanData>, stop: &Shutdown) {
        let end = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = tokio::time::sleep_until(end) => return,
                count = self.waiting.take(batch, room) => if count == 0 { return },
            }
        }
    }

    /// Returns a message with the spans of the batch, and their number. The batch is empty then.
    fn message(&self, batch: &mut Vec<SpanData>) -> (Bytes, u64) {
        let spans = std::mem::replace(batch, Vec::with_capacity(BATCH));
        let count = spans.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        (ExportTraceServiceRequest { resource_spans }.encode_to_vec().into(), count)
    }

    /// Sends a message, again and again while the collector is down for a time.
    async fn send(&mut self, collector: &Collector, (body, spans): (Bytes, u64), stop: &Shutdown) {
        let mut pause = PAUSE;
        for tried in 1..=TRIES {
            let why = match collector.send(&body).await {
                Ok(()) => return self.log.succeeded(),
                Err(why) => why,
            };
            if !why.is_passing() {
                return self.log.failed("refused", &why, spans);
            }
            if tried == TRIES || stop.is_stopping() {
                return self.log.failed("collector", &why, spans);
            }
            self.log.failed("collector", &why, 0);
            tokio::select! {
                () = stop.stopping() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// The collector of traces.
struct Collector {
    connector: HttpsConnector<HttpConnector>,
    uri: Uri,
    url: Url,
    headers: http::HeaderMap,
}

impl Collector {
    fn new(traces: &Traces) -> Result<Self, String> {
        let connector = delivery::connector(traces.ca_file.as_deref(), Some(TIMEOUT));
        let connector = connector.map_err(|error| Causes(&error).to_string())?;
        let mut url = traces.endpoint.clone();
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
        let uri = Uri::try_from(url.as_str()).map_err(|error| error.to_string())?;
        let host = HeaderValue::try_from(delivery::host(&url)).map_err(|error| error.to_string())?;
        let mut headers: http::HeaderMap = traces.headers.iter().cloned().collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(names::USER_AGENT));
        headers.insert(HOST, host);
        Ok(Self { connector, uri, url, headers })
    }

    async fn send(&self, body: &Bytes) -> Result<(), Failed> {
        match timeout(TIMEOUT, self.exchange(body.clone())).await {
            Ok(answered) => answered,
            Err(_) => Err(Failed::Slow),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<(), Failed> {
        let unreachable = |error: &dyn std::error::Error| Failed::Unreachable(Causes(error).to_string());
        let mut request = Request::post(self.url.path()).body(Full::new(body)).map_err(|error| unreachable(&error))?;
        *request.headers_mut() = self.headers.clone();
        let stream = self.connector.clone().oneshot(self.uri.clone()).await.map_err(|error| unreachable(&*error))?;
        let answer = delivery::exchange(stream, request, MAX_ANSWER).await.map_err(|error| unreachable(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(Failed::Answered(answer.status())) }
    }
}

/// The lines of the log about the collector: at most one a minute while it takes nothing.
struct Log {
    endpoint: String,
    /// When the last line was written. `None`: the collector takes spans.
    told: Option<Instant>,
    /// The spans that are lost since it does not take spans.
    lost: u64,
}

impl Log {
    fn failed(&mut self, reason: &'static str, why: &Failed, spans: u64) {
        if spans > 0 {
            lost(reason, spans);
            self.lost += spans;
        }
        if self.told.is_some_and(|told| told.elapsed() < LOG_PAUSE) {
            return;
        }
        self.told = Some(Instant::now());
        let (endpoint, lost, why) = (&self.endpoint, self.lost, why.to_string());
        tracing::warn!(
            "traces cannot be sent to {endpoint}: {}; {lost} spans are lost, and all else works",
            Escaped(&why)
        );
    }

    fn succeeded(&mut self) {
        if self.told.take().is_some() {
            tracing::info!("traces are sent to {} again; {} spans are lost", self.endpoint, self.lost);
            self.lost = 0;
        }
    }
}
