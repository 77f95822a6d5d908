//! The JSON form of a log line: one object with the fields of the event and, if the event is within a run, the fields
//! of the run's span, all at the top level.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use postback_wire::names::target;

/// Formats an event as one line of JSON.
pub(super) struct JsonLine {
    line: Format<format::Json>,
}

impl JsonLine {
    pub(super) fn new() -> Self {
        // The log line has no separate member for the current span, because the list of spans already contains this
        // span.
        Self { line: format::format().json().flatten_event(true).with_current_span(false) }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let run = fields_of_run(context);
        if run.is_empty() {
            return self.line.format_event(context, to, event);
        }
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        // Invariant: `line` is one JSON object and a line break.
        let open = line.trim_end();
        let open = open.strip_suffix('}').unwrap_or(open);
        to.write_str(open)?;
        // If a field of the event has the same name as a field of the run, only the field of the event is written.
        let event_fields = event.metadata().fields();
        for (name, value) in run.iter().filter(|(name, _)| event_fields.field(name.as_str()).is_none()) {
            write!(to, ",{}:{value}", Value::from(name.as_str()))?;
        }
        to.write_str("}\n")
    }
}

/// Returns the fields of the run during which the event happened. Returns no fields if the event happened outside a
/// run.
fn fields_of_run<S, N>(context: &FmtContext<'_, S, N>) -> Map<String, Value>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    let mut spans = context.event_scope().into_iter().flatten();
    let Some(run) = spans.find(|span| span.metadata().target() == target::RUN) else { return Map::new() };
    let extensions = run.extensions();
    let fields = extensions.get::<FormattedFields<N>>();
    fields.and_then(|fields| serde_json::from_str(fields).ok()).unwrap_or_default()
}
