//! What waits is bounded, and who is refused is told why.

use http::header::{ACCEPT, RETRY_AFTER};
use postback_tests::eventually_async;
use serde_json::{Value, json};

use crate::support::Server;

/// A server whose only slot is taken until the gate is open, and which has these bounds.
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
    eventually_async("that it accepts again", async || {
        let status = post(server, &json!("again")).await.status();
        if status == 200 { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_wait_are_refused_and_others_are_served() {
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
        let said = answer.text().await.unwrap();
        assert!(said.contains("3 requests wait already (worker.max_queued)") && said.contains("try again"), "{said}");
    }
    assert_eq!(accepted.len(), 3);
    let problem = server.client.post(server.path("/echo")).json(&payload).header(ACCEPT, "application/problem+json");
    let problem: Value = problem.send().await.unwrap().json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("worker.max_queued"), "{problem}");
    // Whoever asks is answered, and what waits can be cancelled: then there is room for one more.
    assert_eq!(server.status("/echo", &accepted[0]).await["status"], "in_queue");
    let ready = server.client.get(server.path("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200, "it is not broken");
    let ready = server.client.get(server.path("/readyz?verbose")).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("requests: new ones are refused: 3 requests wait already"), "{ready}");
    let cancel = server.client.delete(server.path(&format!("/echo/{}", accepted[0]))).send().await.unwrap();
    assert_eq!(cancel.status(), 200);
    assert_eq!(post(&server, &payload).await.status(), 200);
    assert_eq!(post(&server, &payload).await.status(), 503);
    // The log comes by a pipe.
    eventually_async("a line at each change", async || {
        let output = server.process.output();
        let said = |text: &str| output.matches(text).count();
        let said = (said("requests are refused until fewer wait"), said("requests are accepted again"));
        if said == (2, 1) { Ok(()) } else { Err((said, output)) }
    })
    .await;
    server.open("gate");
    accepts_again(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_may_wait_are_refused_and_counted_anew_after_a_crash() {
    // Of two that are as large, one runs and one waits, whichever that is after a crash.
    let large = json!({"gate": "gate", "text": "x".repeat(600 << 10)});
    let mut server = blocked("max_queued_bytes = \"1MiB\"", &large).await;
    server.submit("/gated", large.clone()).await;
    for _ in 0..2 {
        let refused = post(&server, &large).await;
        assert_eq!(refused.status(), 503);
        let said = refused.text().await.unwrap();
        assert!(said.contains("worker.max_queued_bytes"), "{said}");
        server.kill_and_restart();
        // One of them has the slot again.
        eventually_async("the run", async || {
            let status = post(&server, &json!("small")).await.status();
            if status == 200 { Ok(()) } else { Err(status) }
        })
        .await;
    }
    assert_eq!(post(&server, &json!("small")).await.status(), 200);
    server.open("gate");
    accepts_again(&server).await;
}
