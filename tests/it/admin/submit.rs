//! Requests that the operator makes.

use postback_tests::eventually_async;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{API, TOKEN, call, get, ids, printed, refused, run};
use crate::support::Server;

fn submit(server: &Server, route: &str) -> RequestBuilder {
    let url = server.path(&format!("{API}/requests?route={route}"));
    server.client.request(Method::POST, url).bearer_auth(TOKEN)
}

async fn answer(call: RequestBuilder) -> (StatusCode, Value) {
    let answer = call.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_makes_a_request_that_belongs_to_no_token() {
    let secret = "pbk_0123456789_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n"));
    let (_, made) = call(&server, "POST", "/tokens", r#"{"name":"ci"}"#).await;
    let token = made["token"].as_str().unwrap();
    let cookie = format!("postback_session={secret}");
    let call = submit(&server, "/headers").header("postback-metadata", r#"{"order":7}"#).header("cookie", cookie);
    let call = call.header("x-postback-page", "1").header("x-own", "kept").json(&json!({"gate": "open"}));
    let (status, submitted) = answer(call).await;
    assert_eq!((status, &submitted["route"]), (StatusCode::CREATED, &json!("/headers")), "{submitted}");
    let id = submitted["id"].as_str().unwrap();
    server.open("open");
    // No caller sees the request.
    let seen = server.client.get(server.path(&format!("/headers/{id}?wait=5"))).bearer_auth(token);
    assert_eq!(seen.send().await.unwrap().status(), 404);
    let shown = eventually_async("the end of the request", async || {
        let shown = get(&server, &format!("/requests/{id}")).await;
        if shown["status"] == "completed" { Ok(shown) } else { Err(shown) }
    })
    .await;
    assert_eq!((&shown["token"], &shown["metadata"]), (&Value::Null, &json!({"order": 7})));
    let headers = shown["result"]["text"].as_str().unwrap();
    assert!(headers.contains("x-own: kept"), "{headers}");
    for hidden in ["cookie", "x-postback-page", "authorization", TOKEN] {
        assert!(!headers.contains(hidden), "{headers}");
    }
    let entry = &get(&server, "/audit?limit=1").await["items"][0];
    let (what, subject, detail) = (&entry["what"], &entry["subject"], &entry["detail"]);
    assert_eq!((what, subject, detail), (&json!("request.submit"), &json!(id), &json!("/headers")));
    // A key makes one request of two calls. Bytes are taken as they are.
    let again = || submit(&server, "/bytes").header("idempotency-key", "once").body(vec![0, 255]);
    let (first, second) = (answer(again()).await, answer(again()).await);
    assert_eq!(first, second);
    assert_eq!(ids(&get(&server, "/requests?route=/bytes").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_may_not_send_the_operator_may_not_send_either() {
    let settings = format!(
        "[server]\nadmin_token = {TOKEN:?}\nmax_payload = \"1KiB\"\n[worker]\nconcurrency = 1\nmax_queued = 1\n"
    );
    let server = Server::start(&settings);
    let wait = json!({"gate": "never"});
    let long = json!("x".repeat(2000));
    for (call, expected, code, says) in [
        (submit(&server, "/ECHO").json(&1), 404, "not_found", "use /echo"),
        (submit(&server, "/nothing").json(&1), 404, "not_found", "nothing is served at /nothing"),
        (submit(&server, "").json(&1), 400, "invalid_parameter", "`route` must be the path of a route"),
        (submit(&server, "/echo&x=1").json(&1), 400, "invalid_parameter", "unknown query parameter `x`"),
        (submit(&server, "/echo").body("1"), 415, "unsupported_media_type", "content-type is missing"),
        (submit(&server, "/gated").json(&json!({"gate": 1})), 422, "invalid_payload", "gate"),
        (submit(&server, "/echo").json(&long), 413, "payload_too_large", "server.max_payload"),
        (submit(&server, "/echo").json(&1).header("postback-priority", "5"), 400, "invalid_header", "not allowed"),
        (submit(&server, "/echo").json(&1).header("postback-run-at", "soon"), 400, "invalid_header", "postback-run-at"),
        (submit(&server, "/echo").json(&1).header("postback-metadata", "{"), 400, "invalid_header", "is not JSON"),
        (
            submit(&server, "/open").json(&wait).header("postback-webhook", "http://10.0.0.1/"),
            400,
            "invalid_webhook",
            "may not reach",
        ),
    ] {
        let (status, problem) = answer(call).await;
        assert_eq!((status.as_u16(), &problem["code"]), (expected, &json!(code)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    assert!(get(&server, "/audit").await["items"].as_array().unwrap().is_empty(), "nothing was accepted");
    let (status, first) = answer(submit(&server, "/gated").json(&wait)).await;
    assert_eq!(status, 201);
    server.running("/gated", first["id"].as_str().unwrap()).await;
    assert_eq!(answer(submit(&server, "/gated").json(&wait)).await.0, 201);
    let (status, problem) = answer(submit(&server, "/gated").json(&wait)).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("queue_full")), "{problem}");
    server.process.terminate();
    eventually_async("a node that drains", async || {
        let status = server.client.get(server.path("/readyz")).send().await.unwrap().status();
        if status == 503 { Ok(()) } else { Err(status) }
    })
    .await;
    let why = refused(&server, "POST", "/requests?route=/echo", "1", 503).await;
    assert!(why.starts_with("draining"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reads_the_routes_although_callers_need_a_token() {
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n"));
    call(&server, "POST", "/tokens", r#"{"name":"ci"}"#).await;
    let public = server.client.get(server.path("/openapi.json")).send().await.unwrap();
    assert_eq!(public.status(), 401);
    let document = get(&server, "/routes/openapi.json").await;
    let body = &document["paths"]["/described"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["schema"]["$ref"], "#/components/schemas/Order", "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_makes_a_request_of_the_operator() {
    let server = Server::start("");
    std::fs::write(server.folder.path().join("in.json"), r#"{"gate":"gate","text":"a"}"#).unwrap();
    let arguments =
        ["requests", "submit", "/gated", "--input", "in.json", "--header", "postback-metadata: 7", "--json"];
    let submitted: Value = serde_json::from_str(&printed(&server, &arguments)).unwrap();
    let id = submitted["id"].as_str().unwrap();
    assert_eq!(get(&server, &format!("/requests/{id}")).await["metadata"], 7);
    server.open("gate");
    assert_eq!(server.settled("/gated", id).await["result"], "a");
    let text = printed(&server, &["requests", "submit", "/bytes", "--header", "content-type: text/plain"]);
    assert!(text.ends_with(" accepted by /bytes\n"), "{text}");
    let shown = get(&server, &format!("/requests/{}", text.split(' ').next().unwrap())).await;
    assert_eq!((&shown["payload"]["bytes"], &shown["payload"]["text"]), (&json!(0), &json!("")));
    // Only a handler that reads the query has it, and lists show it.
    for (route, is_kept) in [("/choosing/query", true), ("/gated", false)] {
        let made = printed(&server, &["requests", "submit", route, "--input", "in.json", "--query", "lang=en&tag=7"]);
        assert!(made.ends_with(&format!(" accepted by {route}\n")), "{made}");
        let shown = printed(&server, &["requests", "show", made.split(' ').next().unwrap()]);
        let is_there = shown.lines().any(|line| line.split_whitespace().eq(["query", "lang=en&tag=7"]));
        assert_eq!(is_there, is_kept, "{shown}");
        assert!(!shown.contains("postback-query") && shown.contains("tag=7") == is_kept, "{shown}");
    }
    for (arguments, says) in [
        (&["/gated"][..], "the body is empty"),
        (&["/choosing/query", "--input", "in.json"], "the query: missing field `lang`"),
        (&["/gate"], "nothing is served at /gate"),
        (&["/gated", "--input", "out.json"], "cannot read out.json"),
    ] {
        let mut process = run(server.folder.path(), &[&["requests", "submit"], arguments].concat());
        assert_eq!(process.ended().code(), Some(1), "{arguments:?}");
        process.wait_for(says);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let mut process = run(elsewhere.path(), &["requests", "submit", "/gated"]);
    process.wait_for("no server has the database");
}
