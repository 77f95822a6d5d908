//! A node that drains. It refuses new requests, and answers status requests until all runs have ended or the grace time
//! is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postback_tests::{Answer, Receiver, eventually_async};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Server, answer};

/// A server that drains and waits for one run, which ends when the gate is opened. Also returns the id of that request.
async fn draining(settings: &str) -> (Server, String) {
    let server = Server::start(settings);
    let id = server.submit("/gated", json!({"gate": "gate", "text": "done"})).await;
    server.running("/gated", &id).await;
    server.process.terminate();
    eventually_async("a node that drains", async || {
        let status = server.client.get(server.path("/readyz")).send().await.unwrap().status();
        if status == 503 { Ok(()) } else { Err(status) }
    })
    .await;
    (server, id)
}

async fn is_draining(response: Response) {
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("draining"), &json!(503)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_are_refused_and_reads_are_answered() {
    let (mut server, id) = draining("[worker]\nconcurrency = 2\n[shutdown]\ngrace = \"10m\"\n").await;
    // The answers are the same on an open connection and on a new one.
    for client in [server.client.clone(), postback_tests::client()] {
        let problem = |request: reqwest::RequestBuilder| request.header("accept", "application/problem+json").send();
        is_draining(problem(client.post(server.path("/echo")).json(&json!(1))).await.unwrap()).await;
        is_draining(problem(client.get(server.path("/readyz"))).await.unwrap()).await;
        let text = client.get(server.path("/readyz")).send().await.unwrap().text().await.unwrap();
        assert!(text.starts_with("error: the server is draining"), "{text}");
        assert_eq!(client.get(server.path("/healthz")).send().await.unwrap().status(), 200);
        assert_eq!(client.get(server.path("/gated/nobody")).send().await.unwrap().status(), 404);
        assert_eq!(server.status("/gated", &id).await["status"], "in_progress");
    }
    // A long poll waits until the run ends.
    let poll = server.hanging(&format!("/gated/{id}?wait=60")).await;
    server.open("gate");
    let answer = answer(poll).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"result\":\"done\""), "{answer}");
    assert_eq!(server.process.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_can_be_cancelled() {
    let (mut server, id) = draining("[shutdown]\ngrace = \"10m\"\n").await;
    let cancelled = server.client.delete(server.path(&format!("/gated/{id}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 202);
    // No work is left, so the process ends.
    assert_eq!(server.process.ended().code(), Some(0));
    server.restart();
    assert_eq!(server.status("/gated", &id).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_can_be_read_during_the_last_attempt() {
    let (arrived, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (seen, wait) = (Arc::clone(&arrived), Arc::clone(&goes_on));
    let receiver = Receiver::answering(move |_, _| {
        seen.store(true, Ordering::SeqCst);
        while !wait.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Answer::Status(204)
    });
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[delivery]\ntimeout = \"1h\"\n[shutdown]\ngrace = \"10m\"\n",
        receiver.url("/")
    );
    let (mut server, id) = draining(&settings).await;
    server.open("gate");
    eventually_async("the attempt", async || if arrived.load(Ordering::SeqCst) { Ok(()) } else { Err(()) }).await;
    let status = server.settled("/gated", &id).await;
    assert_eq!(status["result"], "done");
    goes_on.store(true, Ordering::SeqCst);
    assert_eq!(server.process.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_connections_are_closed_in_good_order() {
    let (mut server, _) = draining("[shutdown]\ngrace = \"10m\"\n").await;
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    client = client.ready().await.unwrap();
    let get = http::Request::get(server.path("/healthz")).body(()).unwrap();
    assert_eq!(client.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
    let idle = server.saying("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    server.open("gate");
    // Both connections end without a reset. The HTTP/2 connection ends with GOAWAY.
    connection.await.unwrap().unwrap();
    let answer = answer(idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(!server.process.output().contains("cut off"), "{}", server.process.output());
}

/// When the grace time is over, a long poll is answered at once with the current status.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_grace_time() {
    let (mut server, id) = draining("[shutdown]\ngrace = \"2s\"\n").await;
    let poll = server.hanging(&format!("/gated/{id}?wait=60")).await;
    let answer = answer(poll).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(server.process.output().contains(&format!("{id} was put back")), "{}", server.process.output());
}
