//! The recorder of metrics that a workload server installs, and the text that it shows at `/metrics`.
//!
//! The recorder is for the whole process. If the program has installed a recorder of its own, the server installs none,
//! and has no text to show.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use postback_store::shutdown::Shutdown;
use postback_wire::names::metric::{self, Kind, Unit};
use postback_wire::time::Clock;

/// The content type of the text: version 0.0.4 of Prometheus' text exposition format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What a client is told if there is no text.
pub(crate) const OF_PROGRAM: &str = "the program has installed a metrics recorder of its own, which alone has the \
                                     metrics, or a router without `install_metrics`";
/// The longest time for which a text is shown again. So clients that ask all the time, and clients that read slowly, do
/// not make the server write and hold a text for each of them.
const MAX_AGE: Duration = Duration::from_millis(250);
/// The time between two upkeeps. Between them, a histogram keeps each value.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process. `None` if the program has installed one of its own.
static INSTALLED: OnceLock<Option<Metrics>> = OnceLock::new();

/// The metrics of this process. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusHandle,
    clock: Clock,
    last: Mutex<Option<Text>>,
}

/// A text, and when it was made.
struct Text {
    made: Duration,
    text: Bytes,
}

/// Installs the recorder for the whole process, unless this was done before. Returns `None` if the program has
/// installed a recorder of its own. In both cases, the recorder is told what each metric means.
pub(crate) fn install() -> Option<Metrics> {
    let installed = INSTALLED.get_or_init(|| {
        let recorder = builder().build_recorder();
        let metrics = Metrics::new(recorder.handle(), Clock::system());
        let is_installed = metrics::set_global_recorder(recorder).is_ok();
        describe();
        is_installed.then_some(metrics)
    });
    installed.clone()
}

/// Returns the recorder, if it was installed. Tells the recorder of the program what each metric means.
pub(crate) fn installed() -> Option<Metrics> {
    let installed = INSTALLED.get().cloned();
    if installed.is_none() {
        describe();
    }
    installed.flatten()
}

/// Makes a recorder with the buckets of each histogram. The other histograms, which the program emits itself, are
/// summaries.
fn builder() -> PrometheusBuilder {
    metric::ALL.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => set_buckets(builder, metric.name, buckets),
        Kind::Counter | Kind::Gauge => builder,
    })
}

#[expect(clippy::expect_used, reason = "the builder refuses an empty list of buckets only, and a test builds them all")]
fn set_buckets(builder: PrometheusBuilder, name: &str, buckets: &[f64]) -> PrometheusBuilder {
    builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).expect("a histogram has buckets")
}

/// Tells the recorder what each metric means.
fn describe() {
    for metric in metric::ALL {
        let unit = match metric.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Bytes => metrics::Unit::Bytes,
        };
        let (name, help) = (metric.name, metric.help.trim_start());
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram(_) => metrics::describe_histogram!(name, unit, help),
        }
    }
}

impl Metrics {
    fn new(recorder: PrometheusHandle, clock: Clock) -> Self {
        Self(Arc::new(Inner { recorder, clock, last: Mutex::new(None) }))
    }

    /// Returns the metrics in the text exposition format. They are at most [`MAX_AGE`] old.
    fn text(&self) -> Bytes {
        let Inner { recorder, clock, last } = &*self.0;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.elapsed();
        match &*last {
            Some(Text { made, text }) if now.saturating_sub(*made) < MAX_AGE => text.clone(),
            _ => {
                let text = Bytes::from(recorder.render());
                *last = Some(Text { made: now, text: text.clone() });
                text
            }
        }
    }

    /// Answers an HTTP `GET` for the metrics.
    pub(crate) fn answer(&self) -> Response {
        let mut response = Response::new(Body::from(self.text()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Counts the values of the histograms into their buckets, again and again until the server stops. Otherwise a
    /// histogram would keep each value until somebody asks for the metrics.
    pub(crate) async fn keep_up(self, stop: Shutdown) {
        while tokio::time::timeout(UPKEEP, stop.stopping()).await.is_err() {
            self.0.recorder.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use postback_wire::time::Timestamp;

    /// The text of a recorder to which `record` has recorded.
    fn recorded(record: impl FnOnce()) -> String {
        let recorder = builder().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            record();
        });
        let text = Metrics::new(recorder.handle(), Clock::system()).text();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn each_metric_has_its_type_its_description_and_its_buckets() {
        let text = recorded(|| {
            for metric in metric::ALL {
                match metric.kind {
                    Kind::Counter => metrics::counter!(metric.name).increment(1),
                    Kind::Gauge => metrics::gauge!(metric.name).set(1.0),
                    Kind::Histogram(_) => metrics::histogram!(metric.name).record(1.0),
                }
            }
        });
        for metric in metric::ALL {
            let (name, help) = (metric.name, metric.help.trim_start());
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")), "{name} in {text}");
            let Kind::Histogram(buckets) = metric.kind else {
                assert!(text.contains(&format!("\n{name} 1\n")), "{name} in {text}");
                continue;
            };
            for bound in buckets {
                let n = u8::from(*bound >= 1.0);
                assert!(
                    text.contains(&format!("\n{name}_bucket{{le=\"{bound}\"}} {n}\n")),
                    "{bound} of {name}: {text}"
                );
            }
            assert!(text.contains(&format!("\n{name}_bucket{{le=\"+Inf\"}} 1\n{name}_sum 1\n{name}_count 1\n")));
        }
    }

    #[test]
    fn a_label_cannot_break_a_line() {
        let text = recorded(|| {
            metrics::counter!(metric::REQUESTS_ACCEPTED, "route" => "/a\"} 9\npostback_evil 1\\").increment(3);
        });
        let line = format!("\n{}{{route=\"/a\\\"}} 9\\npostback_evil 1\\\\\"}} 3\n", metric::REQUESTS_ACCEPTED);
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn a_text_is_shown_again_for_a_moment_only() {
        let recorder = builder().build_recorder();
        let millis = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&millis);
        let elapsed = move || Duration::from_millis(passed.load(Ordering::Relaxed));
        let metrics = Metrics::new(recorder.handle(), Clock::new(Timestamp::default, elapsed));
        let count = || metrics::with_local_recorder(&recorder, || metrics::counter!("postback_x_total").increment(1));
        count();
        let first = metrics.text();
        count();
        millis.store(249, Ordering::Relaxed);
        assert_eq!(metrics.text().as_ptr(), first.as_ptr());
        millis.store(250, Ordering::Relaxed);
        assert!(String::from_utf8_lossy(&metrics.text()).contains("\npostback_x_total 2\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_upkeep_goes_on_until_the_server_stops() {
        let recorder = builder().build_recorder();
        let metrics = Metrics::new(recorder.handle(), Clock::system());
        let stop = Shutdown::new();
        let upkeep = stop.spawn(metrics.clone().keep_up(stop.clone()));
        tokio::time::sleep(UPKEEP * 3).await;
        assert!(!upkeep.is_finished());
        stop.stop();
        upkeep.await.unwrap();
    }
}
