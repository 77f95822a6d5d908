//! Stopping on a signal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postback_tests::{Answer, Receiver, eventually_async};
use serde_json::{Value, json};

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
    // The request is completed and does not run again. If it ran again, it would wait for the gate. If the stop came
    // before the report was sent, the report is sent now.
    server.close("gate");
    server.restart();
    assert_eq!(server.status("/gated", &id).await["status"], "completed");
    assert_eq!(receiver.wait_for(&id).json()["result"], "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_exceeds_the_grace_time_is_put_back_and_runs_again() {
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
    assert!(
        !server.process.output().contains("taken over"),
        "after a stop, the next start must have nothing to take over"
    );
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

/// The second signal of an operator is not a crash. The request runs again however often that happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_cut_off_by_a_second_signal_does_not_count_as_a_crash() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[worker]\nmax_crashes = 1\n[shutdown]\ngrace = \"10m\"\n",
        receiver.url("/")
    );
    let mut server = Server::start(&settings);
    let id = server.submit("/gated", json!({"gate": "gate", "text": "at last"})).await;
    for _ in 0..3 {
        server.running("/gated", &id).await;
        server.process.interrupt();
        server.process.wait_for("SIGINT: stopping");
        server.process.interrupt();
        assert_eq!(server.process.ended().code(), Some(130));
        server.restart();
    }
    server.open("gate");
    assert_eq!(receiver.wait_for(&id).json()["result"], "at last");
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

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_nothing_more_is_accepted_or_begun() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 1\n[shutdown]\ngrace = \"10m\"\n",
        receiver.url("/")
    );
    let mut server = Server::start(&settings);
    let running = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &running).await;
    let waiting = server.submit("/echo", json!("later")).await;
    server.process.terminate();
    server.process.wait_for("SIGTERM: stopping");
    // After the first refusal, all submissions are refused.
    eventually_async("a refused submission", async || {
        let sent = server.client.post(server.path("/echo")).json(&json!("too late")).send().await.unwrap();
        if sent.status() == 503 { Ok(()) } else { Err(sent.text().await) }
    })
    .await;
    server.open("gate");
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(
        receiver.all().iter().all(|report| report.json()["id"] != *waiting),
        "the waiting request was started after the stop"
    );
    server.restart();
    assert_eq!(server.settled("/echo", &waiting).await["result"], "later");
    assert_eq!(receiver.wait_for(&waiting).json()["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_in_flight_ends_and_is_not_repeated() {
    let (arrived, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (seen, wait) = (Arc::clone(&arrived), Arc::clone(&answer));
    let receiver = Receiver::answering(move |_, _| {
        seen.store(true, Ordering::SeqCst);
        while !wait.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Answer::Status(204)
    });
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/echo", json!("once")).await;
    eventually_async("the attempt", async || if arrived.load(Ordering::SeqCst) { Ok(()) } else { Err(()) }).await;
    server.process.terminate();
    server.process.wait_for("SIGTERM: stopping");
    answer.store(true, Ordering::SeqCst);
    assert_eq!(server.process.ended().code(), Some(0));
    server.restart();
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] != "pending").await;
    assert_eq!((&delivery["state"], &delivery["webhooks"][0]["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_retries_in_the_store_and_the_store_in_one_file() {
    let receiver = Receiver::answering(|_, _| Answer::Status(500));
    let settings =
        format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\", \"1h\"]\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/echo", json!("again")).await;
    let mut before = server.delivery("/echo", &id, |delivery| delivery["state"] == "retrying").await;
    server.stop();
    let mut files: Vec<String> = std::fs::read_dir(server.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["postback.toml", "workload.db", "workload.db.lock"],
        "the write-ahead log must be copied into the file and deleted"
    );
    server.restart();
    let mut after = server.delivery("/echo", &id, |delivery| delivery["state"] == "retrying").await;
    let next = |delivery: &mut Value| {
        let at = delivery["webhooks"][0]["next_attempt"].take();
        humantime::parse_rfc3339(at.as_str().unwrap()).unwrap()
    };
    // The due time is stored in the store's own time, which does not run while the server is stopped. So the time that
    // is shown may differ slightly.
    let (was, is) = (next(&mut before), next(&mut after));
    let apart = is.duration_since(was).or_else(|_| was.duration_since(is)).unwrap();
    assert!(apart < Duration::from_secs(5), "{apart:?}");
    assert_eq!(after, before, "the stop must not change the delivery");
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_wait_for_slow_receivers_do_not_hold_up_the_stop() {
    const MANY: usize = 3_000;
    let answers = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&answers);
    let receiver =
        Receiver::answering(move |_, _| if now.load(Ordering::SeqCst) { Answer::Status(204) } else { Answer::Hang });
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 16\n[delivery]\ntimeout = \"1h\"\n[shutdown]\ngrace = \"1s\"\n",
        receiver.url("/")
    );
    let mut server = Server::start(&settings);
    // These requests have reports that are in flight, or that wait for the reports in flight.
    let mut posts = tokio::task::JoinSet::new();
    let mut ids = HashSet::new();
    for n in 0..MANY {
        if posts.len() == 32 {
            ids.insert(posts.join_next().await.unwrap().unwrap());
        }
        let post = server.client.post(server.path("/wait")).json(&json!({"text": n.to_string()}));
        posts.spawn(async move {
            let answer: Value = post.send().await.unwrap().json().await.unwrap();
            answer["id"].as_str().unwrap().to_owned()
        });
    }
    ids.extend(posts.join_all().await);
    // These requests run without an end, or wait behind such runs.
    for n in 0..64 {
        ids.insert(server.submit("/gated", json!({"gate": "gate", "text": n.to_string()})).await);
    }
    let begun = Instant::now();
    server.process.terminate();
    assert_eq!(server.process.ended().code(), Some(0));
    let took = begun.elapsed();
    // The limit is the grace time, twice the time for last attempts, and a reserve for a slow machine. A receiver may
    // take an hour, so a stop that waited for receivers would exceed it.
    assert!(took < Duration::from_secs(30), "{took:?}");
    answers.store(true, Ordering::SeqCst);
    server.open("gate");
    server.restart();
    eventually_async("a report of each request", async || {
        let reported: HashSet<String> =
            receiver.all().iter().map(|report| report.json()["id"].as_str().unwrap().to_owned()).collect();
        let left = ids.difference(&reported).count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

/// If a part of the process panics, the process ends, so that its supervisor starts a new one. No accepted request is
/// lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_vital_part_ends_the_process() {
    for (metric, said) in [
        ("postback_store_commit_duration_seconds", "the store's writer panicked"),
        ("postback_deliveries_in_flight", "the delivery panicked"),
    ] {
        let receiver = Receiver::start();
        let settings = format!("[config]\nwebhook_url = {:?}\n[shutdown]\ngrace = \"0s\"\n", receiver.url("/"));
        let mut server = Server::start(&settings);
        server.stop();
        std::fs::write(server.folder.path().join("breaks"), metric).unwrap();
        server.restart();
        let id = server.submit("/gated", json!({"gate": "gate", "text": "kept"})).await;
        server.running("/gated", &id).await;
        server.open("break");
        // This request makes every part of the server do something. It may be accepted or not.
        let _ = server.client.post(server.path("/echo")).json(&json!(1)).send().await;
        assert_eq!(server.process.ended().code(), Some(1), "{}", server.process.output());
        let output = server.process.output();
        assert!(output.contains(said), "{output}");
        assert!(output.contains("the process ends, to be started again"), "{output}");
        server.close("break");
        server.restart();
        server.open("gate");
        assert_eq!(receiver.wait_for(&id).json()["result"], "kept");
    }
}
