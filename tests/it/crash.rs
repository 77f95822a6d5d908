//! The end of a process by `kill -9` or by its own handler, and what the next start does.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postback_tests::{Answer, Receiver, eventually_async};
use serde_json::json;

use crate::commands::said;
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_survives_kill_between_submit_and_completion_and_waits_for_no_lease() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/gated", json!({"gate": "gate", "text": "survived"})).await;
    server.running("/gated", &id).await;
    server.kill_and_restart();
    // The start takes the request over. It does not wait for the end of a lease.
    server.process.wait_for("taken over from an earlier process: 1 requests to run again");
    server.running("/gated", &id).await;
    assert!(receiver.all().is_empty());
    server.open("gate");
    let report = receiver.wait_for(&id).json();
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!("survived")));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_requests_survive_kill() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 1\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let blocker = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &blocker).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(server.submit("/echo", json!(n)).await);
    }
    assert!(receiver.all().is_empty(), "all requests must be waiting");
    server.kill_and_restart();
    server.open("gate");
    for id in ids.iter().chain([&blocker]) {
        assert_eq!(receiver.wait_for(id).json()["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_survives_kill_between_commit_and_delivery() {
    // Attempts are not answered until the process that made them is dead.
    let killed = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&killed);
    let receiver = Receiver::answering(
        move |_, _| {
            if answers.load(Ordering::SeqCst) { Answer::Status(204) } else { Answer::Hang }
        },
    );
    let settings = format!("[config]\nwebhook_url = {:?}\n[delivery]\ntimeout = \"1h\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/echo", json!("kept")).await;
    let first = receiver.wait_for(&id);
    server.process.kill();
    killed.store(true, Ordering::SeqCst);
    server.restart();
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    let attempts = receiver.all();
    assert!(attempts.len() >= 2, "the report must be sent again");
    assert_eq!(delivery["webhooks"][0]["attempts"], attempts.len(), "the attempt with an unknown outcome counts");
    for again in &attempts {
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_its_process_is_given_up_and_reported() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nmax_crashes = 2\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/abort", json!({"gate": "gate"})).await;
    eventually_async("a stored registration", async || {
        let stored = server.registrations().await;
        if stored == 1 { Ok(()) } else { Err(stored) }
    })
    .await;
    server.open("gate");
    server.process.ended();
    // The second process may end before it prints that it is ready.
    server.process = Server::launch(server.folder.path());
    assert_eq!(server.process.ended().code(), None, "the process must end by a signal");
    assert!(receiver.all().is_empty());
    server.restart();
    let report = receiver.wait_for(&id);
    assert_eq!(report.json(), json!({"id": id, "status": "failed"}));
    assert_eq!(server.settled("/abort", &id).await["status"], "failed");
    server.process.wait_for("lost with its process 2 times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_its_process_does_not_fail_other_requests() {
    const NEIGHBOURS: usize = 63;
    let receiver = Receiver::start();
    let settings =
        format!("[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 64\nmax_crashes = 3\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let mut ids = Vec::new();
    for n in 0..NEIGHBOURS {
        ids.push(server.submit("/gated", json!({"gate": "neighbours", "text": n.to_string()})).await);
    }
    let poison = server.submit("/abort", json!({"gate": "poison"})).await;
    for (route, id) in ids.iter().map(|id| ("/gated", id)).chain([("/abort", &poison)]) {
        server.running(route, id).await;
    }
    eventually_async("64 stored registrations", async || {
        let stored = server.registrations().await;
        if stored == 64 { Ok(()) } else { Err(stored) }
    })
    .await;
    server.open("poison");
    assert_eq!(server.process.ended().code(), None, "the process must end by a signal");
    server.open("neighbours");
    // After a crash, the suspects run one by one. The process dies until the request was lost three times.
    let mut deaths = 1;
    while deaths < 3 {
        server.process = Server::launch(server.folder.path());
        assert_eq!(server.process.ended().code(), None, "the process must end by a signal");
        deaths += 1;
    }
    server.restart();
    for id in &ids {
        assert_eq!(receiver.wait_for(id).json()["status"], "completed");
    }
    assert_eq!(receiver.wait_for(&poison).json(), json!({"id": poison, "status": "failed"}));
    server.process.wait_for("lost with its process 3 times");
    assert_eq!(server.crashes().await, [vec![1; NEIGHBOURS], vec![3]].concat());
    // A later request does not wait for the earlier ones.
    let next = server.submit("/echo", json!("next")).await;
    assert_eq!(receiver.wait_for(&next).json()["status"], "completed");
}

/// Runs the crash harness of `tests/crash`. Returns its exit code, which is 0 if every promise was kept, and its
/// output.
fn harness(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crash")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code(), text)
}

#[test]
fn accepted_work_is_delivered_however_often_the_process_is_killed() {
    let (code, output) = harness(&["--kills", "10"]);
    assert_eq!(code, Some(0), "{output}");
}

#[test]
fn the_harness_finds_a_forgotten_request_and_a_forgotten_report() {
    let (code, output) = harness(&["--kills", "5", "--forget"]);
    assert_eq!(code, Some(1), "{output}");
    for promise in ["server: BROKEN: 1 accepted, and never arrived", "library: BROKEN: 1 reports were forgotten"] {
        assert!(output.contains(promise), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_goes_on_where_the_last_one_was() {
    let mut server = Server::start("");
    let id = server.submit("/resuming", json!({"gate": "gate"})).await;
    server.process.wait_for("saved 3");
    server.kill_and_restart();
    server.process.wait_for("saved 6");
    assert_eq!(server.count("checkpoint").await, 1);
    let shown = said(server.folder.path(), &["requests", "show", &id]);
    assert!(shown.contains("\n  checkpoint 1 bytes, saved 20"), "{shown}");
    server.open("gate");
    let settled = server.settled("/resuming", &id).await;
    assert_eq!(settled["result"], json!({"begun_at": 3, "ended_at": 6}));
    // The checkpoint of a request that has ended is deleted soon after its end.
    let deleted = async || match server.count("checkpoint").await {
        0 => Ok(()),
        rows => Err(rows),
    };
    eventually_async("the deleted checkpoint", deleted).await;

    let large = server.submit("/oversized", json!({})).await;
    assert_eq!(server.settled("/oversized", &large).await["status"], "failed");
    server.process.wait_for("the checkpoint has 307202 bytes of JSON, and 262144 are allowed");
}
