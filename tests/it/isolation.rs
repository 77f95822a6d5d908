//! Handlers that block their threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postback_tests::{Answer, Receiver, eventually};
use serde_json::json;

use crate::support::Server;

/// The number of handler threads of the workload server.
const THREADS: usize = 2;

/// Blocks every handler thread until the server ends, with more blocking runs than threads.
async fn block_all_threads(server: &Server) {
    let mut blocking = Vec::new();
    for _ in 0..2 * THREADS {
        blocking.push(server.submit("/block", json!({"gate": "never"})).await);
    }
    for id in &blocking {
        server.running("/block", id).await;
    }
    eventually("a blocked thread for each handler thread", || {
        let output = server.process.output();
        if output.matches("a thread is blocked").count() == THREADS { Ok(()) } else { Err(output) }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_block_every_thread_stop_neither_health_nor_submits_nor_polls() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/"));
    let before = server.submit("/echo", json!("before")).await;
    receiver.wait_for(&before);
    block_all_threads(&server).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(server.submit("/echo", json!("later")).await);
        assert_eq!(server.client.get(server.path("/healthz")).send().await.unwrap().status(), 200);
    }
    assert_eq!(server.status("/echo", &before).await["status"], "completed");
    for id in &waiting {
        let status = server.status("/echo", id).await;
        assert!(status["status"] == "in_queue" || status["status"] == "in_progress", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_go_out_while_every_handler_thread_computes() {
    // The receiver takes no webhook until all handler threads are blocked.
    let blocked = Arc::new(AtomicBool::new(false));
    let taken = Arc::clone(&blocked);
    let receiver =
        Receiver::answering(move |_, _| Answer::Status(if taken.load(Ordering::SeqCst) { 204 } else { 503 }));
    let schedule = format!("\"0s\"{}", ", \"1s\"".repeat(99));
    let settings = format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [{schedule}]\n", receiver.url("/"));
    let server = Server::start(&settings);
    let id = server.submit("/echo", json!("reported")).await;
    receiver.wait_for(&id);
    block_all_threads(&server).await;
    blocked.store(true, Ordering::SeqCst);
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    assert!(delivery["webhooks"][0]["attempts"].as_u64().unwrap() >= 2, "{delivery}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_past_its_time_limit_is_reported_although_its_thread_is_blocked() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\ntimeout = \"3s\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/block", json!({"gate": "never"})).await;
    server.process.wait_for("a thread is blocked");
    assert_eq!(receiver.wait_for(&id).json(), json!({"id": id, "status": "failed"}));
}
