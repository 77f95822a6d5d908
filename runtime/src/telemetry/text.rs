//! The text form of a log line, for people: `16:07:03 message`.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use postback_wire::line::{Causes, Escaping};
use postback_wire::names::target;
use postback_wire::time::Clock;

/// Formats an event as one line: the time, the level unless the level is `info`, and the message. For an event of
/// another crate, the line also shows the target, the spans and the fields.
pub(super) struct TextLine {
    clock: Clock,
}

impl TextLine {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let colour = to.has_ansi_escapes();
        let metadata = event.metadata();
        let now = chrono::DateTime::from_timestamp_micros(self.clock.now().micros()).unwrap_or_default();
        styled(&mut to, colour, Style::new().dimmed(), format_args!("{}", now.format("%H:%M:%S")))?;
        if *metadata.level() != Level::INFO {
            to.write_char(' ')?;
            styled(&mut to, colour, style_of(*metadata.level()), format_args!("{}", metadata.level()))?;
        }
        to.write_char(' ')?;
        let ours = is_ours(metadata.target());
        if !ours {
            styled(&mut to, colour, Style::new().dimmed(), format_args!("{}:", metadata.target()))?;
            to.write_char(' ')?;
        }
        // The spans are shown for events of other crates, and also for panics. The event of a panic has a target of
        // this crate, but the panic may have happened in the user's code.
        if !ours || metadata.target() == target::PANIC {
            for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
                to.write_str(span.name())?;
                let extensions = span.extensions();
                if let Some(fields) = extensions.get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                    write!(to, "{{{fields}}}")?;
                }
                to.write_str(": ")?;
            }
        }
        let mut fields = FieldWriter::new(to.by_ref(), !ours);
        event.record(&mut fields);
        fields.result?;
        writeln!(to)
    }
}

/// Whether an event comes from one of Postback's crates. The messages of such events contain the values of all fields,
/// so a text line does not show the fields again.
fn is_ours(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    ["postback", "postback_store", "postback_wire"].contains(&name)
}

fn style_of(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        _ => Style::new().dimmed(),
    }
}

fn styled(to: &mut Writer<'_>, colour: bool, style: Style, text: fmt::Arguments<'_>) -> fmt::Result {
    if colour { write!(to, "{style}{text}{style:#}") } else { to.write_fmt(text) }
}

/// Formats the fields of a span as [`FieldWriter`] formats the fields of an event, so that the fields of a span are
/// escaped, too.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> fmt::Result {
        let mut writer = FieldWriter::new(to, true);
        fields.record(&mut writer);
        writer.result
    }
}

/// Writes the text `message field=value`, and escapes the message and the values.
struct FieldWriter<'w> {
    to: Writer<'w>,
    /// If true, all fields of the log event are written. If false, only the message of the log event is written.
    all_fields: bool,
    /// Whether a field was already written. If true, a space is written before the next field.
    written: bool,
    result: fmt::Result,
}

impl<'w> FieldWriter<'w> {
    fn new(to: Writer<'w>, all_fields: bool) -> Self {
        Self { to, all_fields, written: false, result: Ok(()) }
    }

    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let is_message = field.name() == "message";
        if self.result.is_err() || !(is_message || self.all_fields) {
            return;
        }
        let separator = if self.written { " " } else { "" };
        self.written = true;
        let name = if is_message { "" } else { field.name() };
        let equals = if is_message { "" } else { "=" };
        self.result =
            write!(self.to, "{separator}{name}{equals}").and_then(|()| Escaping(&mut self.to).write_fmt(value));
    }
}

impl Visit for FieldWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.write(field, format_args!("{value}"));
        } else {
            self.write(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.write(field, format_args!("{}", Causes(value)));
    }
}
