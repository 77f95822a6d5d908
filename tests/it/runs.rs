//! The ends of runs: errors, panics, time limits and retries.

use postback_tests::Receiver;
use serde_json::json;

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
async fn a_run_that_takes_too_long_is_failed() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\ntimeout = \"1s\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    assert_eq!(receiver.wait_for(&id).json(), json!({"id": id, "status": "failed"}));
    server.process.wait_for("worker.timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_does_not_serialise_fails_the_request() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/unserializable", json!({})).await;
    assert_eq!(receiver.wait_for(&id).json(), json!({"id": id, "status": "failed"}));
    assert_eq!(server.settled("/unserializable", &id).await["status"], "failed");
    server.process.wait_for("the result cannot be serialised: key must be a string");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_failure_is_reported() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[worker]\nmax_attempts = 2\nretry_delay = \"10ms\"\n",
        receiver.url("/")
    );
    let mut server = Server::start(&settings);
    let id = server.submit("/flaky", json!({})).await;
    let report = receiver.wait_for(&id).json();
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!({"runs": 2})));
    server.process.wait_for("runs again in 10 ms (failed run 1 of 2): run 1 goes wrong");

    let failed = server.submit("/fail", json!({"text": "always"})).await;
    receiver.wait_for(&failed);
    for (route, id) in [("/flaky", &id), ("/fail", &failed)] {
        let delivery = server.delivery(route, id, |delivery| delivery["state"] == "delivered").await;
        assert_eq!(delivery["webhooks"].as_array().unwrap().len(), 1, "{delivery}");
    }
    // After the stop, no further report can arrive.
    server.stop();
    assert_eq!(receiver.all().len(), 2);
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
