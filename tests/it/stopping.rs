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

/// What an operator ends is nobody's fault: the request is run again however often that happens.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_second_signal_cuts_off_counts_no_crash() {
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
    // Once the stop is seen it stays so.
    eventually_async("that nothing is accepted", async || {
        let sent = server.client.post(server.path("/echo")).json(&json!("too late")).send().await.unwrap();
        if sent.status() == 503 { Ok(()) } else { Err(sent.text().await) }
    })
    .await;
    server.open("gate");
    assert_eq!(server.process.ended().code(), Some(0));
    assert!(receiver.all().iter().all(|report| report.json()["id"] != *waiting), "it was begun after the stop");
    server.restart();
    assert_eq!(server.settled("/echo", &waiting).await["result"], "later");
    assert_eq!(receiver.wait_for(&waiting).json()["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_in_flight_ends_and_is_not_made_again() {
    let (arrived, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&answer));
    let receiver = Receiver::answering(move |_, _| {
        tell.store(true, Ordering::SeqCst);
        while !wait.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Answer::Status(204)
    });
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/echo", json!("once")).await;
    eventually_async("the try", async || if arrived.load(Ordering::SeqCst) { Ok(()) } else { Err(()) }).await;
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
    assert_eq!(files, ["postback.toml", "workload.db", "workload.db.lock"], "the log is copied into the file");
    server.restart();
    let mut after = server.delivery("/echo", &id, |delivery| delivery["state"] == "retrying").await;
    let next = |delivery: &mut Value| {
        let at = delivery["webhooks"][0]["next_attempt"].take();
        humantime::parse_rfc3339(at.as_str().unwrap()).unwrap()
    };
    // It goes by a clock that did not run in between, so it may read a little differently.
    let (was, is) = (next(&mut before), next(&mut after));
    let apart = is.duration_since(was).or_else(|_| was.duration_since(is)).unwrap();
    assert!(apart < Duration::from_secs(5), "{apart:?}");
    assert_eq!(after, before, "as if nothing had been");
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
    // So many reports are under way, or wait for those that are.
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
    // And so many requests wait behind runs that do not end.
    for n in 0..64 {
        ids.insert(server.submit("/gated", json!({"gate": "gate", "text": n.to_string()})).await);
    }
    let begun = Instant::now();
    server.process.terminate();
    assert_eq!(server.process.ended().code(), Some(0));
    let took = begun.elapsed();
    // The grace time, twice the time of last attempts, and what a slow machine takes; the receivers have an hour.
    assert!(took < Duration::from_secs(30), "{took:?}");
    answers.store(true, Ordering::SeqCst);
    server.open("gate");
    server.restart();
    eventually_async("that all are told", async || {
        let told: HashSet<String> =
            receiver.all().iter().map(|report| report.json()["id"].as_str().unwrap().to_owned()).collect();
        let left = ids.difference(&told).count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

/// A process that is half dead is ended, so that its supervisor starts a whole one; nothing that was accepted is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_dies_ends_the_process() {
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
        // Accepted or not: it makes every part do something.
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
