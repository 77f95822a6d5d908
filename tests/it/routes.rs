//! The limits of single routes, and the terms of single requests: when they run, and until when they must have begun.

use std::time::Duration;

use http::header::{ACCEPT, RETRY_AFTER};
use postback_tests::{Answer, Process, Receiver};
use serde_json::json;

use crate::support::Server;

/// Runs the command `check` with these settings. Returns its exit code and its output.
fn checked(settings: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &["check"], variables);
    let code = process.ended().code();
    (code, process.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_route_refuses_its_requests_and_holds_up_no_other() {
    let server = Server::start("[worker]\nconcurrency = 4\n[route.\"/gated\"]\nconcurrency = 1\nmax_queued = 2\n");
    let gated = json!({"gate": "gate"});
    let first = server.submit("/gated", gated.clone()).await;
    server.running("/gated", &first).await;
    let waiting = [server.submit("/gated", gated.clone()).await, server.submit("/gated", gated.clone()).await];
    for id in &waiting {
        assert_eq!(
            server.status("/gated", id).await["status"],
            "in_queue",
            "three slots are free, but the route is full"
        );
    }
    for accept in ["*/*", "application/problem+json"] {
        let post = server.client.post(server.path("/gated")).json(&gated).header(ACCEPT, accept);
        let refused = post.send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        let text = refused.text().await.unwrap();
        assert!(text.contains("2 requests of /gated wait already (max_queued of the route)"), "{text}");
        assert_eq!(text.contains("queue_full"), accept.ends_with("json"), "{text}");
    }
    for n in 0..5 {
        let id = server.submit("/echo", json!(n)).await;
        assert_eq!(server.settled("/echo", &id).await["result"], n);
    }
    let ready = server.client.get(server.path("/readyz?verbose")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    server.open("gate");
    for id in waiting.iter().chain([&first]) {
        assert_eq!(server.settled("/gated", id).await["status"], "completed");
    }
    server.submit("/gated", gated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waiting_requests_of_a_full_route_are_run_after_a_crash() {
    let mut server = Server::start("[route.\"/gated\"]\nconcurrency = 1\n");
    let ids = [
        server.submit("/gated", json!({"gate": "gate"})).await,
        server.submit("/gated", json!({"gate": "gate"})).await,
    ];
    server.running("/gated", &ids[0]).await;
    server.kill_and_restart();
    let echo = server.submit("/echo", json!(1)).await;
    assert_eq!(server.settled("/echo", &echo).await["status"], "completed");
    server.open("gate");
    for id in ids {
        assert_eq!(server.settled("/gated", &id).await["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_a_time_limit_and_attempts_of_its_own() {
    let receiver = Receiver::start();
    let server = Server::start(&format!(
        "[config]\nwebhook_url = {:?}\n[route.\"/gated\"]\ntimeout = \"50ms\"\nmax_attempts = 2\nretry_delay = \"1ms\"\n\
         [route.\"/flaky\"]\nmax_attempts = 2\nretry_delay = \"0s\"\n",
        receiver.url("/hook")
    ));
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    assert_eq!(server.settled("/gated", &id).await["status"], "failed");
    let id = server.submit("/flaky", json!(null)).await;
    assert_eq!(server.settled("/flaky", &id).await["status"], "completed", "its second run completes it");
    let id = server.submit("/fail", json!({"text": "no"})).await;
    assert_eq!(server.settled("/fail", &id).await["status"], "failed", "other routes have one run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_not_begun_by_its_deadline_fails_and_is_reported() {
    let receiver = Receiver::start();
    let server =
        Server::start(&format!("[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 1\n", receiver.url("/hook")));
    let first = server.submit_with("/gated", json!({"gate": "gate"}), &[("postback-deadline", "+1h")]).await;
    server.running("/gated", &first).await;
    let late = server.submit_with("/reasoned", json!({"end": "completed"}), &[("postback-deadline", "+1s")]).await;
    // The only slot is taken all the time.
    let status = server.settled("/reasoned", &late).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("failed"), &json!("expired")), "{status}");
    let report = receiver.wait_for(&late).json();
    assert_eq!((&report["status"], &report["reason"]), (&json!("failed"), &json!("expired")), "{report}");
    assert_eq!(server.status("/gated", &first).await["status"], "in_progress");
    server.open("gate");
    assert_eq!(server.settled("/gated", &first).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_request_waits_also_over_a_restart() {
    let mut server = Server::start("");
    let later = server.submit_with("/echo", json!("later"), &[("postback-run-at", "+1h")]).await;
    let soon = server.submit_with("/echo", json!("soon"), &[("postback-run-at", "+2s")]).await;
    let now = server.submit("/echo", json!("now")).await;
    assert_eq!(server.settled("/echo", &now).await["status"], "completed");
    assert_eq!(server.status("/echo", &soon).await["status"], "in_queue");
    server.kill_and_restart();
    assert_eq!(server.settled("/echo", &soon).await["result"], "soon");
    assert_eq!(server.status("/echo", &later).await["status"], "in_queue");
    let cancelled = server.client.delete(server.path(&format!("/echo/{later}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    assert_eq!(server.settled("/echo", &later).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_priority_runs_first() {
    let server = Server::start("[worker]\nconcurrency = 1\n[route.\"/gated\"]\nallow_priority = true\npriority = 5\n");
    let first = server.submit("/gated", json!({"gate": "first"})).await;
    server.running("/gated", &first).await;
    let gated = |gate: &str| json!({"gate": gate});
    let low = server.submit_with("/gated", gated("low"), &[("postback-priority", "-1")]).await;
    let usual = server.submit_with("/gated", gated("usual"), &[]).await;
    let high = server.submit_with("/gated", gated("high"), &[("postback-priority", "6")]).await;
    for (opens, next) in [("first", &high), ("high", &usual), ("usual", &low)] {
        server.open(opens);
        server.running("/gated", next).await;
    }
    server.open("low");
    server.settled("/gated", &low).await;
    let refused =
        server.client.post(server.path("/echo")).json(&1).header("postback-priority", "1").send().await.unwrap();
    assert_eq!(refused.status(), 400, "the route does not allow it");
}

#[test]
fn a_route_that_the_app_does_not_have_is_an_error_that_names_the_nearest() {
    let (code, output) = checked("[route.\"/ecko\"]\ntimeout = \"1s\"\n", &[]);
    assert_eq!(code, Some(2), "{output}");
    let says = "route.\"/ecko\" (postback.toml:1): the app has no such route; did you mean /echo?";
    assert!(output.contains(says), "{output}");
    let (code, output) = checked("", &[("POSTBACK_ROUTE__ECKO__TIMEOUT", "1s")]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("POSTBACK_ROUTE__ECKO__TIMEOUT") && output.contains("did you mean /echo?"), "{output}");
    let (code, output) = checked("[route.\"/echo\"]\nmax_crashes = 1\nconcurrency = 0\n", &[]);
    assert_eq!(code, Some(2), "{output}");
    for says in ["route.\"/echo\".max_crashes", "worker.max_crashes", "a whole number from 1 to 65536"] {
        assert!(output.contains(says), "{output}");
    }
}

#[test]
fn the_limits_of_routes_are_printed() {
    let settings = "[route.\"/echo\"]\nconcurrency = 7\nretention = \"1d\"\n";
    let (code, output) = checked(settings, &[("POSTBACK_ROUTE__ECHO__CONCURRENCY", "8")]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("concurrency 8, retention 24 h 0 min"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_while_deliveries_have_used_up_their_files() {
    // The receiver never answers, so each delivery keeps its connection. 460 files are few: 256 of them are for the store
    // and everything else, 2 for each of 64 attempts, and the rest are connections.
    let receiver = Receiver::answering(|_, _| Answer::Hang);
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[delivery]\nconcurrency = 64\nper_origin = 64\n[server]\nlisten = \"127.0.0.1:0\"\n",
        receiver.url("/hook")
    );
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let script = "ulimit -n 460 && exec \"$0\" serve";
    let arguments = ["-c", script, env!("CARGO_BIN_EXE_workload")];
    let mut process = Process::start("/bin/sh", folder.path(), &arguments, &[]);
    let url = process.ready();
    let server = Server { process, url, client: postback_tests::client(), folder };
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(server.submit("/echo", json!(n)).await);
    }
    receiver.wait(32);
    let answer = tokio::time::timeout(Duration::from_secs(30), server.settled("/echo", &ids[99])).await.unwrap();
    assert_eq!(answer["status"], "completed");
    let new = server.submit("/echo", json!("new")).await;
    assert_eq!(server.settled("/echo", &new).await["result"], "new");
    let files = server.process.open_files();
    assert!(files < 400, "{files} of 460 files are open");
}
