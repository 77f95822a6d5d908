//! The reports that arrive at a webhook: their headers, their bytes and their attempts.

use std::time::{SystemTime, UNIX_EPOCH};

use postback_tests::{Answer, Receiver, signature};
use serde_json::json;

use crate::support::{SECRET, Server};

fn signing(url: &str) -> String {
    format!("[config]\nwebhook_url = {url:?}\n[delivery]\nsecrets = [{SECRET:?}]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_has_the_headers_of_the_standard_and_is_signed() {
    let receiver = Receiver::start();
    let server = Server::start(&signing(&receiver.url("/in")));
    let id = server.submit("/echo", json!("x")).await;
    let webhook = receiver.wait_for(&id);
    assert_eq!(webhook.header("content-type"), "application/json");
    assert!(webhook.header("user-agent").starts_with("postback/"));
    let (report, timestamp) = (webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
    assert!(!report.is_empty() && !report.contains('.') && report != id, "{report}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 300, "{timestamp}");
    assert_eq!(webhook.header("webhook-signature"), signature(SECRET, report, timestamp, &webhook.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_has_the_same_id_and_bytes_and_its_own_signature() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before < 2 { 500 } else { 200 }));
    let settings = signing(&receiver.url("/in")) + "schedule = [\"0s\", \"1s\", \"1s\"]\n";
    let server = Server::start(&settings);
    let id = server.submit("/echo", json!({"n": 1})).await;
    let all = receiver.wait(3);
    for webhook in &all {
        assert_eq!((&webhook.body, webhook.header("webhook-id")), (&all[0].body, all[0].header("webhook-id")));
        let expected =
            signature(SECRET, webhook.header("webhook-id"), webhook.header("webhook-timestamp"), &webhook.body);
        assert_eq!(webhook.header("webhook-signature"), expected);
    }
    assert_ne!(all[0].header("webhook-timestamp"), all[2].header("webhook-timestamp"));
    server
        .delivery("/echo", &id, |delivery| delivery["state"] == "delivered" && delivery["webhooks"][0]["attempts"] == 3)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_receiver_down_the_request_completes_and_the_report_waits() {
    // The test occupies the port on 127.0.0.1, so no other program can use it. It does not listen on 127.1.2.3.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.1.2.3:{}/", held.local_addr().unwrap().port());
    let mut server = Server::reporting_to(&url);
    let id = server.submit("/echo", json!("kept")).await;
    let status = server.settled("/echo", &id).await;
    assert_eq!((&status["status"], &status["result"]), (&json!("completed"), &json!("kept")));
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "retrying").await;
    assert!(delivery["webhooks"][0]["next_attempt"].is_string(), "{delivery}");
    server.process.wait_for("connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_invalid_url_the_request_completes_and_the_delivery_is_refused() {
    let mut server = Server::reporting_to("nonsense");
    let id = server.submit("/echo", json!("kept")).await;
    let status = server.settled("/echo", &id).await;
    assert_eq!((&status["status"], &status["result"]), (&json!("completed"), &json!("kept")));
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "refused").await;
    assert!(delivery["webhooks"][0]["reason"].as_str().unwrap().contains("cannot be parsed"), "{delivery}");
    server.process.wait_for("the webhook URL cannot be parsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_schedule_ends_the_delivery() {
    let receiver = Receiver::answering(|_, _| Answer::Status(404));
    let settings =
        format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\", \"1s\"]\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let id = server.submit("/echo", json!(1)).await;
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "dead").await;
    assert_eq!(delivery["webhooks"][0]["attempts"], 2);
    assert_eq!(delivery["webhooks"][0]["last_status"], 404);
    server.process.wait_for("gave up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawned_task_reports_through_the_store_signed() {
    let receiver = Receiver::start();
    let settings = format!(
        "[config]\nwebhook_url = {main:?}\nside_url = {side:?}\n[delivery]\nsecrets = [{SECRET:?}]\n[[delivery.endpoint]]\nurl = {side:?}\nprivate = true\n",
        main = receiver.url("/main"),
        side = receiver.url("/side"),
    );
    let server = Server::start(&settings);
    let id = server.submit("/spawn", json!({})).await;
    let webhook = receiver.wait_for(&format!("side-of-{id}"));
    assert_eq!(webhook.path, "/side");
    assert_eq!(webhook.json()["result"], "from the side");
    let expected = signature(SECRET, webhook.header("webhook-id"), webhook.header("webhook-timestamp"), &webhook.body);
    assert_eq!(webhook.header("webhook-signature"), expected);
    assert_eq!(receiver.wait_for(&id).path, "/main");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_nobody_trusts_does_not_reach_this_machine() {
    let receiver = Receiver::start();
    let settings =
        format!("[config]\nwebhook_url = {:?}\nside_url = {:?}\n", receiver.url("/main"), receiver.url("/side"));
    let mut server = Server::start(&settings);
    let id = server.submit("/spawn", json!({})).await;
    receiver.wait_for(&id);
    server.process.wait_for("delivery.allow_networks");
    // After the stop, no further report can arrive.
    server.stop();
    assert!(receiver.all().iter().all(|received| received.path == "/main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_without_the_attribute_reports_where_its_route_says() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/hook"));
    let id = server.submit("/nested/plain", json!({"text": "plain"})).await;
    assert_eq!(receiver.wait_for(&id).json()["result"], "plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_one_line_for_each_request() {
    let receiver = Receiver::start();
    let mut server =
        Server::start(&format!("[config]\nwebhook_url = {:?}\n[log]\nformat = \"text\"\n", receiver.url("/")));
    let id = server.submit("/echo", json!(1)).await;
    let output = server.process.wait_for("→ delivered 204 in ");
    let line = output.lines().find(|line| line.contains("→ delivered")).unwrap();
    assert!(line.contains(&format!("/echo {id} completed in ")), "{line}");
}
