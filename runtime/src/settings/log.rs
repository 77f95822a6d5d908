//! The log: what is logged, in which form, to standard error.
//!
//! Invariant: nothing that came from outside can break a line of the text form or command the terminal.

mod json;

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use self::json::Json;
use crate::line::Escaping;
use crate::names::target;
use crate::time::Clock;

/// Checked values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// A level, or directives as `RUST_LOG` has them.
    pub(crate) level: String,
    pub(crate) format: Format,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// Starts logging. Whether it did: a program that has a subscriber already keeps it.
pub(crate) fn init(log: &Log) -> bool {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let colour = terminal && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let form = if json { Form::Json } else { Form::Text { colour } };
    tracing::subscriber::set_global_default(subscriber(log, form, Clock::system(), std::io::stderr)).is_ok()
}

#[derive(Clone, Copy)]
enum Form {
    Text { colour: bool },
    Json,
}

fn subscriber<W>(log: &Log, form: Form, clock: Clock, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(writer);
    match form {
        Form::Json => Box::new(builder.fmt_fields(JsonFields::new()).event_format(Json::new()).finish()),
        Form::Text { colour } => {
            Box::new(builder.with_ansi(colour).fmt_fields(Fields).event_format(Text { clock }).finish())
        }
    }
}

fn filter(directives: &str) -> EnvFilter {
    let parsed = EnvFilter::builder().parse(directives);
    // The text was checked with the settings.
    let filter = parsed.unwrap_or_else(|_| EnvFilter::default().add_directive(LevelFilter::INFO.into()));
    // Where anything is logged, it is said of which request, also where only the program's own events are wanted.
    if filter.max_level_hint() == Some(LevelFilter::OFF) {
        return filter;
    }
    match format!("{}=error", target::RUN).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Whether a text can be used as `RUST_LOG`, where a bare word may be a target.
pub(super) fn is_directives(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}

/// The same for a setting, where a bare word is a level: taken as a target, a misspelt one would log nothing else.
pub(super) fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    !text.is_empty() && text.split(',').all(|part| part.contains('=') || is_level(part)) && is_directives(text)
}

/// Whether an event is of this crate, whose messages hold everything that their fields do.
fn is_ours(target: &str) -> bool {
    target.strip_prefix("postback").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `16:07:03 message`, and what is needed to understand it.
struct Text {
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Text
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
        // A panic is told by a message of ours, and happens in whatever runs.
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
        let mut line = Line { to: to.by_ref(), fields: !ours, written: false, result: Ok(()) };
        event.record(&mut line);
        line.result?;
        writeln!(to)
    }
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

/// Formats the fields of spans as those of events, so that they are escaped too.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { to, fields: true, written: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

/// Writes `message field=value`, escaped.
struct Line<'w> {
    to: Writer<'w>,
    /// Whether fields other than the message are wanted.
    fields: bool,
    written: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let is_message = field.name() == "message";
        if self.result.is_err() || !(is_message || self.fields) {
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

impl Visit for Line<'_> {
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
        self.write(field, format_args!("{}", crate::line::Causes(value)));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::time::Timestamp;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, form: Form, act: impl FnOnce()) -> String {
        let log = Log { level: level.into(), format: Format::Auto };
        let clock = Clock::from_fn(|| Timestamp::from_micros(1_795_420_800_123_456));
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(&log, form, clock, move || writer.clone()), act);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const TEXT: Form = Form::Text { colour: false };

    #[test]
    fn our_own_events_are_their_message() {
        let said = logged("info", TEXT, || {
            tracing::info!(target: "postback::worker", request_id = "0193", "0193 completed in 8 ms");
            tracing::warn!(target: "postback", "slow");
            tracing::debug!(target: "postback", "unseen");
        });
        assert_eq!(said, "08:00:00 0193 completed in 8 ms\n08:00:00 WARN slow\n");
    }

    #[test]
    fn events_of_others_have_target_spans_and_fields() {
        let said = logged("info,quiet=off", TEXT, || {
            let span = tracing::info_span!(target: "hyper", "connection", peer = "a\u{1b}b");
            let _entered = span.enter();
            tracing::error!(target: "postback_examples", count = 3, name = "x y", "full");
            tracing::error!(target: "quiet", "unseen");
        });
        let escape = r"\u{1b}";
        assert_eq!(
            said,
            format!("08:00:00 ERROR postback_examples: connection{{peer=\"a{escape}b\"}}: full count=3 name=\"x y\"\n")
        );
    }

    #[test]
    fn a_message_cannot_break_its_line_or_colour_the_terminal() {
        let text = "a\u{1b}[2Jb\nWARN c";
        let said = logged("info", TEXT, || tracing::info!(target: "postback", "{text}"));
        assert_eq!(said, "08:00:00 a\\u{1b}[2Jb\\nWARN c\n");
        let said = logged("info", Form::Text { colour: true }, || tracing::info!(target: "postback", "{text}"));
        assert!(said.ends_with(" a\\u{1b}[2Jb\\nWARN c\n") && said.starts_with("\u{1b}["), "{said:?}");
    }

    #[test]
    fn json_has_its_fields_at_the_top() {
        let said = logged("info", Form::Json, || tracing::info!(target: "postback", request_id = "0193", "done\n"));
        let line: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&line["message"], &line["request_id"]), (&"done\n".into(), &"0193".into()));
        assert_eq!((&line["level"], &line["target"]), (&"INFO".into(), &"postback".into()));
        assert_eq!(said.matches('\n').count(), 1);
    }

    /// A line of the program's own within a run, and one of a panic.
    fn said_in_a_run(level: &str, form: Form) -> String {
        logged(level, form, || {
            let route = "/a";
            let run = tracing::error_span!(target: target::RUN, "run", request_id = %"0193", route, attempt = 2);
            let _run = run.enter();
            let inner = tracing::info_span!(target: "my_app", "fetch", request_id = "of the span");
            let _inner = inner.enter();
            tracing::warn!(target: "my_app", n = 1, "slow");
            tracing::warn!(target: "my_app", request_id = "its own", "other");
            tracing::error!(target: target::PANIC, place = "a.rs:1", "panicked at a.rs:1: no");
        })
    }

    #[test]
    fn the_programs_own_lines_and_panics_carry_the_run_in_text() {
        let run = "run{request_id=0193 route=\"/a\" attempt=2}: fetch{request_id=\"of the span\"}:";
        assert_eq!(
            said_in_a_run("info", TEXT),
            format!(
                "08:00:00 WARN my_app: {run} slow n=1\n\
                 08:00:00 WARN my_app: {run} other request_id=\"its own\"\n\
                 08:00:00 ERROR {run} panicked at a.rs:1: no\n"
            )
        );
    }

    #[test]
    fn the_programs_own_lines_and_panics_carry_the_run_in_json() {
        let said = said_in_a_run("info", Form::Json);
        let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (line, id) in lines.iter().zip(["0193", "its own", "0193"]) {
            assert_eq!((&line["request_id"], &line["route"], &line["attempt"]), (&id.into(), &"/a".into(), &2.into()));
            assert_eq!(line["spans"][1]["name"], "fetch");
        }
        assert_eq!((&lines[0]["message"], &lines[0]["n"]), (&"slow".into(), &1.into()));
        // Two members of the same name would be read as either.
        assert!(
            said.lines().all(|line| line.matches("\"attempt\":").count() == 2),
            "at the top and in its span: {said}"
        );
        let other = said.lines().nth(1).unwrap();
        assert_eq!(other.matches("\"request_id\":").count(), 3, "at the top and in each span: {other}");
    }

    #[test]
    fn a_run_is_told_whatever_is_logged() {
        for level in ["warn", "my_app=warn", "error,my_app=warn"] {
            let said = said_in_a_run(level, TEXT);
            assert!(said.contains("my_app: run{request_id=0193 route=\"/a\" attempt=2}: slow n=1"), "{level}: {said}");
        }
        assert_eq!(said_in_a_run("off", TEXT), "");
    }

    #[test]
    fn the_log_of_one_route_alone_can_be_more() {
        let said = |directives: &str| {
            logged(directives, TEXT, || {
                for route in ["/a", "/b"] {
                    let run =
                        tracing::error_span!(target: target::RUN, "run", request_id = %"0193", route, attempt = 1);
                    run.in_scope(|| tracing::debug!(target: "postback", "of {route}"));
                }
            })
        };
        assert!(is_directives("info,[run{route=/a}]=debug"));
        assert_eq!(said("info,[run{route=/a}]=debug"), "08:00:00 DEBUG of /a\n");
        assert_eq!(said("info"), "");
    }

    #[test]
    fn a_misspelt_level_is_no_level() {
        for good in ["info", "WARN", "off", "info,hyper=debug", "my_app=trace"] {
            assert!(is_level(good), "{good}");
        }
        for bad in ["", "inof", "hyper", "info,", "my_app=inof", "a=b=c"] {
            assert!(!is_level(bad), "{bad}");
        }
        assert!(is_directives("hyper"));
        assert!(!is_directives("hyper=inof"));
    }

    #[test]
    fn starting_twice_harms_nobody() {
        let log = Log { level: "off".into(), format: Format::Text };
        init(&log);
        assert!(!init(&log));
    }
}
