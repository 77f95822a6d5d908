//! The commands `endpoints list` and `endpoints enable`, for URLs that their receiver disabled with 410.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postback_tests::{Answer, Process, Receiver};
use serde_json::json;

use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_its_receiver_disabled_is_listed_and_enabled_while_the_server_runs() {
    let gone = Arc::new(AtomicBool::new(true));
    let is_gone = Arc::clone(&gone);
    let receiver =
        Receiver::answering(move |_, _| Answer::Status(if is_gone.load(Ordering::SeqCst) { 410 } else { 204 }));
    let server = Server::reporting_to(&receiver.url("/"));
    let first = server.submit("/echo", json!("first")).await;
    server.delivery("/echo", &first, |delivery| delivery["state"] == "gone").await;
    let held = server.submit("/echo", json!("held")).await;
    server.delivery("/echo", &held, |delivery| delivery["webhooks"][0]["reason"].is_string()).await;
    let ready = server.client.get(server.path("/readyz?verbose")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let text = ready.text().await.unwrap();
    assert!(text.contains("webhooks: 1 disabled"), "{text}");

    let run = |arguments: &[&str]| Process::start(env!("CARGO_BIN_EXE_workload"), server.folder.path(), arguments, &[]);
    let mut listed = run(&["endpoints", "list"]);
    assert_eq!(listed.ended().code(), Some(0));
    listed.wait_for("answered 410");
    gone.store(false, Ordering::SeqCst);
    let mut enabled = run(&["endpoints", "enable", &receiver.url("/")]);
    assert_eq!(enabled.ended().code(), Some(0));
    enabled.wait_for("is enabled; 1 report held");
    server.delivery("/echo", &held, |delivery| delivery["state"] == "delivered").await;
    let mut again = run(&["endpoints", "enable", &receiver.url("/")]);
    assert_eq!(again.ended().code(), Some(1));
    again.wait_for("is not disabled");
}
