//! Which traces are exported.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Exports a trace if its caller does, and a share of the traces that begin here.
///
/// The samplers of the SDK compare the first half of the random part of a trace's id, where a UUID has its variant.
/// This one compares the last seven bytes, which W3C Trace Context asks to be random, and which are random in a UUID.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Traces whose last seven bytes are less than this number are exported.
    below: u64,
}

/// The number of values that seven bytes have.
const VALUES: u64 = 1 << 56;

impl Share {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share from 0 to 1 of the values is one of the values"
    )]
    pub(super) fn new(share: f64) -> Self {
        Self { below: (share.clamp(0.0, 1.0) * VALUES as f64) as u64 }
    }

    fn has(&self, trace: TraceId) -> bool {
        let bytes = trace.to_bytes();
        let (_, last) = bytes.split_at(8);
        let number = last.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        number % VALUES < self.below
    }
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent =
            parent.filter(|context| context.has_active_span()).map(|context| context.span().span_context().clone());
        let parent = parent.filter(opentelemetry::trace::SpanContext::is_valid);
        let is_chosen = parent.as_ref().map_or_else(|| self.has(trace), opentelemetry::trace::SpanContext::is_sampled);
        SamplingResult {
            decision: if is_chosen { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_wire::id::RequestId;

    #[test]
    fn the_share_of_traces_is_that_of_the_setting_for_ids_of_requests() {
        let ids: Vec<_> = (0..4_000).map(|_| RequestId::as_trace(RequestId::generate().as_str())).collect();
        for (share, expected) in [(0.0, 0..=0), (0.25, 800..=1_200), (1.0, 4_000..=4_000)] {
            let share = Share::new(share);
            let chosen = ids.iter().filter(|id| share.has(TraceId::from_bytes(**id))).count();
            assert!(expected.contains(&chosen), "{chosen} of {share:?}");
        }
    }
}
