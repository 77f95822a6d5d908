//! How spans are linked: each span begins below the `traceparent` that was stored, and tells its own.

use std::cell::Cell;
use std::sync::OnceLock;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::SYSTEM;
use postback_wire::time::Timestamp;
use postback_wire::trace::TraceParent;

/// Whether spans can be part of a trace in this build.
pub(super) const CAN_EXPORT: bool = true;

/// The tracer of this process, for spans that are over when they are made.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The id of the next trace that begins on this thread. `None`: a random one.
    static NEXT_TRACE: Cell<Option<[u8; 16]>> = const { Cell::new(None) };
}

/// Makes the ids of traces. The trace of a request whose caller has begun none has the id of the request, so that both
/// are found by one id, and the receiver of a webhook can tell one from the other.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT_TRACE.take().map_or_else(|| self.0.new_trace_id(), TraceId::from_bytes)
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Sets the tracer of this process. Only the first call has an effect, because a process has one log.
pub(crate) fn set_tracer(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// Begins a span below `parent`. Without a parent, the span begins the trace with the id that `trace` makes.
pub(super) fn begin(span: &Span, parent: Option<TraceParent>, trace: impl FnOnce() -> [u8; 16]) {
    if span.is_disabled() {
        return;
    }
    // The result is ignored: it says that no layer exports the span.
    let _ = span.set_parent(below(parent));
    NEXT_TRACE.set(parent.is_none().then(trace));
    // This call makes the ids.
    let _ = span.context();
    NEXT_TRACE.set(None);
}

/// Records a span that is over.
pub(super) fn past(
    name: &'static str,
    route: &str,
    id: &str,
    parent: Option<TraceParent>,
    (begun, ended): (Timestamp, Timestamp),
) {
    // Without a parent, the span would be in a trace of its own.
    let (Some(tracer), Some(parent)) = (TRACER.get(), parent) else { return };
    let attributes = vec![
        KeyValue::new("messaging.system", SYSTEM),
        KeyValue::new("messaging.destination.name", route.to_owned()),
        KeyValue::new("messaging.message.id", id.to_owned()),
        KeyValue::new("request_id", id.to_owned()),
        KeyValue::new("route", route.to_owned()),
    ];
    let span = tracer.span_builder(format!("{name} {route}")).with_kind(SpanKind::Internal);
    let span = span.with_start_time(begun.system_time()).with_attributes(attributes);
    span.start_with_context(tracer, &below(Some(parent))).end_with_timestamp(ended.system_time());
}

/// Returns the place of a span in its trace.
pub(super) fn context(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let context = context.span().span_context().clone();
    TraceParent::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.trace_flags().to_u8())
}

/// Returns the place of the current span in its trace.
pub(super) fn current() -> Option<TraceParent> {
    context(&Span::current())
}

fn below(parent: Option<TraceParent>) -> Context {
    let Some(parent) = parent else { return Context::new() };
    let (trace, span, flags) = parent.parts();
    let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    let state = TraceState::default();
    Context::new().with_remote_span_context(SpanContext::new(trace, span, TraceFlags::new(flags), true, state))
}
