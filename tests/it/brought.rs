//! What callers bring in headers: idempotency keys, ids, webhooks, metadata, times, time limits and traces.

use postback_tests::{Receiver, eventually_async};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::support::Server;

/// Allows the webhooks of callers to reach the receivers of these tests.
const NETWORK: &str = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n";

async fn post(server: &Server, route: &str, payload: &Value, headers: &[(&str, &str)]) -> Response {
    let mut request = server.client.post(server.path(route)).json(payload);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn accepted(server: &Server, route: &str, payload: &Value, headers: &[(&str, &str)]) -> String {
    let response = post(server, route, payload, headers).await;
    let (status, answer) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Returns the status and the problem document of a call that is refused.
async fn refused(server: &Server, route: &str, payload: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let headers = [headers, &[("accept", "application/problem+json")]].concat();
    let response = post(server, route, payload, &headers).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_is_the_same_request_and_has_the_same_outcome() {
    let mut server = Server::start("");
    let (key, payload) = ([("idempotency-key", "\"order-7\"")], json!({"text": "once"}));
    let id = accepted(&server, "/nested/plain", &payload, &key).await;
    assert_eq!(accepted(&server, "/nested/plain", &payload, &[("idempotency-key", "order-7")]).await, id);
    let waiting = [key[0], ("prefer", "wait=30")];
    let outcome: Value = post(&server, "/nested/plain", &payload, &waiting).await.json().await.unwrap();
    assert_eq!((&outcome["id"], &outcome["result"]), (&id.as_str().into(), &"once".into()));

    let (status, problem) = refused(&server, "/nested/plain", &json!({"text": "twice"}), &key).await;
    assert_eq!((status, &problem["code"]), (422, &"idempotency_key_reused".into()), "{problem}");
    assert_ne!(accepted(&server, "/echo", &payload, &key).await, id, "the key belongs to its route");

    server.kill_and_restart();
    assert_eq!(accepted(&server, "/nested/plain", &payload, &key).await, id, "the key is stored");
    assert_eq!(server.count("request").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_request_is_being_accepted_is_told_to_come_again() {
    let server = Server::start("");
    let head = "POST /nested/plain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nidempotency-key: k\r\n\
                expect: 100-continue\r\ncontent-length: 13\r\n\r\n";
    let mut slow = server.saying(head).await;
    // The server asks for the body once it has checked the head and taken the key.
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert_ne!(slow.read_buf(&mut asked).await.unwrap(), 0);
    }
    assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    let payload = json!({"text": "a"});
    let problem = post(&server, "/nested/plain", &payload, &[("idempotency-key", "k")]).await;
    assert_eq!((problem.status().as_u16(), problem.headers()["retry-after"].to_str().unwrap()), (409, "1"));
    drop(slow);
    let again = eventually_async("the key to be free", async || {
        let response = post(&server, "/nested/plain", &payload, &[("idempotency-key", "k")]).await;
        if response.status() == 200 { Ok(response) } else { Err(response.status()) }
    });
    again.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_at_once_with_one_key_one_is_run() {
    let server = Server::start("");
    let calls = (0..32).map(|_| async {
        loop {
            let response = post(&server, "/echo", &json!(1), &[("idempotency-key", "k")]).await;
            if response.status() == 200 {
                return response.json::<Value>().await.unwrap()["id"].clone();
            }
            assert_eq!(response.status(), 409);
        }
    });
    let ids = futures_util::future::join_all(calls).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(server.count("request").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ids_of_callers_are_taken_where_the_operator_says_so() {
    let server = Server::start("[server]\naccept_ids = true\n");
    let id = [("x-request-id", "job-7")];
    assert_eq!(accepted(&server, "/echo", &json!(1), &id).await, "job-7");
    assert_eq!(accepted(&server, "/echo", &json!(1), &id).await, "job-7");
    let (status, problem) = refused(&server, "/echo", &json!(2), &id).await;
    assert_eq!((status, &problem["code"]), (409, &"id_taken".into()));
    assert_eq!(refused(&server, "/bytes", &json!(1), &id).await.0, 409);
    let (status, problem) = refused(&server, "/echo", &json!(1), &[("x-request-id", "a/b")]).await;
    assert_eq!((status, &problem["header"]), (400, &"x-request-id".into()));
    assert_eq!(server.settled("/echo", "job-7").await["result"], 1);
    assert_eq!(accepted(&server, "/echo", &json!(1), &[]).await.len(), 36);

    let without = Server::start("");
    assert_ne!(accepted(&without, "/echo", &json!(1), &id).await, "job-7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_its_id_while_the_queue_is_full() {
    let server = Server::start("[server]\naccept_ids = true\n[worker]\nconcurrency = 1\nmax_queued = 1\n");
    let blocker = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &blocker).await;
    let (id, key) = (("x-request-id", "job-7"), ("idempotency-key", "k"));
    assert_eq!(accepted(&server, "/echo", &json!(1), &[id, key]).await, "job-7");
    for new in [&[][..], &[("x-request-id", "job-8")], &[("idempotency-key", "other")]] {
        let (status, problem) = refused(&server, "/echo", &json!(1), new).await;
        assert_eq!((status, &problem["code"]), (503, &"queue_full".into()), "{new:?}");
    }
    assert_eq!(accepted(&server, "/echo", &json!(1), &[id]).await, "job-7");
    assert_eq!(accepted(&server, "/echo", &json!(1), &[key]).await, "job-7");
    for (headers, code) in [(&[id], "id_taken"), (&[key], "idempotency_key_reused")] {
        assert_eq!(refused(&server, "/echo", &json!(2), headers).await.1["code"], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_webhook_is_told_beside_the_operators_and_unsigned() {
    let (own, callers) = (Receiver::start(), Receiver::start());
    let secrets = format!("secrets = [{:?}]\n", crate::support::SECRET);
    let server = Server::start(&format!("[config]\nwebhook_url = {:?}\n{NETWORK}{secrets}", own.url("/")));
    server.open("gate");
    let url = callers.url("/in?order=7");
    let headers = [("postback-webhook", &*url), ("postback-metadata", r#"{"order": 7}"#)];
    let id = accepted(&server, "/open", &json!({"gate": "gate", "text": "x"}), &headers).await;
    let (to_own, to_caller) = (own.wait_for(&id), callers.wait_for(&id));
    assert_eq!(to_own.body, to_caller.body);
    assert_eq!(to_own.json()["metadata"], json!({"order": 7}));
    assert_ne!(to_own.header("webhook-id"), to_caller.header("webhook-id"));
    assert!(!to_own.header("webhook-signature").is_empty() && to_caller.header("webhook-signature").is_empty());
    assert_eq!(to_caller.path, "/in?order=7");
    assert_eq!(server.status("/open", &id).await["metadata"], json!({"order": 7}));

    let (status, problem) = refused(&server, "/gated", &json!({"gate": "gate"}), &headers[..1]).await;
    assert_eq!((status, &problem["header"]), (400, &"postback-webhook".into()));
    let (status, problem) =
        refused(&server, "/open", &json!({"gate": "g"}), &[("postback-webhook", "http://10.0.0.1/")]).await;
    assert_eq!((status, &problem["code"]), (400, &"invalid_webhook".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_webhook_and_metadata_survive_a_kill_and_a_cancel() {
    let callers = Receiver::start();
    let mut server = Server::start(&format!("{NETWORK}[worker]\nconcurrency = 1\n"));
    let url = callers.url("/");
    let headers = [("postback-webhook", &*url), ("postback-metadata", "7")];
    let runs = accepted(&server, "/open", &json!({"gate": "gate", "text": "x"}), &headers).await;
    server.running("/open", &runs).await;
    let waits = accepted(&server, "/open", &json!({"gate": "gate", "text": "x"}), &headers).await;
    server.kill_and_restart();
    let cancelled = server.client.delete(server.path(&format!("/open/{waits}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    assert_eq!(callers.wait_for(&waits).json(), json!({"id": waits, "status": "cancelled", "metadata": 7}));
    server.open("gate");
    let report = callers.wait_for(&runs).json();
    assert_eq!((&report["status"], &report["metadata"]), (&"completed".into(), &7.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_runs_at_its_time_and_not_before() {
    let mut server = Server::start("");
    let id = accepted(&server, "/echo", &json!(1), &[("postback-run-at", "+1h")]).await;
    let soon = accepted(&server, "/echo", &json!(2), &[("postback-run-at", "+1s")]).await;
    assert_eq!(server.settled("/echo", &soon).await["result"], 2);
    assert_eq!(server.status("/echo", &id).await["status"], "in_queue");
    server.kill_and_restart();
    let next = server.submit("/echo", json!(3)).await;
    assert_eq!(server.settled("/echo", &next).await["result"], 3);
    assert_eq!(server.status("/echo", &id).await["status"], "in_queue", "a restart makes nothing due");
    let cancelled = server.client.delete(server.path(&format!("/echo/{id}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_continues_the_trace_of_its_request() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let traced = accepted(&server, "/echo", &json!(1), &[("traceparent", parent), ("tracestate", "a=1")]).await;
    let report = receiver.wait_for(&traced);
    let (trace, state) = (report.header("traceparent"), report.header("tracestate"));
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-00"), "{trace}");
    assert!(trace != parent && state == "a=1");
    let fresh = accepted(&server, "/echo", &json!(1), &[]).await;
    let trace = receiver.wait_for(&fresh).header("traceparent").to_owned();
    assert!(trace.starts_with(&format!("00-{}-", fresh.replace('-', ""))) && trace.ends_with("-01"), "{trace}");

    let gated = accepted(&server, "/gated", &json!({"gate": "gate"}), &[("traceparent", parent)]).await;
    server.running("/gated", &gated).await;
    server.kill_and_restart();
    server.open("gate");
    assert!(receiver.wait_for(&gated).header("traceparent").contains("4bf92f3577b34da6a3ce929d0e0e4736"));
}
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_shorten_the_time_of_a_run() {
    let server = Server::start("");
    let id = accepted(&server, "/gated", &json!({"gate": "never"}), &[("postback-timeout", "50ms")]).await;
    assert_eq!(server.settled("/gated", &id).await["status"], "failed");
    let (status, problem) = refused(&server, "/gated", &json!({"gate": "g"}), &[("postback-timeout", "2h")]).await;
    assert_eq!((status, &problem["header"]), (400, &"postback-timeout".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_reads_the_metadata_of_its_caller() {
    let server = Server::start("");
    for (headers, expected) in
        [(&[("postback-metadata", r#"{"order": 7}"#)][..], json!({"order": 7})), (&[], json!(null))]
    {
        let id = server.submit_with("/about", json!({}), headers).await;
        assert_eq!(server.settled("/about", &id).await.get("result").cloned().unwrap_or_default(), expected);
    }
}
