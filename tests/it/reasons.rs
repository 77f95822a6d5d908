//! The `reason` in a report: why a request was not completed. Only handlers with `error = reason` or `error = display`
//! report it.

use postback::{EndReason, ReceivedReport, Status};
use postback_tests::{Received, Receiver};
use serde_json::{Value, json};

use crate::support::Server;

const ROUTE: &str = "/reasoned";

fn read(webhook: &Received) -> ReceivedReport<Value> {
    serde_json::from_slice(&webhook.body).unwrap()
}

/// Checks that the report and the status of a request have this outcome and this reason, and nothing else.
async fn is_reported(server: &Server, receiver: &Receiver, id: &str, status: Status, reason: EndReason) {
    let webhook = receiver.wait_for(id);
    let report = read(&webhook);
    assert_eq!((report.id.as_str(), report.status, report.reason), (id, status, Some(reason.clone())));
    assert_eq!(
        webhook.json(),
        json!({"id": id, "status": status, "reason": reason}),
        "the report must have no other member"
    );
    assert_eq!(server.settled(ROUTE, id).await, webhook.json());
}

fn settings(receiver: &Receiver, worker: &str) -> String {
    format!("[config]\nwebhook_url = {:?}\n[worker]\n{worker}\n", receiver.url("/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_a_panic_and_an_unserializable_result_have_different_reasons() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    for (end, reason) in
        [("error", EndReason::Error), ("panic", EndReason::Panic), ("unserializable", EndReason::Unserializable)]
    {
        let id = server.submit(ROUTE, json!({"end": end})).await;
        is_reported(&server, &receiver, &id, Status::Failed, reason).await;
    }
    let id = server.submit(ROUTE, json!({"end": "completed"})).await;
    let report = read(&receiver.wait_for(&id));
    assert_eq!((report.status, report.reason), (Status::Completed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_reports_its_error_reports_the_reason_and_others_do_not() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    let id = server.submit("/fail", json!({"text": "no such file"})).await;
    let expected = format!(r#"{{"id":"{id}","status":"failed","reason":"error","error":"no such file"}}"#);
    assert_eq!(receiver.wait_for(&id).body, expected.as_bytes());
    let id = server.submit("/panic", json!({"text": "on purpose"})).await;
    assert_eq!(receiver.wait_for(&id).body, format!(r#"{{"id":"{id}","status":"failed"}}"#).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_has_its_own_reason() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    let id = server.submit(ROUTE, json!({"end": "dropped"})).await;
    let report = read(&receiver.wait_for(&format!("left-by-{id}")));
    assert_eq!((report.status, report.reason), (Status::Failed, Some(EndReason::Dropped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_has_its_own_reason() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, "timeout = \"1s\""));
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "never"})).await;
    is_reported(&server, &receiver, &id, Status::Failed, EndReason::Timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_run_has_its_own_reason() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, ""));
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "never"})).await;
    server.process.wait_for(&format!("{id} begins"));
    let response = server.client.delete(server.path(&format!("{ROUTE}/{id}"))).send().await.unwrap();
    assert_eq!(response.status(), 202);
    is_reported(&server, &receiver, &id, Status::Cancelled, EndReason::Cancelled).await;
}

/// The run's choice to report the reason is stored. The worker of the next process settles the request with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_lost_with_its_process_has_its_own_reason() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, "max_crashes = 1"));
    let id = server.submit(ROUTE, json!({"end": "lost", "gate": "gate"})).await;
    server.process.wait_for(&format!("{id} begins"));
    server.registered(1).await;
    server.open("gate");
    server.process.ended();
    server.restart();
    is_reported(&server, &receiver, &id, Status::Failed, EndReason::Lost).await;
}

/// A stop puts the run back, and its registration stays stored. The request is cancelled while it waits for its second
/// run.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_the_second_run_has_its_own_reason() {
    let receiver = Receiver::start();
    let settings = settings(&receiver, "") + "[shutdown]\ngrace = \"1s\"\n";
    let mut server = Server::start(&settings);
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "gate"})).await;
    server.process.wait_for(&format!("{id} begins"));
    server.registered(1).await;
    server.stop();
    // The second run is due in an hour, so the request waits.
    server.write("UPDATE request SET due = due + 3600000000").await;
    server.restart();
    let response = server.client.delete(server.path(&format!("{ROUTE}/{id}"))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    is_reported(&server, &receiver, &id, Status::Cancelled, EndReason::Cancelled).await;
    assert_eq!(answer, json!({"id": id, "status": "cancelled", "reason": "cancelled"}));
}
