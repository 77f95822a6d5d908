//! A metrics recorder that panics, as a user's may: in whichever part of the server records that metric.

use std::path::Path;
use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder};
use metrics::{SharedString, Unit};

/// The file that names the metric; read once.
const METRIC: &str = "breaks";
/// The file from whose appearance on it panics.
const NOW: &str = "break";

/// Installs it, if the current folder has the file that names a metric.
///
/// # Panics
///
/// If there is a recorder already.
pub fn install() {
    if let Ok(metric) = std::fs::read_to_string(METRIC) {
        metrics::set_global_recorder(Breaking(metric)).expect("no other recorder");
    }
}

struct Breaking(String);

/// One metric that panics.
struct Panics;

impl Panics {
    fn perhaps() {
        assert!(!Path::new(NOW).exists(), "the recorder panics, as the test wants");
    }
}

impl CounterFn for Panics {
    fn increment(&self, _: u64) {
        Self::perhaps();
    }
    fn absolute(&self, _: u64) {
        Self::perhaps();
    }
}

impl GaugeFn for Panics {
    fn increment(&self, _: f64) {
        Self::perhaps();
    }
    fn decrement(&self, _: f64) {
        Self::perhaps();
    }
    fn set(&self, _: f64) {
        Self::perhaps();
    }
}

impl HistogramFn for Panics {
    fn record(&self, _: f64) {
        Self::perhaps();
    }
}

impl Recorder for Breaking {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == self.0 { Counter::from_arc(Arc::new(Panics)) } else { Counter::noop() }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name() == self.0 { Gauge::from_arc(Arc::new(Panics)) } else { Gauge::noop() }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == self.0 { Histogram::from_arc(Arc::new(Panics)) } else { Histogram::noop() }
    }
}
