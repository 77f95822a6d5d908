//! Each log line of a run names its request, whether the handler or a library writes the line.

use postback_tests::Receiver;
use serde_json::{Value, json};

use crate::support::Server;

/// The lines that the handler logs in each run. `true` means that the line's `request_id` is the id of the request.
const LINES: [(&str, bool); 5] = [
    ("at the start", true),
    ("of another", false),
    ("in a task", true),
    ("on a thread", true),
    ("panicked at tests/src/bin/workload.rs", true),
];

fn settings(receiver: &Receiver, log: &str) -> String {
    let url = receiver.url("/");
    format!("[config]\nwebhook_url = {url:?}\n[worker]\nmax_attempts = 2\nretry_delay = \"10ms\"\n[log]\n{log}\n")
}

/// Runs a request that fails twice. Returns its id, and the output of the server until the report was delivered.
async fn logged(log: &str) -> (String, String) {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, log));
    let id = server.submit("/logging", json!({"work_ms": 1, "text": "on purpose"})).await;
    receiver.wait_for(&id);
    let output = server.process.wait_for("→ delivered 204");
    (id, output)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_json_each_line_has_the_fields_of_its_run() {
    let (id, output) = logged("format = \"json\"").await;
    let lines: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for attempt in [1, 2] {
        for (said, is_own) in LINES {
            let of_this = |line: &&Value| {
                line["message"].as_str().is_some_and(|text| text.starts_with(said)) && line["attempt"] == attempt
            };
            let line = lines.iter().find(of_this).unwrap_or_else(|| panic!("{attempt}: {said}\n{output}"));
            assert_eq!(line["request_id"], if is_own { &*id } else { "another" }, "{line}");
            assert_eq!(line["route"], "/logging", "{line}");
        }
    }
    let of = |text: &str| lines.iter().find(|line| line["message"].as_str().is_some_and(|said| said.contains(text)));
    let retry = of("→ runs again in").unwrap();
    let fields = ["request_id", "route", "attempt", "outcome", "reason"].map(|name| retry[name].clone());
    assert_eq!(json!(fields), json!([id, "/logging", 1, "retry", "panic"]));
    let delivered = of("→ delivered 204").unwrap();
    let fields = ["request_id", "route", "attempt", "http_status", "outcome"].map(|name| delivered[name].clone());
    assert_eq!(json!(fields), json!([id, "/logging", 1, 204, "delivered"]));
    assert!(delivered["webhook_id"].is_string(), "{delivered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_text_the_fields_of_the_run_come_before_the_handlers_text() {
    // The second level also leaves out the warnings of all other crates.
    for level in ["info", "postback=info,workload=info"] {
        let (id, output) = logged(&format!("format = \"text\"\nlevel = {level:?}")).await;
        for attempt in [1, 2] {
            let run = format!("run{{request_id={id} route=\"/logging\" attempt={attempt}}}: ");
            for (said, _) in LINES {
                assert!(output.contains(&format!("{run}{said}")), "{run}{said}\n{output}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_request_without_a_webhook_has_the_same_fields() {
    let mut server = Server::start("[log]\nformat = \"json\"\n");
    let id = server.submit("/fail", json!({"text": "no"})).await;
    let output = server.process.wait_for("→ no webhook");
    let line = output.lines().find(|line| line.contains("→ no webhook")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let fields = ["request_id", "route", "attempt", "outcome", "reason"].map(|name| line[name].clone());
    assert_eq!(json!(fields), json!([id, "/fail", 1, "failed", "error"]), "{line}");
}
