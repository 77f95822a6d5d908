//! The poster and the receiver that all these tests share, and assertions about the reports that arrive.

use std::future::Future;
use std::sync::LazyLock;

use postback::Poster;
use postback_tests::Receiver;
use serde_json::{Value, json};

/// The receiver of all reports in these tests. Its first use also installs the poster.
static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| {
    let receiver = Receiver::start();
    let guard = Poster::builder().trust(receiver.url("/")).install().unwrap();
    // The guard is leaked, because the poster must run until the process ends.
    std::mem::forget(guard);
    receiver
});

/// The URL of the receiver. This function also makes sure that the poster is installed.
pub(crate) fn url() -> String {
    RECEIVER.url("/hooks")
}

/// A stand-in for the settings of a program, which its handlers receive.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) webhook_url: String,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self { webhook_url: url() }
    }
}

/// Returns a fixed id for the argument `request_id`. The argument cannot be just a string, because the attribute would
/// parse the string as an expression.
pub(crate) const fn named(id: &str) -> &str {
    id
}

/// The only report with this id, without its timestamp, which differs in every run.
pub(crate) fn reported(id: &str) -> Value {
    let mut report = RECEIVER.wait_for(id).json();
    assert_eq!(RECEIVER.all().iter().filter(|received| received.json()["id"] == id).count(), 1, "reports of {id}");
    report.as_object_mut().unwrap().remove("timestamp");
    report
}

/// The body of the report with this id, in whatever form it has.
pub(crate) fn received(id: &str) -> Value {
    let text = format!("\"{id}\"");
    postback_tests::eventually(&format!("a report of {id}"), || {
        let all = RECEIVER.all();
        let found = all.iter().find(|received| String::from_utf8_lossy(&received.body).contains(&text));
        found.map(postback_tests::Received::json).ok_or(all)
    })
}

/// Asserts that one completed report with this id and this result arrived.
#[track_caller]
pub(crate) fn completed(id: &str, result: impl Into<Value>) {
    assert_eq!(reported(id), json!({"id": id, "status": "completed", "result": result.into()}));
}

/// Asserts that one completed report with this id and without a result arrived.
#[track_caller]
pub(crate) fn completed_without_result(id: &str) {
    assert_eq!(reported(id), json!({"id": id, "status": "completed"}));
}

/// Asserts that one failed report with this id and without any detail arrived.
#[track_caller]
pub(crate) fn failed(id: &str) {
    assert_eq!(reported(id), json!({"id": id, "status": "failed"}));
}

/// Returns the future unchanged. The call compiles only if the future is `Send`.
pub(crate) const fn send<F: Future + Send>(future: F) -> F {
    future
}
