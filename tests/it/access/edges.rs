//! Edges of access: outcomes for callers that may not read, events after a revocation, pages of other sites.

use serde_json::{Value, json};

use super::{call, id, new_token, post, problem, run, serving};
use crate::support::Server;
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_submit_does_not_get_the_outcome() {
    let (server, tokens) = serving("", &[&["submits", "--scopes", "submit"], &["all"]]);
    let submit = |token: &str| {
        let post = call(&server, Method::POST, "/echo", token).json(&json!("secret"));
        post.header("prefer", "wait=30").header("idempotency-key", "k").send()
    };
    for _ in 0..2 {
        let answer = submit(&tokens[0]).await.unwrap();
        assert_eq!(answer.status(), 202);
        let answer = answer.text().await.unwrap();
        assert!(!answer.contains("secret") && answer.contains("\"in_queue\""), "{answer}");
    }
    let answer = submit(&tokens[1]).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["result"], "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_ends_after_its_token_is_revoked() {
    let (server, tokens) = serving("", &[&["ci"], &["other"]]);
    let payload = json!({"gate": "gate", "text": "secret"});
    let id = id(call(&server, Method::POST, "/gated", &tokens[0]).json(&payload).send().await.unwrap()).await;
    let events = |token: String| call(&server, Method::GET, &format!("/gated/{id}/events"), &token).send();
    let mut stream = events(tokens[0].clone()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("in_progress") {
        seen.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    assert_eq!(run(server.folder.path(), &["tokens", "revoke", "ci"]).0, 0);
    server.open("gate");
    let mut rest = Vec::new();
    while let Ok(Some(chunk)) = stream.chunk().await {
        rest.extend_from_slice(&chunk);
    }
    assert!(!String::from_utf8_lossy(&rest).contains("secret"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(problem(events(tokens[1].clone()).await.unwrap(), 404).await["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_changes_nothing_on_a_server_without_tokens() {
    let server = Server::start("[server]\ncors_origins = [\"https://app.example.com\"]\n");
    let own = server.url.clone();
    let from = |origin: &str| {
        let post = server.client.post(server.path("/bytes")).header("accept", "application/problem+json");
        post.header("origin", origin.to_owned()).header("content-type", "text/plain").body("x").send()
    };
    for origin in ["https://evil.example.com", "null", "http://127.0.0.1", "http://127.0.0.1:1"] {
        let answer = problem(from(origin).await.unwrap(), 403).await;
        assert_eq!(answer["code"], "forbidden", "{origin}");
    }
    for origin in ["https://app.example.com", &own] {
        assert_eq!(from(origin).await.unwrap().status(), 200, "{origin}");
    }
    let get = server.client.get(server.path("/bytes")).header("origin", "https://evil.example.com");
    assert_eq!(get.send().await.unwrap().status(), 200, "a page cannot read the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_request_cannot_be_cancelled_and_its_handler_is_not_asked() {
    let (server, tokens) = serving("[worker]\nconcurrency = 1\n", &[&["a"], &["b"]]);
    let payload = json!({"gate": "gate"});
    let submit = || call(&server, Method::POST, "/gated", &tokens[0]).json(&payload).send();
    let (_, waits) = (id(submit().await.unwrap()).await, id(submit().await.unwrap()).await);
    let cancel = |token: String| call(&server, Method::DELETE, &format!("/gated/{waits}"), &token).send();
    assert_eq!(problem(cancel(tokens[1].clone()).await.unwrap(), 404).await["code"], "not_found");
    assert_eq!(cancel(tokens[0].clone()).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_this_version_cannot_read_still_closes_the_server() {
    let (mut server, tokens) = serving("", &[&["ci"]]);
    assert_eq!(post(&server, "/echo", &tokens[0]).await.status(), 200);
    server.stop();
    server.write("UPDATE token SET terms = '{\"scopes\":[\"fly\"]}'").await;
    server.restart();
    for token in ["", &tokens[0], &new_token(server.folder.path(), &["x", "--settings"])] {
        assert_eq!(post(&server, "/echo", token).await.status(), 401);
    }
}
