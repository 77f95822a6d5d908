//! The command `deliveries replay` while no server runs. `admin.rs` has it for a running server.

use std::path::Path;

use postback_tests::{Answer, Process, Receiver};
use serde_json::json;

use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_again_under_the_same_id() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let settings = format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\"]\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/echo", json!("again")).await;
    let first = receiver.wait_for(&id);
    server.delivery("/echo", &id, |delivery| delivery["state"] == "dead").await;
    let webhook_id = first.header("webhook-id").to_owned();
    let replay = |folder: &Path, id: &str| {
        Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["deliveries", "replay", id], &[])
    };
    server.stop();
    let mut replayed = replay(server.folder.path(), &webhook_id);
    assert_eq!(replayed.ended().code(), Some(0));
    replayed.wait_for("again at the next start");
    server.restart();
    let again = receiver.wait(2).remove(1);
    assert_eq!((&again.body, again.header("webhook-id")), (&first.body, &*webhook_id));
    let delivery = server.delivery("/echo", &id, |delivery| delivery["webhooks"][1]["state"] == "delivered").await;
    let webhooks = &delivery["webhooks"];
    assert_eq!((&webhooks[0]["state"], &webhooks[0]["id"]), (&json!("dead"), &json!(webhook_id)));
    assert_eq!((&webhooks[1]["replay_of"], &webhooks[1]["attempts"]), (&json!(webhook_id), &json!(1)));
    assert_ne!(webhooks[1]["id"], json!(webhook_id));
}
