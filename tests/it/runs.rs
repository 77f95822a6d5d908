//! The ends of runs: errors, panics, time limits and retries. What needs neither a process nor a socket is tested with the
//! test kit, whose clock is paused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postback::testing::{Hit, TestApp};
use postback::{App, RequestId, State, async_handler};
use postback_tests::Receiver;
use serde_json::{Value, json};

use crate::support::{Server, keys};

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_reported_as_failed_and_its_text_only_with_error_display() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let with_text = server.submit("/fail", json!({"text": "no such \"file\""})).await;
    let webhook = receiver.wait_for(&with_text);
    assert_eq!(keys(&webhook.body), ["id", "status", "reason", "error"]);
    assert_eq!(webhook.json()["error"], "no such \"file\"");
    assert_eq!(server.settled("/fail", &with_text).await, webhook.json());

    let without_text = server.submit("/flaky", json!({})).await;
    let webhook = receiver.wait_for(&without_text);
    assert_eq!(webhook.json(), json!({"id": without_text, "status": "failed"}));
    // The log has the text of the error in any case.
    server.process.wait_for("run 1 goes wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_request_and_no_other() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/panic", json!({"text": "boom"})).await;
    assert_eq!(receiver.wait_for(&id).json(), json!({"id": id, "status": "failed"}));
    server.process.wait_for("it panicked: boom");
    let next = server.submit("/echo", json!(1)).await;
    assert_eq!(receiver.wait_for(&next).json()["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_message_cannot_command_the_terminal() {
    let mut server = Server::start("[log]\nformat = \"text\"\n");
    let id = server.submit("/panic", json!({"text": "\u{1b}[31mred\u{7}"})).await;
    assert_eq!(server.settled("/panic", &id).await["status"], "failed");
    server.process.wait_for(r"it panicked: \u{1b}[31mred\u{7}");
    server.stop();
    let output = server.process.output();
    assert!(!output.contains(['\u{1b}', '\u{7}']), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_and_a_route_decide_whether_a_request_runs_again() {
    // With the usual wait, no request would run again within the time of the test.
    let mut server = Server::start("[worker]\nmax_attempts = 3\nretry_delay = \"1h\"\nmax_retry_delay = \"1h\"\n");
    let later = server.submit("/choosing/error", json!({"text": "later"})).await;
    let settled = server.settled("/choosing/error", &later).await;
    assert_eq!((&settled["status"], &settled["result"]), (&json!("completed"), &json!(3)));
    server.process.wait_for("runs again in 20 ms (failed run 2 of 3): not now");

    for (route, text) in [("/choosing/error", "permanent"), ("/choosing/route", "no more")] {
        let id = server.submit(route, json!({"text": text})).await;
        assert_eq!(server.settled(route, &id).await["status"], "failed", "{route}");
    }
    let usual = server.submit("/choosing/error", json!({"text": "usual"})).await;
    let again = server.submit("/choosing/route", json!({"text": "try again"})).await;
    server.process.wait_for(&format!("/choosing/error {usual} failed"));
    server.process.wait_for(&format!("/choosing/route {again} failed"));
    server.stop();
    assert_eq!(server.process.output().matches("runs again in 1 h 0 min (failed run 1 of 3)").count(), 2);
}

const HOOK: &str = "https://hooks.example.com/";

#[async_handler(webhook = HOOK)]
async fn never(request_id: RequestId) -> Result<(), String> {
    std::future::pending().await
}

/// JSON has no maps with such keys.
#[async_handler(webhook = HOOK)]
async fn unserializable(request_id: RequestId) -> Result<HashMap<(u8, u8), u8>, String> {
    Ok(HashMap::from([((1, 2), 3)]))
}

#[async_handler(webhook = HOOK)]
async fn flaky(runs: State<AtomicU32>, request_id: RequestId) -> Result<Value, String> {
    match runs.fetch_add(1, Ordering::Relaxed) + 1 {
        1 => Err("run 1 goes wrong".to_owned()),
        runs => Ok(json!({ "runs": runs })),
    }
}

#[async_handler(webhook = HOOK)]
async fn fail(request_id: RequestId) -> Result<(), String> {
    Err("always".to_owned())
}

async fn app(settings: &str) -> TestApp {
    let app = App::new(()).state(AtomicU32::new(0)).route("/never", never).route("/unserializable", unserializable);
    TestApp::new(app.route("/flaky", flaky).route("/fail", fail)).settings(settings).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_failed() {
    let app = app("[worker]\ntimeout = \"2h\"\n").await;
    let id = app.submit("/never", &()).await.unwrap();
    let hit = app.receiver().wait_for(|hit| hit.id() == id.as_str()).await.unwrap();
    assert_eq!(hit.json(), &json!({"id": id, "status": "failed"}));
    let finished = app.finished(&id).await.unwrap();
    assert_eq!(finished.failure().unwrap(), "it ran longer than 2 h 0 min (worker.timeout)");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_serialise_fails_the_request() {
    let app = app("").await;
    let id = app.submit("/unserializable", &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    assert!(finished.failure().unwrap().starts_with("the result cannot be serialised: key must be a string"));
    let hit = app.receiver().wait_for(|hit| hit.id() == id.as_str()).await.unwrap();
    assert_eq!(hit.json(), &json!({"id": id, "status": "failed"}));
}

#[tokio::test(start_paused = true)]
async fn only_the_last_failure_is_reported() {
    let app = app("[worker]\nmax_attempts = 2\n").await;
    let id = app.submit("/flaky", &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    assert_eq!(finished.result::<Value>().unwrap(), json!({"runs": 2}));
    let failed = app.submit("/fail", &()).await.unwrap();
    assert_eq!(app.finished(&failed).await.unwrap().failure().unwrap(), "always");
    // A day later, no further report has come.
    app.pass(Duration::from_hours(24)).await;
    let hits: Vec<Hit> = app.receiver().hits();
    let ids: Vec<&str> = hits.iter().map(Hit::id).collect();
    assert_eq!(ids, [id.as_str(), failed.as_str()], "{hits:?}");
}
