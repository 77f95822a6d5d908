//! Handlers that read the query of the call.

use postback_tests::Receiver;
use serde_json::{Value, json};

use crate::support::Server;

const GATE: &str = r#"{"gate":"gate","text":""}"#;

/// Posts to the route with this query. Returns the status, and the answer.
async fn post(server: &Server, query: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let post = server.client.post(server.path(&format!("/choosing/query{query}"))).body(GATE);
    let post = post.header("content-type", "application/json").header("accept", "application/problem+json");
    let post = headers.iter().fold(post, |post, (name, value)| post.header(*name, *value));
    let answer = post.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn accepted(server: &Server, query: &str, headers: &[(&str, &str)]) -> String {
    let (status, answer) = post(server, query, headers).await;
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_with_its_request_over_a_kill_and_a_cancel() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let runs = accepted(&server, "?lang=%C3%A9+en&tag=1&tag=2&wait=x", &[]).await;
    let waits = accepted(&server, "?lang=en", &[("postback-run-at", "+1h")]).await;
    server.running("/choosing/query", &runs).await;
    server.kill_and_restart();
    // The handler is asked for its webhook, and reads its parameters for that.
    let cancelled = server.client.delete(server.path(&format!("/choosing/query/{waits}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    assert_eq!(receiver.wait_for(&waits).json()["status"], "cancelled");
    server.open("gate");
    assert_eq!(receiver.wait_for(&runs).json()["result"], json!({"lang": "é en", "tag": [1, 2]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_does_not_fit_is_refused_with_its_parameter() {
    let server = Server::start("");
    for (query, parameter, says) in [
        ("?lang=en&tag=x", json!("tag[0]"), "the query parameter `tag[0]`: invalid digit"),
        ("?tag=1", Value::Null, "the query: missing field"),
        ("", Value::Null, "the query: missing field"),
    ] {
        let (status, problem) = post(&server, query, &[]).await;
        assert_eq!((status, &problem["code"]), (400, &"invalid_parameter".into()), "{problem}");
        assert_eq!(problem["parameter"], parameter, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(says), "{problem}");
    }
    let (status, problem) = post(&server, &format!("?lang={}", "x".repeat(8 << 10)), &[]).await;
    assert_eq!((status, &problem["code"]), (414, &"uri_too_long".into()));
    // A header with the name under which the server keeps the query is not believed.
    let (status, problem) = post(&server, "?lang=en", &[("postback-query", "lang=fr")]).await;
    assert_eq!((status, &problem["header"]), (400, &"postback-query".into()));
    let document: Value = server.client.get(server.path("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let has_query = |path: &str| {
        let parameters = document["paths"][path]["post"]["parameters"].as_array().unwrap();
        parameters.iter().any(|parameter| parameter["in"] == "query")
    };
    assert!(has_query("/choosing/query") && !has_query("/echo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_or_id_with_another_query_is_refused() {
    let server = Server::start("server.accept_ids = true\n");
    for (name, status, code) in [("idempotency-key", 422, "idempotency_key_reused"), ("x-request-id", 409, "id_taken")]
    {
        let headers = [(name, "order-7")];
        let first = accepted(&server, "?lang=en", &headers).await;
        assert_eq!(accepted(&server, "?lang=en", &headers).await, first);
        let (answered, problem) = post(&server, "?lang=fr", &headers).await;
        assert_eq!((answered, &problem["code"]), (status, &code.into()), "{problem}");
    }
}
