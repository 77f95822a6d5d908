//! The answers of the HTTP API to correct requests.

use std::time::{Duration, Instant};

use postback_tests::Receiver;
use serde_json::{Value, json};

use crate::support::{Server, answer, keys};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_run_and_reported_and_poll_says_the_same() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/hook"));
    let id = server.submit("/echo", json!({"a": [1, 2.5, "ü"]})).await;

    let webhook = receiver.wait_for(&id);
    assert_eq!(webhook.path, "/hook");
    assert_eq!(keys(&webhook.body), ["id", "status", "result", "timestamp"]);
    let polled = server.client.get(server.path(&format!("/echo/{id}"))).send().await.unwrap();
    assert_eq!(polled.headers()["content-type"], "application/json");
    let polled = polled.bytes().await.unwrap();
    assert_eq!(polled.strip_suffix(b"\n").unwrap(), webhook.body, "poll and webhook must have the same bytes");
    let report = webhook.json();
    assert_eq!(report["status"], "completed");
    assert_eq!(report["result"], json!({"a": [1, 2.5, "ü"]}));
    let timestamp = report["timestamp"].as_str().unwrap();
    assert_eq!((timestamp.len(), timestamp.ends_with('Z')), (27, true), "{timestamp}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_polls_before_it_answers_sees_the_same_result() {
    // The receiver polls the status of the request before it answers the webhook.
    let server_url = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (url, seen) = (std::sync::Arc::clone(&server_url), std::sync::Arc::clone(&asked));
    let receiver = Receiver::answering(move |received, _| {
        let url = format!("{}/echo/{}", url.lock().unwrap(), received.json()["id"].as_str().unwrap());
        let polled = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { postback_tests::client().get(url).send().await.unwrap().bytes().await.unwrap() })
        });
        seen.lock().unwrap().push((received.body.clone(), polled.join().unwrap()));
        postback_tests::Answer::Status(204)
    });
    let server = Server::reporting_to(&receiver.url("/"));
    server.url.clone_into(&mut server_url.lock().unwrap());
    for n in 0..20 {
        server.submit("/echo", json!(n)).await;
    }
    receiver.wait(20);
    postback_tests::eventually("20 polls", || {
        let asked = asked.lock().unwrap();
        if asked.len() == 20 { Ok(()) } else { Err(asked.len()) }
    });
    for (webhook, polled) in asked.lock().unwrap().iter() {
        assert_eq!(webhook, polled.strip_suffix(b"\n").unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_prefers_async_gets_202_with_links() {
    let server = Server::start("");
    let post = server.client.post(server.path("/gated")).header("prefer", "respond-async, wait=0");
    let response = post.json(&json!({"gate": "never"})).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let headers = response.headers().clone();
    let body = response.bytes().await.unwrap();
    assert_eq!(keys(&body), ["id", "status", "status_url", "events_url", "cancel_url"]);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let location = format!("/gated/{}", answer["id"].as_str().unwrap());
    assert_eq!(headers["location"], location);
    assert_eq!((&answer["status_url"], &answer["cancel_url"]), (&json!(location), &json!(location)));
    assert_eq!(answer["events_url"], format!("{location}/events"));
    assert_eq!(headers["preference-applied"], "respond-async, wait=0");
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_prefers_to_wait_gets_the_outcome() {
    let server = Server::start("");
    let post = server.client.post(server.path("/wait")).header("prefer", "wait=60");
    let response = post.json(&json!({"work_ms": 50, "text": "done"})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["preference-applied"], "wait=60");
    let status: Value = response.json().await.unwrap();
    assert_eq!((&status["status"], &status["result"]), (&json!("completed"), &json!("done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_can_wait_for_the_end() {
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "gate", "text": "x"})).await;
    server.running("/gated", &id).await;
    let begun = Instant::now();
    let poll = server.hanging(&format!("/gated/{id}?wait=60")).await;
    server.open("gate");
    let answer = answer(poll).await;
    assert!(answer.contains("\"status\":\"completed\""), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(50), "the end of the run must end the poll early");
    // A poll whose time ends before the run does answers with the current status.
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    server.running("/gated", &id).await;
    let status: Value =
        server.client.get(server.path(&format!("/gated/{id}?wait=1"))).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["status"], "in_progress");
    assert_eq!(status.as_object().unwrap().len(), 2, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_a_slot_is_in_queue() {
    let server = Server::start("[worker]\nconcurrency = 1\n");
    let running = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &running).await;
    let waiting = server.submit("/echo", json!(1)).await;
    assert_eq!(server.status("/echo", &waiting).await["status"], "in_queue");
    assert_eq!(server.status("/gated", &running).await["status"], "in_progress");
    server.open("gate");
    assert_eq!(server.settled("/echo", &waiting).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_shows_the_state_of_the_delivery() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/hook?token=secret"));
    let id = server.submit("/echo", json!(1)).await;
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    let webhook = &delivery["webhooks"][0];
    assert_eq!(webhook["url"], receiver.url("/hook?…"), "the query must be hidden, because it may hold a secret");
    assert_eq!((&webhook["attempts"], &webhook["last_status"]), (&json!(1), &json!(204)));
    assert_eq!(webhook["id"], receiver.wait_for(&id).header("webhook-id"));

    let server = Server::start("");
    let id = server.submit("/echo", json!(1)).await;
    server.settled("/echo", &id).await;
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "none").await;
    assert_eq!(delivery["webhooks"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_for_bytes_takes_any_content_type() {
    let server = Server::start("");
    let post = server.client.post(server.path("/bytes")).header("prefer", "wait=60");
    let response = post.header("content-type", "image/png").body(vec![0, 255, 10]).send().await.unwrap();
    let status: Value = response.json().await.unwrap();
    assert_eq!(status["result"], json!([3, "image/png"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_for_a_form_takes_its_fields() {
    let server = Server::start("");
    let post = |body: &'static str| {
        let post = server.client.post(server.path("/choosing/form")).header("prefer", "wait=60");
        post.header("content-type", "application/x-www-form-urlencoded; charset=utf-8").body(body)
    };
    let status: Value = post("item=a+b%26c&count=2&tag=x&tag=%C3%A9").send().await.unwrap().json().await.unwrap();
    assert_eq!(status["result"], json!({"item": "a b&c", "count": 2, "tag": ["x", "é"]}), "{status}");
    for (body, says) in [("item=a&count=x", "count: "), ("item=a", "missing field `count`"), ("", "missing field")] {
        let answer = post(body).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        let text = answer.text().await.unwrap();
        assert!(text.contains(says), "{text}");
    }
    let json = server.client.post(server.path("/choosing/form")).json(&json!({"item": "a", "count": 1}));
    let answer = json.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["accept"]),
        (415, &"application/x-www-form-urlencoded".parse().unwrap())
    );
    let document: Value = server.client.get(server.path("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let content = &document["paths"]["/choosing/form"]["post"]["requestBody"]["content"];
    assert_eq!(content.as_object().unwrap().keys().collect::<Vec<_>>(), ["application/x-www-form-urlencoded"]);
    assert!(server.process.output().contains("curl -d 'name=value' http"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_memory_works_the_same_and_leaves_no_file() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[store]\nurl = \"memory:\"\n", receiver.url("/"));
    let server = Server::start(&settings);
    assert!(server.process.output().contains("memory: requests and reports are lost when the process ends"));
    for n in 0..50 {
        let id = server.submit("/echo", json!(n)).await;
        assert_eq!(receiver.wait_for(&id).json()["result"], n);
        assert_eq!(server.settled("/echo", &id).await, receiver.wait_for(&id).json());
        server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    }
    let left: Vec<_> =
        std::fs::read_dir(server.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["postback.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_answered() {
    let server = Server::start("");
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let response = server.client.get(server.path(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.text().await.unwrap(), body);
    }
}

#[test]
fn each_route_has_a_command_to_paste_which_posts_its_example() {
    let mut server = Server::start("");
    // The server writes all its start lines at once.
    let output = server.process.wait_for("try ");
    let command = |path: &str| {
        let line = output.lines().find(|line| line.trim_start().starts_with("try ") && line.ends_with(path));
        line.unwrap_or_else(|| panic!("no command for {path} in\n{output}")).trim_start()["try".len()..]
            .trim()
            .to_owned()
    };
    for path in ["/echo", "/spawn", "/nested/plain"] {
        command(path);
    }
    assert!(command("/wait").contains(r#"-d '{"work_ms":10}'"#));
    assert!(command("/bytes").contains(r"--data-binary 'it'\''s text'"));
    for path in ["/wait", "/bytes", "/spawn"] {
        let ran = std::process::Command::new("bash").args(["-c", &command(path)]).output().expect("bash and curl");
        let answer = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(answer.starts_with("{\"id\":\""), "{}: {answer}{ran:?}", command(path));
    }
}
