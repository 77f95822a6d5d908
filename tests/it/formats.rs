//! Reports in the forms of other services: chosen by the settings, kept over a restart, and sent again byte for byte.

use postback_tests::{Answer, Receiver};
use serde_json::{Value, json};

use crate::commands::said;
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_form_is_that_of_the_endpoint_or_the_usual_one() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\nside_url = {:?}\n[delivery]\nformat = \"replicate\"\n\
         [[delivery.endpoint]]\nurl = {:?}\nprivate = true\nformat = \"cloudevents\"\n\
         [[delivery.endpoint]]\nurl = {:?}\nprivate = true\n",
        receiver.url("/events/in"),
        receiver.url("/usual"),
        receiver.url("/events"),
        receiver.url("/usual"),
    );
    let server = Server::start(&settings);
    // The run reports to both.
    let id = server.submit("/spawn", json!(null)).await;
    let event = receiver.wait_for(&id);
    let json = event.json();
    assert_eq!((&json["source"], &json["type"]), (&json!("/spawn"), &json!("postback.request.completed")));
    assert_eq!((&json["subject"], &json["data"]["id"]), (&json!(id), &json!(id)));
    assert_eq!((event.path.as_str(), event.header("content-type")), ("/events/in", "application/cloudevents+json"));
    let usual = receiver.wait_for(&format!("side-of-{id}"));
    let json = usual.json();
    assert_eq!(
        (usual.path.as_str(), &json["status"], &json["output"]),
        ("/usual", &json!("succeeded"), &json!("from the side"))
    );
    let status = server.status("/spawn", &id).await;
    assert_eq!(status["status"], "completed", "what callers poll stays as it is");
    // A trial has the form of its destination, or the one that is asked for.
    let trigger = |arguments: &[&str]| {
        let url = receiver.url("/events/trial");
        let all = [&["trigger", &url, "--status", "failed", "--json"], arguments].concat();
        serde_json::from_str::<Value>(&said(server.folder.path(), &all)).unwrap()[0]["body"].clone()
    };
    assert!(trigger(&[]).as_str().unwrap().contains("\"type\":\"postback.request.failed\""));
    assert!(trigger(&["--format", "runpod"]).as_str().unwrap().contains("\"status\":\"FAILED\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_keeps_its_form_over_a_restart_and_a_replay() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let of_form = |form: &str| {
        format!(
            "[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\"]\nformat = {form:?}\n",
            receiver.url("/in")
        )
    };
    let mut server = Server::start(&of_form("cloudevents"));
    let id = server.submit("/echo", json!("x")).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "dead").await;
    server.stop();
    std::fs::write(server.folder.path().join("postback.toml"), of_form("fal")).unwrap();
    server.restart();
    let replayed = said(server.folder.path(), &["deliveries", "replay", "--all", "--status", "dead"]);
    assert_eq!(replayed, "1 deliveries are sent again\n");
    let webhooks = receiver.wait(2);
    assert_eq!(webhooks[0].body, webhooks[1].body);
    for webhook in &webhooks {
        assert_eq!(webhook.header("content-type"), "application/cloudevents+json");
    }
    let next = server.submit("/echo", json!("y")).await;
    let report: Value = receiver.wait(3).remove(2).json();
    assert_eq!(
        (&report["request_id"], &report["status"], &report["payload"]),
        (&json!(next), &json!("OK"), &json!("y"))
    );
}

#[test]
fn a_wrong_form_is_an_error_that_names_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "delivery.format = \"Standard\"\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_workload"));
    let output = command.arg("check").current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in ["delivery.format", "cortex", "standard", "cloudevents", "replicate", "runpod", "fal"] {
        assert!(said.contains(name), "{said}");
    }
}
