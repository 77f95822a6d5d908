//! A metrics recorder that panics, as a user's recorder may. The panic happens in the part of the server that records
//! the metric.

use std::path::Path;
use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder};
use metrics::{SharedString, Unit};

/// The file with the name of the metric that panics. It is read once, at the start.
const METRIC: &str = "breaks";
/// The recorder panics as soon as this file exists.
const NOW: &str = "break";

/// Installs the recorder, if the current folder has the file `METRIC`.
///
/// # Panics
///
/// Panics if the process already has a metrics recorder.
pub fn install() {
    if let Ok(metric) = std::fs::read_to_string(METRIC) {
        metrics::set_global_recorder(Breaking(metric)).expect("no other recorder");
    }
}

struct Breaking(String);

/// A counter, gauge or histogram that panics when a value is recorded.
struct Panics;

impl Panics {
    fn panic_if_asked() {
        assert!(!Path::new(NOW).exists(), "the recorder panics, because the test asked for it");
    }
}

impl CounterFn for Panics {
    fn increment(&self, _: u64) {
        Self::panic_if_asked();
    }
    fn absolute(&self, _: u64) {
        Self::panic_if_asked();
    }
}

impl GaugeFn for Panics {
    fn increment(&self, _: f64) {
        Self::panic_if_asked();
    }
    fn decrement(&self, _: f64) {
        Self::panic_if_asked();
    }
    fn set(&self, _: f64) {
        Self::panic_if_asked();
    }
}

impl HistogramFn for Panics {
    fn record(&self, _: f64) {
        Self::panic_if_asked();
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
