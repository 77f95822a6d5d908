//! `/metrics`: who sees it, what it shows, and that it moves.

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use postback_tests::{Receiver, eventually_async};
use serde_json::json;

use crate::support::Server;

const TOKEN: &str = "0123456789abcdef-admin";
const PUBLIC: &str = "[server]\npublic = [\"metrics\"]\n";

fn with_token() -> String {
    format!("[server]\nadmin_token = {TOKEN:?}\n")
}

/// The text of `/metrics`.
async fn text(server: &Server) -> String {
    let response = server.client.get(server.path("/metrics")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.text().await.unwrap()
}

/// Waits until `/metrics` has all of these lines.
async fn has(server: &Server, lines: &[&str]) {
    eventually_async("the metrics", async || {
        let text = text(server).await;
        if lines.iter().all(|line| text.lines().any(|of_text| of_text == *line)) { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Calls `/metrics` without the admin token. Returns the status and the problem document.
async fn refused(server: &Server, token: Option<&str>) -> (StatusCode, serde_json::Value) {
    let mut get = server.client.get(server.path("/metrics")).header("accept", "application/problem+json");
    if let Some(token) = token {
        get = get.bearer_auth(token);
    }
    let response = get.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_delivery_are_counted() {
    let receiver = Receiver::start();
    let server = Server::start(&format!("[config]\nwebhook_url = {:?}\n{}", receiver.url("/in"), with_token()));
    let id = server.submit("/echo", json!({"text": "x"})).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    has(
        &server,
        &[
            "# TYPE postback_requests_accepted_total counter",
            "postback_requests_accepted_total{route=\"/echo\"} 1",
            "postback_requests_finished_total{route=\"/echo\",status=\"completed\",reason=\"none\"} 1",
            "postback_delivery_attempts_total{result=\"delivered\"} 1",
            "# TYPE postback_run_duration_seconds histogram",
            "postback_run_duration_seconds_count{route=\"/echo\"} 1",
            "postback_delivery_duration_seconds_bucket{le=\"+Inf\"} 1",
            "# HELP postback_reports_posted_total Reports that the store accepted for delivery.",
        ],
    )
    .await;
    server.submit("/echo", json!({"text": "x"})).await;
    has(&server, &["postback_requests_accepted_total{route=\"/echo\"} 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_alerts_watch_is_there_before_anything_happens() {
    let server = Server::start(&format!("[worker]\nmax_queued = 77\nmax_queued_bytes = \"5MiB\"\n{}", with_token()));
    server.client.get(server.path("/nothing")).send().await.unwrap();
    has(
        &server,
        &[
            "postback_requests_queued_limit 77",
            "postback_requests_queued_limit_bytes 5242880",
            "postback_requests_oldest_waiting_seconds{route=\"/echo\"} 0",
            "postback_deliveries_oldest_due_seconds 0",
            "postback_reports_parked 0",
            "postback_reports_held 0",
            "postback_webhooks_disabled{by=\"receiver\"} 0",
            "postback_store_trouble{kind=\"fails\"} 0",
            "postback_store_trouble{kind=\"unreadable\"} 0",
            "postback_reports_lost_total{reason=\"store\"} 0",
            "postback_deliveries_finished_total{state=\"dead\"} 0",
            "postback_requests_refused_total{reason=\"max_queued\"} 0",
            "postback_error_answers_total{code=\"not_found\"} 1",
        ],
    )
    .await;
    let id = server.submit("/echo", json!({"text": "x"})).await;
    server.settled("/echo", &id).await;
    has(&server, &["postback_requests_running{route=\"/echo\"} 0"]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let text = text(&server).await;
    let started = text.lines().find_map(|line| line.strip_prefix("postback_start_time_seconds ")).unwrap();
    let ago = now - started.parse::<f64>().unwrap();
    assert!((0.0..3600.0).contains(&ago), "{started}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_sees_it_unless_the_settings_say_otherwise() {
    let server = Server::start(&with_token());
    assert!(text(&server).await.contains("postback_store_commit_operations_count"));
    for token in [None, Some("0123456789abcdef-wrong"), Some("pbk_k3v9x2m7qa_0123456789")] {
        let (status, problem) = refused(&server, token).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")), "{token:?}");
        assert!(problem["detail"].as_str().unwrap().contains("server.admin_token"), "{problem}");
    }
    // The name of the server is checked as for all other calls.
    let other = server.client.get(server.path("/metrics")).header("host", "evil.example").bearer_auth(TOKEN);
    assert_eq!(other.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);

    let server = Server::start("");
    let (status, problem) = refused(&server, Some(TOKEN)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    assert!(problem["detail"].as_str().unwrap().contains("server.public"), "{problem}");

    let server = Server::start(PUBLIC);
    let response = server.client.get(server.path("/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_the_token_has_to_wait() {
    let server = Server::start(&with_token());
    eventually_async("the refusal of all guesses", async || {
        let (status, _) = refused(&server, Some("0123456789abcdef-wrong")).await;
        if status == StatusCode::TOO_MANY_REQUESTS { Ok(()) } else { Err(status) }
    })
    .await;
    assert!(text(&server).await.contains("postback_authentication_failures_total{reason=\"unknown\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_options_and_other_methods_are_answered_as_at_every_path() {
    let server = Server::start(PUBLIC);
    let call = async |method: Method| server.client.request(method, server.path("/metrics")).send().await.unwrap();
    let head = call(Method::HEAD).await;
    assert_eq!(
        (head.status(), head.headers()["content-type"].to_str().unwrap().split(';').next()),
        (StatusCode::OK, Some("text/plain"))
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    let options = call(Method::OPTIONS).await;
    assert_eq!(
        (options.status(), &options.headers()["allow"]),
        (StatusCode::NO_CONTENT, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    let post = call(Method::POST).await;
    assert_eq!(
        (post.status(), &post.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_api_shows_the_same() {
    let server = Server::start(&with_token());
    let below = server.client.get(server.path("/_postback/api/metrics")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(below.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(below.text().await.unwrap().contains("# TYPE postback_store_commit_duration_seconds histogram"));
    let mut socket = UnixStream::connect(server.folder.path().join("workload.db.sock")).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("# TYPE postback_store_commit_duration_seconds histogram"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_of_the_program_keeps_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), PUBLIC).unwrap();
    // The program installs its own recorder if it finds this file.
    std::fs::write(folder.path().join("breaks"), "none").unwrap();
    let mut process = Server::launch(folder.path());
    let url = process.ready();
    let server = Server { process, url, client: postback_tests::client(), folder };
    let (status, problem) = refused(&server, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().unwrap().contains("recorder of its own"), "{problem}");
    // A setting for all does not change what the operator is told.
    server.submit("/echo", json!({"text": "x"})).await;
}
