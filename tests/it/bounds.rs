//! The limits for waiting requests. A refusal names the limit.

use http::header::{ACCEPT, RETRY_AFTER};
use postback_tests::eventually_async;
use serde_json::{Value, json};

use crate::support::Server;

/// A server with these limits. Its only slot is occupied until the gate is open.
async fn blocked(bounds: &str, payload: &Value) -> Server {
    let server = Server::start(&format!("[worker]\nconcurrency = 1\n{bounds}\n"));
    let blocker = server.submit("/gated", payload.clone()).await;
    server.running("/gated", &blocker).await;
    server
}

async fn post(server: &Server, payload: &Value) -> reqwest::Response {
    server.client.post(server.path("/echo")).json(payload).send().await.unwrap()
}

async fn accepts_again(server: &Server) {
    eventually_async("a request that is accepted", async || {
        let status = post(server, &json!("again")).await.status();
        if status == 200 { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_limit_are_refused_and_others_are_served() {
    let server = blocked("max_queued = 3", &json!({"gate": "gate"})).await;
    let payload = json!("x");
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let post = server.client.post(server.path("/echo")).json(&payload);
        posts.spawn(async move { post.send().await.unwrap() });
    }
    let answers = posts.join_all().await;
    let mut accepted = Vec::new();
    for answer in answers {
        if answer.status() == 200 {
            let body: Value = answer.json().await.unwrap();
            accepted.push(body["id"].as_str().unwrap().to_owned());
            continue;
        }
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key(RETRY_AFTER));
        let text = answer.text().await.unwrap();
        assert!(text.contains("3 requests wait already (worker.max_queued)") && text.contains("try again"), "{text}");
    }
    assert_eq!(accepted.len(), 3);
    let problem = server.client.post(server.path("/echo")).json(&payload).header(ACCEPT, "application/problem+json");
    let problem: Value = problem.send().await.unwrap().json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("worker.max_queued"), "{problem}");
    // Status requests are answered. A waiting request can be cancelled, and then one more request is accepted.
    assert_eq!(server.status("/echo", &accepted[0]).await["status"], "in_queue");
    let ready = server.client.get(server.path("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200, "a full queue does not make the node unready");
    let ready = server.client.get(server.path("/readyz?verbose")).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("requests: new ones are refused: 3 requests wait already"), "{ready}");
    let cancel = server.client.delete(server.path(&format!("/echo/{}", accepted[0]))).send().await.unwrap();
    assert_eq!(cancel.status(), 200);
    assert_eq!(post(&server, &payload).await.status(), 200);
    assert_eq!(post(&server, &payload).await.status(), 503);
    // The log is read through a pipe, so a line may arrive later than the answers.
    eventually_async("a log line for each change", async || {
        let output = server.process.output();
        let count = |text: &str| output.matches(text).count();
        let counts = (count("requests are refused until fewer wait"), count("requests are accepted again"));
        if counts == (2, 1) { Ok(()) } else { Err((counts, output)) }
    })
    .await;
    server.open("gate");
    accepts_again(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_over_the_limit_are_refused_also_after_a_crash() {
    // There are two requests of the same size. One runs and the other waits. After a crash, they may change places.
    let large = json!({"gate": "gate", "text": "x".repeat(600 << 10)});
    let mut server = blocked("max_queued_bytes = \"1MiB\"", &large).await;
    server.submit("/gated", large.clone()).await;
    for _ in 0..2 {
        let refused = post(&server, &large).await;
        assert_eq!(refused.status(), 503);
        let text = refused.text().await.unwrap();
        assert!(text.contains("worker.max_queued_bytes"), "{text}");
        server.kill_and_restart();
        // A small request is accepted as soon as one of the two runs again.
        eventually_async("a small request that is accepted", async || {
            let status = post(&server, &json!("small")).await.status();
            if status == 200 { Ok(()) } else { Err(status) }
        })
        .await;
    }
    assert_eq!(post(&server, &json!("small")).await.status(), 200);
    server.open("gate");
    accepts_again(&server).await;
}
