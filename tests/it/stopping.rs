//! Stopping on a signal.

use postback_tests::Receiver;
use serde_json::json;

use crate::support::{Server, answer};

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_runs_end_and_are_reported() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[shutdown]\ngrace = \"10m\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/gated", json!({"gate": "gate", "text": "finished"})).await;
    server.running("/gated", &id).await;
    server.process.terminate();
    server.process.wait_for("SIGTERM: stopping");
    server.open("gate");
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(!server.process.output().contains("put back"), "{}", server.process.output());
    // It has ended, and does not run again: there it would wait. A report that the stop was too quick for goes out now.
    server.close("gate");
    server.restart();
    assert_eq!(server.status("/gated", &id).await["status"], "completed");
    assert_eq!(receiver.wait_for(&id).json()["result"], "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_over_after_the_grace_time_is_put_back_and_run_again() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[shutdown]\ngrace = \"1s\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/gated", json!({"gate": "gate", "text": "at last"})).await;
    server.running("/gated", &id).await;
    server.process.interrupt();
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(server.process.output().contains(&format!("{id} was put back")), "{}", server.process.output());
    assert!(receiver.all().is_empty());
    server.restart();
    server.running("/gated", &id).await;
    server.open("gate");
    assert_eq!(receiver.wait_for(&id).json()["result"], "at last");
    server.stop();
    assert!(!server.process.output().contains("taken over"), "a stop leaves nothing to take over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start("[shutdown]\ngrace = \"10m\"\n");
    let id = server.submit("/block", json!({"gate": "never"})).await;
    server.running("/block", &id).await;
    server.process.wait_for("a thread is blocked");
    server.process.interrupt();
    server.process.wait_for("SIGINT: stopping");
    server.process.interrupt();
    assert_eq!(server.process.ended().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_does_not_hold_up_the_stop_and_is_answered() {
    let mut server = Server::start("[shutdown]\ngrace = \"0s\"\n");
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    server.running("/gated", &id).await;
    let poll = server.hanging(&format!("/gated/{id}?wait=60")).await;
    server.stop();
    let answer = answer(poll).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&id), "{answer}");
    assert!(!server.process.output().contains("cut off"), "{}", server.process.output());
}
