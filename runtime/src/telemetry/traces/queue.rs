//! The queue of spans that wait to be sent. It has a bound in spans and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

use postback_wire::names::metric;

/// The largest number of spans that wait.
const MAX_SPANS: usize = 4_096;
/// The largest number of bytes of all spans that wait, about.
const MAX_BYTES: usize = 16 << 20;
/// The longest text of an attribute or of an event, in bytes. A handler may log whole payloads.
const MAX_TEXT: usize = 4 << 10;
/// What a span, an event or an attribute takes besides its texts, about.
const OVERHEAD: usize = 64;

/// Makes a queue: what puts spans into it, and what takes them out.
pub(super) fn queue() -> (Queue, Waiting) {
    let (sender, receiver) = mpsc::channel(MAX_SPANS);
    let bytes = Arc::<AtomicUsize>::default();
    (Queue { sender, bytes: Arc::clone(&bytes) }, Waiting { receiver, bytes })
}

/// Puts the spans that end into the queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<(SpanData, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let size = shorten(&mut span);
        let fits = self.bytes.fetch_add(size, Ordering::Relaxed) + size <= MAX_BYTES;
        if !fits || self.sender.try_send((span, size)).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            lost("queue_full", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Counts spans that the collector does not get.
pub(super) fn lost(reason: &'static str, spans: u64) {
    metrics::counter!(metric::SPANS_LOST, "reason" => reason).increment(spans);
}

/// The end of the queue from which spans are taken.
pub(super) struct Waiting {
    receiver: mpsc::Receiver<(SpanData, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Waiting {
    /// Waits for spans, and adds at most `most` of them to `batch`. Returns how many there were. It is 0 if no further
    /// span can come.
    pub(super) async fn take(&mut self, batch: &mut Vec<SpanData>, most: usize) -> usize {
        let mut taken = Vec::new();
        let count = self.receiver.recv_many(&mut taken, most).await;
        self.moved(taken, batch);
        count
    }

    /// Adds the spans that wait to `batch`, at most `most` of them.
    pub(super) fn take_now(&mut self, batch: &mut Vec<SpanData>, most: usize) {
        let taken = std::iter::from_fn(|| self.receiver.try_recv().ok()).take(most).collect();
        self.moved(taken, batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    fn moved(&self, taken: Vec<(SpanData, usize)>, batch: &mut Vec<SpanData>) {
        for (span, size) in taken {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            batch.push(span);
        }
    }
}

/// Cuts the long texts of a span off, and returns about how many bytes it takes.
fn shorten(span: &mut SpanData) -> usize {
    let mut size = OVERHEAD + span.name.len();
    size += span.attributes.iter_mut().map(shorten_attribute).sum::<usize>();
    for event in &mut span.events.events {
        if event.name.len() > MAX_TEXT {
            event.name = cut(&event.name).into();
        }
        size += OVERHEAD + event.name.len() + event.attributes.iter_mut().map(shorten_attribute).sum::<usize>();
    }
    size
}

fn shorten_attribute(attribute: &mut KeyValue) -> usize {
    let text = match &mut attribute.value {
        Value::String(text) => {
            if text.as_str().len() > MAX_TEXT {
                *text = cut(text.as_str()).into();
            }
            text.as_str().len()
        }
        // A list has the causes of an error. It is counted as it would be written.
        Value::Array(list) => {
            let length = list.to_string().len();
            if length > MAX_TEXT {
                attribute.value = cut(&list.to_string()).into();
            }
            length.min(MAX_TEXT)
        }
        _ => 0,
    };
    OVERHEAD + text
}

fn cut(text: &str) -> String {
    format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let long = "é".repeat(MAX_TEXT);
        let mut attribute = KeyValue::new("payload", long);
        let size = shorten_attribute(&mut attribute);
        assert!(size > MAX_TEXT && size < MAX_TEXT + 2 * OVERHEAD, "{size}");
        assert!(attribute.value.as_str().ends_with("é…"));
    }
}
