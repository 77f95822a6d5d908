//! Why a request was not completed, where its handler tells it.

use postback::{EndReason, ReceivedReport, Status};
use postback_tests::{Received, Receiver};
use serde_json::{Value, json};

use crate::support::Server;

const ROUTE: &str = "/reasoned";

fn read(webhook: &Received) -> ReceivedReport<Value> {
    serde_json::from_slice(&webhook.body).unwrap()
}

/// Its report and its poll say the same: that it ended so, for this reason.
async fn is_told(server: &Server, receiver: &Receiver, id: &str, status: Status, reason: EndReason) {
    let webhook = receiver.wait_for(id);
    let report = read(&webhook);
    assert_eq!((report.id.as_str(), report.status, report.reason), (id, status, Some(reason.clone())));
    assert_eq!(webhook.json(), json!({"id": id, "status": status, "reason": reason}), "and nothing else");
    assert_eq!(server.settled(ROUTE, id).await, webhook.json());
}

fn settings(receiver: &Receiver, worker: &str) -> String {
    format!("[config]\nwebhook_url = {:?}\n[worker]\n{worker}\n", receiver.url("/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_a_panic_and_a_result_that_is_no_json_are_told_apart() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    for (end, reason) in
        [("error", EndReason::Error), ("panic", EndReason::Panic), ("unserializable", EndReason::Unserializable)]
    {
        let id = server.submit(ROUTE, json!({"end": end})).await;
        is_told(&server, &receiver, &id, Status::Failed, reason).await;
    }
    let id = server.submit(ROUTE, json!({"end": "completed"})).await;
    let report = read(&receiver.wait_for(&id));
    assert_eq!((report.status, report.reason), (Status::Completed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tells_the_error_tells_the_reason_and_whoever_tells_nothing_does_not() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    let id = server.submit("/fail", json!({"text": "no such file"})).await;
    let expected = format!(r#"{{"id":"{id}","status":"failed","reason":"error","error":"no such file"}}"#);
    assert_eq!(receiver.wait_for(&id).body, expected.as_bytes());
    let id = server.submit("/panic", json!({"text": "on purpose"})).await;
    assert_eq!(receiver.wait_for(&id).body, format!(r#"{{"id":"{id}","status":"failed"}}"#).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_half_way_is_told_apart() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    let id = server.submit(ROUTE, json!({"end": "dropped"})).await;
    let report = read(&receiver.wait_for(&format!("left-by-{id}")));
    assert_eq!((report.status, report.reason), (Status::Failed, Some(EndReason::Dropped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_told_apart() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, "timeout = \"1s\""));
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "never"})).await;
    is_told(&server, &receiver, &id, Status::Failed, EndReason::Timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_runs_is_told_apart() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, ""));
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "never"})).await;
    server.process.wait_for(&format!("{id} begins"));
    let response = server.client.delete(server.path(&format!("{ROUTE}/{id}"))).send().await.unwrap();
    assert_eq!(response.status(), 202);
    is_told(&server, &receiver, &id, Status::Cancelled, EndReason::Cancelled).await;
}

/// What a run wanted told outlives it: the worker of the next process settles the request.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_with_its_process_is_told_apart() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, "max_crashes = 1"));
    let id = server.submit(ROUTE, json!({"end": "lost", "gate": "gate"})).await;
    server.process.wait_for(&format!("{id} begins"));
    server.registered(1).await;
    server.open("gate");
    server.process.ended();
    server.restart();
    is_told(&server, &receiver, &id, Status::Failed, EndReason::Lost).await;
}

/// A run put back by a stop left behind what is to be told of its request, which is cancelled while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_waits_for_its_second_run_is_told_apart() {
    let receiver = Receiver::start();
    let settings = settings(&receiver, "") + "[shutdown]\ngrace = \"1s\"\n";
    let mut server = Server::start(&settings);
    let id = server.submit(ROUTE, json!({"end": "completed", "gate": "gate"})).await;
    server.process.wait_for(&format!("{id} begins"));
    server.registered(1).await;
    server.stop();
    // An hour ahead: it waits.
    server.write("UPDATE request SET due = due + 3600000000").await;
    server.restart();
    let response = server.client.delete(server.path(&format!("{ROUTE}/{id}"))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    is_told(&server, &receiver, &id, Status::Cancelled, EndReason::Cancelled).await;
    assert_eq!(answer, json!({"id": id, "status": "cancelled", "reason": "cancelled"}));
}
