//! The log of this process: which events are logged, and in which form, to standard error. Its metrics are in
//! `telemetry/metrics`, and where its traces go is in `telemetry/traces`.
//!
//! Invariant: text from outside cannot break a line of the text form, and cannot send commands to the terminal.

mod json;
pub(crate) mod metrics;
mod text;
mod traces;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;

use self::json::JsonLine;
use self::text::{TextFields, TextLine};
pub(crate) use self::traces::{Exporter, Traces};
use postback_wire::names::target;
use postback_wire::time::Clock;

/// The settings of the log. The module `settings` has checked their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// Selects the events that are logged: a level such as `info`, or directives as in `RUST_LOG`, such as
    /// `info,hyper=debug`.
    pub(crate) level: String,
    pub(crate) format: Format,
}

/// The format of a log line that the settings ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Log lines are text if standard error is a terminal, and otherwise JSON.
    Auto,
    Text,
    Json,
}

/// Installs the log for the whole process. With `traces`, spans go to a collector, too; the exporter that is returned then
/// sends them. If the program has already installed a `tracing` subscriber, changes nothing.
pub(crate) fn init(log: &Log, traces: Option<(&Traces, &'static str)>) -> Option<Exporter> {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let colour = terminal && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let form = if json { Form::Json } else { Form::Text { colour } };
    let (subscriber, set_filter, exporter) = if let Some(traces) = traces {
        with_traces(log, form, traces)
    } else {
        let (subscriber, set_filter) = subscriber(log, form, Clock::system(), std::io::stderr);
        (subscriber, set_filter, None)
    };
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        if traces.is_some() {
            tracing::warn!("no traces are exported, because the program has installed a tracing subscriber of its own");
        }
        return None;
    }
    // The cell is empty, because only one subscriber can be installed in a process.
    let _ = SET_FILTER.set(set_filter);
    exporter
}

type Subscribed = Box<dyn Subscriber + Send + Sync>;

/// Makes a log beside which spans go to a collector. The filter of the log is for the log alone.
#[cfg(feature = "otlp")]
fn with_traces(
    log: &Log,
    form: Form,
    (traces, version): (&Traces, &'static str),
) -> (Subscribed, SetFilter, Option<Exporter>) {
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    let (own, handle) = tracing_subscriber::reload::Layer::new(filter(&log.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match form {
        Form::Json => lines.fmt_fields(JsonFields::new()).event_format(JsonLine::new()).with_filter(own).boxed(),
        Form::Text { colour } => {
            let line = TextLine::new(Clock::system());
            lines.with_ansi(colour).fmt_fields(TextFields).event_format(line).with_filter(own).boxed()
        }
    };
    let (spans, exporter) = traces::layer(traces, version);
    let subscriber = tracing_subscriber::registry().with(lines).with(spans);
    (Box::new(subscriber), Box::new(move |filter| handle.reload(filter).is_ok()), Some(exporter))
}

/// Makes the log alone. The module `settings` refuses an endpoint for traces without the feature `otlp`.
#[cfg(not(feature = "otlp"))]
fn with_traces(log: &Log, form: Form, _: (&Traces, &'static str)) -> (Subscribed, SetFilter, Option<Exporter>) {
    let (subscriber, set_filter) = subscriber(log, form, Clock::system(), std::io::stderr);
    (subscriber, set_filter, None)
}

/// Replaces the filter of a subscriber. Returns whether it was replaced.
type SetFilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Replaces the filter of the log that [`init`] has installed.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Changes which events are logged. Returns `false` if the program has installed a `tracing` subscriber of its own.
pub(crate) fn set_level(level: &str) -> bool {
    SET_FILTER.get().is_some_and(|set_filter| set_filter(filter(level)))
}

/// The format of a log line, after the check whether standard error is a terminal.
#[derive(Clone, Copy)]
enum Form {
    Text { colour: bool },
    Json,
}

fn subscriber<W>(log: &Log, form: Form, clock: Clock, writer: W) -> (Subscribed, SetFilter)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(writer);
    match form {
        Form::Json => {
            let builder = builder.fmt_fields(JsonFields::new()).event_format(JsonLine::new()).with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        Form::Text { colour } => {
            let builder = builder.with_ansi(colour).fmt_fields(TextFields).event_format(TextLine::new(clock));
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    }
}

fn filter(directives: &str) -> EnvFilter {
    let parsed = EnvFilter::builder().parse(directives);
    // The module `settings` has already checked the directives. So parsing does not fail, and the level `info` in this
    // line is never used.
    let filter = parsed.unwrap_or_else(|_| EnvFilter::default().add_directive(LevelFilter::INFO.into()));
    if filter.max_level_hint() == Some(LevelFilter::OFF) {
        return filter;
    }
    // The directive that always enables the span of a run. This span contains the request's id. So each line that is
    // logged during a run names the request, even if the other directives enable only targets of the user's program.
    // The other directive disables the spans for tracing systems. They say about a run what its span says.
    let own = [format!("{}=error", target::RUN), format!("{}=off", target::TRACE)];
    own.iter().filter_map(|directive| directive.parse().ok()).fold(filter, EnvFilter::add_directive)
}

/// Whether a text is a valid value of `RUST_LOG`. In `RUST_LOG`, a single word may be the name of a target, such as
/// `hyper`.
pub(crate) fn is_directives(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}

/// Whether a text is a valid value of the setting `log.level`. In `log.level`, a single word must be a level. If a
/// misspelt level such as `inof` were accepted as the name of a target, only events of that target would be logged.
pub(crate) fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    !text.is_empty() && text.split(',').all(|part| part.contains('=') || is_level(part)) && is_directives(text)
}

#[cfg(test)]
mod tests;
