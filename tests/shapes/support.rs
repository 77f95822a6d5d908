//! A poster for the whole process, a receiver behind it, and what it got for an id.

use std::future::Future;
use std::sync::LazyLock;

use postback::Poster;
use postback_tests::Receiver;
use serde_json::{Value, json};

/// Where all reports of these tests go.
static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| {
    let receiver = Receiver::start();
    let guard = Poster::builder().trust(receiver.url("/")).install().unwrap();
    // It lives as long as the process.
    std::mem::forget(guard);
    receiver
});

/// The URL of the receiver; a poster is installed.
pub(crate) fn url() -> String {
    RECEIVER.url("/hooks")
}

/// What a program's settings are to its handlers.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) webhook_url: String,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self { webhook_url: url() }
    }
}

/// A fixed id: a string alone would be read as an expression.
pub(crate) const fn named(id: &str) -> &str {
    id
}

/// The one report of this id, without what differs from run to run.
pub(crate) fn reported(id: &str) -> Value {
    let mut report = RECEIVER.wait_for(id).json();
    assert_eq!(RECEIVER.all().iter().filter(|received| received.json()["id"] == id).count(), 1, "reports of {id}");
    report.as_object_mut().unwrap().remove("timestamp");
    report
}

#[track_caller]
pub(crate) fn completed(id: &str, result: impl Into<Value>) {
    assert_eq!(reported(id), json!({"id": id, "status": "completed", "result": result.into()}));
}

/// With no result to tell.
#[track_caller]
pub(crate) fn completed_without_result(id: &str) {
    assert_eq!(reported(id), json!({"id": id, "status": "completed"}));
}

/// With no detail told.
#[track_caller]
pub(crate) fn failed(id: &str) {
    assert_eq!(reported(id), json!({"id": id, "status": "failed"}));
}

/// As it is, if it is `Send`.
pub(crate) const fn send<F: Future + Send>(future: F) -> F {
    future
}
