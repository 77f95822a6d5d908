//! Reports of a progress: they come while the run goes on, each newer than the one before, and none after the end.

use std::time::Instant;

use postback_tests::{Answer, Received, Receiver, eventually_async, signature};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{SECRET, Server};

/// The status and the sequence number of each report to `/in` about this request.
fn told(all: &[Received], id: &str) -> Vec<(String, u64)> {
    let of_request = all.iter().map(Received::json).filter(|report| report["id"] == id);
    of_request.map(|report| (report["status"].as_str().unwrap().into(), report["sequence"].as_u64().unwrap())).collect()
}

/// Checks that each report is newer than the one before, and that only the last one is the end.
fn in_order(told: &[(String, u64)]) {
    assert!(told.is_sorted_by(|one, next| one.1 < next.1), "{told:?}");
    let ends = told.iter().position(|(status, _)| status != "progress");
    assert_eq!(ends, Some(told.len() - 1), "{told:?}");
}

/// Waits until the run has told this much. Returns the progress.
async fn stored(server: &Server, id: &str, sequence: u64) -> Value {
    let url = server.path(&format!("/watched/{id}?include=progress"));
    eventually_async("the stored progress", async || {
        let status: Value = server.client.get(&url).send().await.unwrap().json().await.unwrap();
        let reached = status["progress"]["sequence"].as_u64() >= Some(sequence);
        if reached { Ok(status["progress"].clone()) } else { Err(status) }
    })
    .await
}

/// Waits for the end of another request, whose report comes later than all reports that are on their way.
async fn another(server: &Server, receiver: &Receiver) {
    let id = server.submit("/echo", json!("x")).await;
    receiver.wait_for(&id);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_come_while_the_run_goes_on_and_none_after_its_end() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[server]\npublic = [\"metrics\"]\n[delivery]\nsecrets = [{SECRET:?}]\n",
        receiver.url("/in")
    );
    let server = Server::start(&settings);
    let begun = Instant::now();
    let id = server.submit("/watched", json!({"gate": "gate"})).await;
    let some = receiver.wait(3);
    let report = some[2].json();
    assert_eq!((&report["status"], &report["progress"]["fraction"]), (&json!("progress"), &json!(0.5)), "{report}");
    assert!(report["progress"]["message"].as_str().unwrap().starts_with("step "), "{report}");
    assert!(report["timestamp"].is_string() && report["progress"]["detail"].is_null(), "{report}");
    let newest = stored(&server, &id, 1).await;
    assert!(newest["sequence"].as_u64() >= report["sequence"].as_u64(), "{newest} {report}");
    server.open("gate");
    let end = server.settled("/watched", &id).await;
    assert!(!end.as_object().unwrap().contains_key("sequence"), "what callers poll stays as it is: {end}");
    another(&server, &receiver).await;
    let all = receiver.all();
    let told = told(&all[..all.len() - 1], &id);
    in_order(&told);
    assert!(u128::try_from(told.len()).unwrap() <= 3 + begun.elapsed().as_millis() / 500, "{told:?}");
    for report in &all {
        let (id, at) = (report.header("webhook-id"), report.header("webhook-timestamp"));
        assert_eq!(report.header("webhook-signature"), signature(SECRET, id, at, &report.body));
    }
    let mut ids: Vec<_> = all.iter().map(|report| report.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "each report has an id of its own");
    let metrics = server.client.get(server.path("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("postback_progress_reports_total{result=\"sent\"}"), "{metrics}");
}

/// Reads one request, as far as this text.
async fn read_to(socket: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_hangs_is_ended_before_the_report_of_the_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = Server::reporting_to(&format!("http://{}/in", listener.local_addr().unwrap()));
    let id = server.submit("/watched", json!({"gate": "gate"})).await;
    let (mut hanging, _) = listener.accept().await.unwrap();
    read_to(&mut hanging, "\"status\":\"progress\"").await;
    let newest = stored(&server, &id, 4).await["sequence"].as_u64().unwrap();
    server.open("gate");
    let mut earlier = 0;
    // Attempts that took too long may have been followed by others.
    let (mut socket, end) = loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let report = read_to(&mut socket, "\"sequence\":").await;
        if !report.contains("\"status\":\"progress\"") {
            break (socket, report);
        }
        earlier += 1;
        hanging = socket;
    };
    assert!(end.contains("\"status\":\"completed\"") && earlier < newest, "{earlier} of {newest}: {end}");
    socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    server.delivery("/watched", &id, |delivery| delivery["state"] == "delivered").await;
    let mut rest = Vec::new();
    // An end of the connection, or its reset.
    let _ = hanging.read_to_end(&mut rest).await;
    server.stop();
    assert!(!server.process.output().contains("no longer waits for it"), "{}", server.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_grow_over_a_kill_and_a_cancel_ends_them() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/in"));
    let id = server.submit("/watched", json!({"gate": "gate"})).await;
    let before = told(&receiver.wait(2), &id).len();
    server.kill_and_restart();
    // The second run reports, too.
    receiver.wait(before + 3);
    let url = server.path(&format!("/watched/{id}"));
    assert!(server.client.delete(url).send().await.unwrap().status().is_success());
    assert_eq!(server.settled("/watched", &id).await["status"], "cancelled");
    another(&server, &receiver).await;
    let told = told(&receiver.all(), &id);
    in_order(&told);
    assert_eq!(told.last().unwrap().0, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_want_them_gets_the_outcome() {
    for (status, wanted) in [(410, 1), (500, 2)] {
        let is_progress = |received: &Received| received.json()["status"] == "progress";
        let receiver =
            Receiver::answering(move |received, _| Answer::Status(if is_progress(received) { status } else { 204 }));
        let server = Server::reporting_to(&receiver.url("/in"));
        let id = server.submit("/watched", json!({"gate": "gate"})).await;
        receiver.wait(wanted);
        stored(&server, &id, 5).await;
        server.open("gate");
        server.delivery("/watched", &id, |delivery| delivery["state"] == "delivered").await;
        let told = told(&receiver.all(), &id);
        in_order(&told);
        assert!(told.len() == 2 || status == 500, "no more after {status}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_keeps_no_progress_from_others() {
    let (receiver, hanging) = (Receiver::start(), Receiver::answering(|_, _| Answer::Hang));
    let settings =
        format!("[config]\nwebhook_url = {:?}\nside_url = {:?}\n", receiver.url("/in"), hanging.url("/side"));
    let server =
        Server::start(&format!("{settings}[delivery]\ntimeout = \"60s\"\nallow_networks = [\"127.0.0.1/32\"]\n"));
    // More reports than an origin may have in flight that has not answered yet. The others wait in memory.
    for _ in 0..10 {
        server.submit("/spawn", json!(null)).await;
    }
    receiver.wait(10);
    hanging.wait(4);
    let id = server.submit("/watched", json!({"gate": "gate"})).await;
    receiver.wait(13);
    assert_eq!(hanging.all().len(), 4, "its reports still wait");
    server.open("gate");
    receiver.wait_for(&id);
    server.settled("/watched", &id).await;
    another(&server, &receiver).await;
    in_order(&told(&receiver.all(), &id));
}
