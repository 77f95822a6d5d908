//! The log of this process: which events are logged, and in which form, to standard error. Its metrics are in
//! `telemetry/metrics`.
//!
//! Invariant: text from outside cannot break a line of the text form, and cannot send commands to the terminal.

mod json;
pub(crate) mod metrics;
mod text;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;

use self::json::JsonLine;
use self::text::{TextFields, TextLine};
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

/// Installs the log for the whole process. If the program has already installed a `tracing` subscriber, changes nothing
/// and returns `false`.
pub(crate) fn init(log: &Log) -> bool {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let colour = terminal && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let form = if json { Form::Json } else { Form::Text { colour } };
    let (subscriber, set_filter) = subscriber(log, form, Clock::system(), std::io::stderr);
    let is_installed = tracing::subscriber::set_global_default(subscriber).is_ok();
    if is_installed {
        // The cell is empty, because only one subscriber can be installed in a process.
        let _ = SET_FILTER.set(set_filter);
    }
    is_installed
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

fn subscriber<W>(log: &Log, form: Form, clock: Clock, writer: W) -> (Box<dyn Subscriber + Send + Sync>, SetFilter)
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
    match format!("{}=error", target::RUN).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
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
