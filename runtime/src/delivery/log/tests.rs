//! Tests of the log lines: their text, their bounds, and the escaping of text from outside.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

const WEBHOOK_ID: &str = "0193b3c4-0000-7000-8000-000000000001";
static TARGET: LazyLock<Target> = LazyLock::new(|| Target::parse("https://example.com/in"));

/// Collects the log lines that the delivery writes on this thread.
#[derive(Clone, Default)]
pub(in crate::delivery) struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    pub(in crate::delivery) fn on_this_thread() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    /// Returns the collected lines that contain this text.
    pub(in crate::delivery) fn with(&self, text: &str) -> Vec<(Level, String)> {
        self.0.lock().unwrap().iter().filter(|(_, line)| line.contains(text)).cloned().collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("postback::delivery")
    }

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    write!(self.0, "{value:?}").unwrap();
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn told(next: Next) -> AttemptLine<'static> {
    AttemptLine {
        webhook_id: WEBHOOK_ID.parse().unwrap(),
        note: None,
        request_id: "abc",
        route: None,
        to: &TARGET,
        attempt: 1,
        attempts: 10,
        took: Duration::from_millis(8),
        status: None,
        error: Some("connection refused"),
        forbidden_address: false,
        next,
        now: Timestamp::from_micros(0),
    }
}

#[test]
fn the_lines_say_what_became_of_a_report_and_when_the_next_attempt_is() {
    let delivered = AttemptLine { status: Some(204), error: None, ..told(Next::Delivered) };
    assert_eq!(message(&delivered), "report of abc → delivered 204 in 8 ms");
    let noted = AttemptLine { note: Some("/greet 0193 completed in 1.2 s"), ..delivered };
    assert_eq!(message(&noted), "/greet 0193 completed in 1.2 s → delivered 204 in 8 ms");
    assert_eq!(
        message(&told(Next::RetryAt(Timestamp::from_micros(5_700_000)))),
        "report of abc → not delivered: connection refused; next attempt in 5 s (attempt 1 of 10)"
    );
    assert!(message(&told(Next::RetryAt(Timestamp::from_micros(0)))).contains("next attempt at once"));
    let gone =
        AttemptLine { status: Some(410), error: Some("answered 410 Gone"), ..told(Next::Gone { disable: true }) };
    let place = format!("to https://example.com/in, webhook-id {WEBHOOK_ID}");
    assert_eq!(message(&gone), format!("report of abc → gone: answered 410 Gone ({place})"));
    let last = AttemptLine { attempt: 10, ..told(Next::Dead) };
    assert_eq!(message(&last), format!("report of abc → gave up after 10 attempts: connection refused ({place})"));
    let retried = AttemptLine { attempt: 3, ..delivered };
    assert_eq!(message(&retried), "report of abc → delivered 204 in 8 ms, at attempt 3 of 10");
}

#[test]
fn the_last_line_names_what_finds_the_delivery_again_and_no_secret() {
    let to = Target::parse("https://example.com/in?token=s3cret");
    let last = message(&AttemptLine { attempt: 10, route: Some("/greet"), to: &to, ..told(Next::Dead) });
    for part in ["abc", "https://example.com/in?…", "route /greet", WEBHOOK_ID, "10 attempts", "connection refused"] {
        assert!(last.contains(part), "{last} lacks {part}");
    }
    assert!(!last.contains("s3cret"), "{last}");
}

#[test]
fn a_retry_that_fails_is_logged_at_info_within_a_bound_of_its_origin() {
    let (lines, _guard) = Lines::on_this_thread();
    let log = Log::default();
    let retry = |seconds: i64| AttemptLine {
        attempt: 2,
        now: Timestamp::from_micros(seconds * 1_000_000),
        ..told(Next::RetryAt(Timestamp::from_micros(500_000_000)))
    };
    log.attempt(&AttemptLine { attempt: 1, ..retry(0) });
    for _ in 0..1_000 {
        log.attempt(&retry(1));
    }
    log.attempt(&retry(62));
    let levels = |level| lines.with("not delivered").iter().filter(|(of, _)| *of == level).count();
    assert_eq!((levels(Level::WARN), levels(Level::INFO)), (1, retries::MOST_LINES + 1));
    let skipped = 1_000 - retries::MOST_LINES;
    let said = format!("; {skipped} more retries to https://example.com failed before this one");
    assert_eq!(lines.with(&said).len(), 1, "{:?}", lines.with("62"));
}

#[test]
fn refusals_are_counted_in_lines_at_powers_of_ten() {
    let (lines, _guard) = Lines::on_this_thread();
    let log = Log::default();
    for _ in 0..1_234 {
        log.attempt(&told(Next::Refused));
    }
    let told: Vec<_> = lines.with("reports were refused so far").into_iter().map(|(_, line)| line).collect();
    let counts: Vec<_> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(counts, ["10", "100", "1000"]);
}

#[test]
fn what_comes_from_outside_cannot_write_lines_of_its_own() {
    let evil = AttemptLine { request_id: "a\n2026 ERROR \u{1b}[31m\u{202e}", ..told(Next::Dead) };
    let line = message(&evil);
    assert!(line.contains(r"a\n2026 ERROR \u{1b}[31m\u{202e}"), "{line}");
    assert_eq!(escaped("it's \"plain\", é ①"), "it's \"plain\", é ①");
    assert_eq!(escaped(&"x".repeat(5_000)).chars().count(), MAX_TEXT + 1);
    assert_eq!(escaped(&"é".repeat(MAX_TEXT)).chars().count(), MAX_TEXT);
}

#[test]
fn a_refusal_is_explained_once_per_origin_under_a_bound() {
    let log = Log::default();
    let at = |seconds: usize| Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000);
    assert!(log.is_to_explain("https://a", at(0)));
    assert!(!log.is_to_explain("https://a", at(0)));
    let explained = (0..2 * MAX_EXPLAINED).filter(|n| log.is_to_explain(&n.to_string(), at(0))).count();
    assert_eq!(explained, MAX_EXPLAINED - 1);
    // The limit is reached, so no other refusal is explained at the same time. After each further second, one more
    // refusal is explained, and the log forgets the oldest origin.
    assert!(!log.is_to_explain("https://b", at(0)));
    for n in 1..2 * MAX_EXPLAINED {
        assert!(log.is_to_explain(&format!("https://b{n}"), at(n)), "{n}");
    }
    let known = log.explained.lock().unwrap();
    assert_eq!((known.origins.len(), known.order.len()), (MAX_EXPLAINED, MAX_EXPLAINED));
}

#[test]
fn a_shortage_is_logged_once_a_minute() {
    let (lines, _guard) = Lines::on_this_thread();
    let log = Log::default();
    for seconds in 0..90 {
        log.log_put_off(Shortage::Files, "too many open files", Timestamp::from_micros(seconds * 1_000_000));
    }
    log.log_put_off(Shortage::Memory, "out of memory", Timestamp::from_micros(90_000_000));
    let told: Vec<_> = lines.with("deliveries wait").into_iter().map(|(level, _)| level).collect();
    assert_eq!(told, [Level::WARN; 3]);
}

#[test]
fn a_name_that_leads_to_a_forbidden_address_is_explained_once_and_a_request_has_its_line_all_the_same() {
    let (lines, _guard) = Lines::on_this_thread();
    let log = Log::default();
    let error = Some("0.0.0.0 is not allowed; see delivery.allow_networks");
    let forbidden_address =
        AttemptLine { forbidden_address: true, error, ..told(Next::RetryAt(Timestamp::from_micros(5_000_000))) };
    log.attempt(&forbidden_address);
    log.attempt(&forbidden_address);
    log.attempt(&AttemptLine { attempt: 2, ..forbidden_address });
    log.attempt(&AttemptLine { note: Some("/greet 0193 completed in 1.2 s"), ..forbidden_address });
    let other = Target::parse("https://other.example/in");
    log.attempt(&AttemptLine { to: &other, attempt: 2, ..forbidden_address });
    let retry =
        "report of abc → not delivered: 0.0.0.0 is not allowed; see delivery.allow_networks; next attempt in 5 s";
    let noted = "/greet 0193 completed in 1.2 s → not delivered: refused, as explained before; next attempt in 5 s";
    let attempt = |said: &str, n: u32| format!("{said} (attempt {n} of 10)");
    assert_eq!(
        lines.with(""),
        [
            (Level::WARN, attempt(retry, 1)),
            (Level::DEBUG, attempt(retry, 1)),
            (Level::DEBUG, attempt(retry, 2)),
            (Level::INFO, attempt(noted, 1)),
            (Level::WARN, attempt(retry, 2)),
        ]
    );
    // The refusal of this origin was explained before, so its final refusal is not explained again.
    log.attempt(&AttemptLine { next: Next::Refused, ..forbidden_address });
    assert_eq!(lines.with("").last().unwrap().0, Level::DEBUG);
}

#[test]
fn waits_are_said_in_whole_seconds() {
    let said = |ms| spoken(Duration::from_millis(ms));
    assert_eq!(said(15_000), "15 s");
    assert_eq!(said(5_900), "5 s");
    assert_eq!(said(250), "250 ms");
    assert_eq!(said(330_000), "5 min 30 s");
}
