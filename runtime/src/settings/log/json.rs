//! The JSON form of a line: the fields of the event, and those of the run that it happened in, at the top.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::names::target;

pub(super) struct Json {
    line: Format<format::Json>,
}

impl Json {
    pub(super) fn new() -> Self {
        // The current span is the last in the list of spans.
        Self { line: format::format().json().flatten_event(true).with_current_span(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let run = run_around(context);
        if run.is_empty() {
            return self.line.format_event(context, to, event);
        }
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        // Invariant: it is one JSON object and a line break.
        let open = line.trim_end();
        let open = open.strip_suffix('}').unwrap_or(open);
        to.write_str(open)?;
        // What the event says itself is nearer to it.
        let own = event.metadata().fields();
        for (name, value) in run.iter().filter(|(name, _)| own.field(name.as_str()).is_none()) {
            write!(to, ",{}:{value}", Value::from(name.as_str()))?;
        }
        to.write_str("}\n")
    }
}

/// The fields of the run that the event happened in; none outside of runs.
fn run_around<S, N>(context: &FmtContext<'_, S, N>) -> Map<String, Value>
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
