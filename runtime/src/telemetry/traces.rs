//! Where the spans of a workload server go: to a collector of traces, by OTLP over HTTP. This needs the feature `otlp`.
//!
//! Invariant: a collector that is down, slow or hostile never delays a request, a run or a delivery. Spans wait in a
//! queue of bounded size, and those that find no room are dropped and counted.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod queue;
#[cfg(feature = "otlp")]
mod sampler;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use postback_store::shutdown::Shutdown;
use postback_wire::webhook::Shown;

/// The settings of the traces. The module `settings` has checked their values.
#[derive(Clone, PartialEq)]
pub(crate) struct Traces {
    /// The URL of the collector. The path `/v1/traces` is added to it.
    pub(crate) endpoint: Url,
    /// Headers for the collector. Their values are secrets.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The file that some of the headers were read from.
    pub(crate) headers_file: Option<PathBuf>,
    /// The name of this program in the traces.
    pub(crate) service_name: String,
    /// The share of the traces that are exported if the caller has begun none, from 0 to 1.
    pub(crate) sample: f64,
    /// Certificates that are trusted besides those of the system.
    pub(crate) ca_file: Option<PathBuf>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, headers, headers_file, service_name, sample, ca_file } = self;
        let (endpoint, headers) = (Shown(endpoint), headers.len());
        write!(f, "Traces({endpoint}, {headers} headers, {headers_file:?}, {service_name}, {sample}, {ca_file:?})")
    }
}

/// Sends the spans of this process to the collector, once [`start`](Self::start) was called.
pub(crate) struct Exporter {
    #[cfg(feature = "otlp")]
    export: export::Export,
    stop: Shutdown,
}

impl Exporter {
    /// Begins to send spans, on the current tokio runtime.
    pub(crate) fn start(self) -> Exporting {
        #[cfg(feature = "otlp")]
        self.stop.spawn(self.export.run(self.stop.clone()));
        Exporting(self.stop)
    }
}

/// Spans are being sent.
pub(crate) struct Exporting(Shutdown);

impl Exporting {
    /// Sends the spans that wait. What is not sent within `limit` is lost.
    pub(crate) async fn flush(&self, limit: Duration) {
        self.0.stop();
        if tokio::time::timeout(limit, self.0.finished()).await.is_err() {
            tracing::warn!("the last spans could not be sent to the collector in time; they are lost");
        }
    }
}

/// The layer that makes spans for the collector, and the exporter that sends them.
#[cfg(feature = "otlp")]
pub(super) fn layer<S>(
    traces: &Traces,
    version: &'static str,
) -> (impl tracing_subscriber::Layer<S> + Send + Sync + use<S>, Exporter)
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s> + Send + Sync,
{
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Layer as _;

    let (queue, waiting) = queue::queue();
    let resource = export::resource(&traces.service_name, version);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(queue)
        .with_sampler(sampler::Share::new(traces.sample))
        .with_id_generator(crate::spans::link::Ids::default())
        .with_resource(resource.clone())
        .build();
    let of_spans = provider.tracer("postback");
    crate::spans::link::set_tracer(of_spans.clone());
    let layer = tracing_opentelemetry::layer()
        .with_tracer(of_spans)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter());
    let export = export::Export::new(traces.clone(), &resource, waiting, provider);
    (layer, Exporter { export, stop: Shutdown::new() })
}

/// The spans and events that go to the collector: those of this server's requests, and those of the level `info` and
/// above. The span that the log shows for a run is left out, because [`crate::spans::run`] has the same in another form.
#[cfg(feature = "otlp")]
fn filter() -> tracing_subscriber::filter::Targets {
    use postback_wire::names::target;
    use tracing::level_filters::LevelFilter;

    tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target(target::TRACE, LevelFilter::DEBUG)
        .with_target(target::RUN, LevelFilter::OFF)
        .with_target("opentelemetry", LevelFilter::OFF)
        .with_target("opentelemetry_sdk", LevelFilter::OFF)
}
