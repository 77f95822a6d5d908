//! Tests the text form and the JSON form of a log line.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use postback_wire::time::Timestamp;

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
    tracing::subscriber::with_default(subscriber(&log, form, clock, move || writer.clone()).0, act);
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

const TEXT: Form = Form::Text { colour: false };

#[test]
fn our_own_events_are_their_message() {
    let message = logged("info", TEXT, || {
        tracing::info!(target: "postback::worker", request_id = "0193", "0193 completed in 8 ms");
        tracing::warn!(target: "postback", "slow");
        tracing::debug!(target: "postback", "unseen");
    });
    assert_eq!(message, "08:00:00 0193 completed in 8 ms\n08:00:00 WARN slow\n");
}

#[test]
fn events_of_others_have_target_spans_and_fields() {
    let message = logged("info,quiet=off", TEXT, || {
        let span = tracing::info_span!(target: "hyper", "connection", peer = "a\u{1b}b");
        let _entered = span.enter();
        tracing::error!(target: "postback_examples", count = 3, name = "x y", "full");
        tracing::error!(target: "quiet", "unseen");
    });
    let escape = r"\u{1b}";
    assert_eq!(
        message,
        format!("08:00:00 ERROR postback_examples: connection{{peer=\"a{escape}b\"}}: full count=3 name=\"x y\"\n")
    );
}

#[test]
fn a_message_cannot_break_its_line_or_colour_the_terminal() {
    let text = "a\u{1b}[2Jb\nWARN c";
    let message = logged("info", TEXT, || tracing::info!(target: "postback", "{text}"));
    assert_eq!(message, "08:00:00 a\\u{1b}[2Jb\\nWARN c\n");
    let message = logged("info", Form::Text { colour: true }, || tracing::info!(target: "postback", "{text}"));
    assert!(message.ends_with(" a\\u{1b}[2Jb\\nWARN c\n") && message.starts_with("\u{1b}["), "{message:?}");
}

#[test]
fn json_has_its_fields_at_the_top() {
    let message = logged("info", Form::Json, || tracing::info!(target: "postback", request_id = "0193", "done\n"));
    let line: serde_json::Value = serde_json::from_str(&message).unwrap();
    assert_eq!((&line["message"], &line["request_id"]), (&"done\n".into(), &"0193".into()));
    assert_eq!((&line["level"], &line["target"]), (&"INFO".into(), &"postback".into()));
    assert_eq!(message.matches('\n').count(), 1);
}

/// Logs two events of a user's program and one panic, during one run.
fn logged_in_a_run(level: &str, form: Form) -> String {
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
        logged_in_a_run("info", TEXT),
        format!(
            "08:00:00 WARN my_app: {run} slow n=1\n\
             08:00:00 WARN my_app: {run} other request_id=\"its own\"\n\
             08:00:00 ERROR {run} panicked at a.rs:1: no\n"
        )
    );
}

#[test]
fn the_programs_own_lines_and_panics_carry_the_run_in_json() {
    let message = logged_in_a_run("info", Form::Json);
    let lines: Vec<serde_json::Value> = message.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, id) in lines.iter().zip(["0193", "its own", "0193"]) {
        assert_eq!((&line["request_id"], &line["route"], &line["attempt"]), (&id.into(), &"/a".into(), &2.into()));
        assert_eq!(line["spans"][1]["name"], "fetch");
    }
    assert_eq!((&lines[0]["message"], &lines[0]["n"]), (&"slow".into(), &1.into()));
    // A JSON object with two members of one name is ambiguous. So each name must occur only once at the top level.
    assert!(
        message.lines().all(|line| line.matches("\"attempt\":").count() == 2),
        "at the top and in its span: {message}"
    );
    let other = message.lines().nth(1).unwrap();
    assert_eq!(other.matches("\"request_id\":").count(), 3, "at the top and in each span: {other}");
}

#[test]
fn a_run_is_told_whatever_is_logged() {
    for level in ["warn", "my_app=warn", "error,my_app=warn"] {
        let message = logged_in_a_run(level, TEXT);
        assert!(
            message.contains("my_app: run{request_id=0193 route=\"/a\" attempt=2}: slow n=1"),
            "{level}: {message}"
        );
    }
    assert_eq!(logged_in_a_run("off", TEXT), "");
}

#[test]
fn the_log_of_one_route_alone_can_be_more() {
    let message = |directives: &str| {
        logged(directives, TEXT, || {
            for route in ["/a", "/b"] {
                let run = tracing::error_span!(target: target::RUN, "run", request_id = %"0193", route, attempt = 1);
                run.in_scope(|| tracing::debug!(target: "postback", "of {route}"));
            }
        })
    };
    assert!(is_directives("info,[run{route=/a}]=debug"));
    assert_eq!(message("info,[run{route=/a}]=debug"), "08:00:00 DEBUG of /a\n");
    assert_eq!(message("info"), "");
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
    init(&log, None);
    assert!(init(&log, None).is_none());
}
