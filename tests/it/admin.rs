//! The operator's API: on the socket beside the database, and over the network for the admin token; and the commands
//! that use it.

mod changes;
mod dashboard;
mod live;
mod series;
mod submit;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postback_tests::{Answer, Process, Receiver, eventually_async};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::support::Server;

const TOKEN: &str = "0123456789abcdef-admin";
const API: &str = "/_postback/api";

/// Makes one call through the socket. Returns the status and the JSON of the answer.
async fn call(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(server.folder.path().join("workload.db.sock")).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // A server that refuses a body answers before it has read all of it, and closes: then the rest cannot be written, and
    // what comes after the answer is an error.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, answer) = call(server, "GET", path, "").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Makes a call that must be refused with this status. Returns its code and its detail.
async fn refused(server: &Server, method: &str, path: &str, body: &str, expected: u16) -> String {
    let (status, answer) = call(server, method, path, body).await;
    assert_eq!((status, answer["status"].as_u64()), (expected, Some(expected.into())), "{answer}");
    format!("{}: {}", answer["code"].as_str().unwrap(), answer["detail"].as_str().unwrap())
}

fn run(folder: &Path, arguments: &[&str]) -> Process {
    Process::start(env!("CARGO_BIN_EXE_workload"), folder, arguments, &[])
}

/// Runs a command that must succeed. Returns what it prints.
fn printed(server: &Server, arguments: &[&str]) -> String {
    let mut process = run(server.folder.path(), arguments);
    let ended = process.ended();
    assert_eq!(ended.code(), Some(0), "{arguments:?}: {}", process.output());
    process.output()
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_listed_shown_cancelled_and_run_again() {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 1\n", receiver.url("/"));
    let server = Server::start(&settings);
    let done = server.submit("/echo", json!("done")).await;
    server.delivery("/echo", &done, |delivery| delivery["state"] == "delivered").await;
    let runs = server.submit("/gated", json!({"gate": "open"})).await;
    server.running("/gated", &runs).await;
    let waits = server.submit("/echo", json!("waits")).await;

    let page = get(&server, "/requests?limit=2").await;
    assert_eq!(ids(&page), [&*waits, &*runs]);
    let next = page["next"].as_str().unwrap();
    let page = get(&server, &format!("/requests?limit=2&cursor={next}")).await;
    assert_eq!((ids(&page), page["next"].as_str()), (vec![&*done], None));
    for (query, expected) in [
        ("status=in_progress", vec![&*runs]),
        ("status=in_queue&route=/echo", vec![&*waits]),
        ("status=completed&since=1h", vec![&*done]),
        ("until=1h", vec![]),
        (&*format!("id={}", &done[..30]), vec![&*done]),
        ("token=nobody", vec![]),
    ] {
        assert_eq!(ids(&get(&server, &format!("/requests?{query}")).await), expected, "{query}");
    }

    let shown = get(&server, &format!("/requests/{done}")).await;
    assert_eq!((&shown["status"], &shown["payload"]["text"]), (&json!("completed"), &json!("\"done\"")));
    assert_eq!((&shown["result"]["truncated"], &shown["payload"]["bytes"]), (&json!(false), &json!(6)));
    let events: Vec<_> = shown["timeline"].as_array().unwrap().iter().map(|event| event["what"].clone()).collect();
    assert_eq!(events, ["accepted", "run_began", "completed"]);
    assert_eq!(shown["deliveries"][0]["status"], "delivered");

    let (status, cancelled) = call(&server, "POST", &format!("/requests/{waits}/cancel"), "").await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
    assert_eq!(receiver.wait_for(&waits).json()["status"], "cancelled");
    let over = refused(&server, "POST", &format!("/requests/{waits}/cancel"), "", 409).await;
    assert!(over.starts_with("request_over: "), "{over}");
    let (_, stopping) = call(&server, "POST", &format!("/requests/{runs}/cancel"), "").await;
    assert_eq!(stopping["status"], "in_progress");
    server.settled("/gated", &runs).await;

    let (status, retried) = call(&server, "POST", &format!("/requests/{waits}/retry"), "").await;
    assert_eq!((status, &retried["retry_of"]), (200, &json!(waits)), "{retried}");
    let again = retried["id"].as_str().unwrap();
    assert_eq!(server.settled("/echo", again).await["status"], "completed");
    assert_eq!(get(&server, &format!("/requests/{again}")).await["retry_of"], json!(waits));
    assert_eq!(server.status("/echo", &waits).await["status"], "cancelled", "what is settled is final");
    for (id, code) in [(&*done, "conflict: "), ("0193", "not_found: ")] {
        let expected = if code.starts_with("not_found") { 404 } else { 409 };
        let why = refused(&server, "POST", &format!("/requests/{id}/retry"), "", expected).await;
        assert!(why.starts_with(code), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_are_refused_with_what_to_do() {
    let server = Server::start("");
    for (path, says) in [
        ("/requests?statsu=failed", "unknown query parameter `statsu`; known are `route`"),
        ("/requests?status=broken", "`status` must be in_queue, in_progress, completed, failed or cancelled"),
        ("/requests?limit=1000", "`limit` must be a whole number from 1 to 200"),
        ("/requests?cursor=me", "`cursor` must be the member `next` of the page before"),
        ("/requests?since=yesterday", "`since` must be a time such as"),
        ("/requests?limit=1&limit=2", "occurs twice"),
        ("/deliveries?status=lost", "`status` must be pending, parked"),
    ] {
        let why = refused(&server, "GET", path, "", 400).await;
        assert!(why.starts_with("invalid_parameter: ") && why.contains(says), "{why}");
    }
    for (method, path, expected) in [
        ("GET", "/nothing", 404),
        ("GET", "/requests/%20", 404),
        ("GET", "/deliveries/7", 404),
        ("DELETE", "/requests", 405),
        ("GET", "/replays/7", 404),
    ] {
        refused(&server, method, path, "", expected).await;
    }
    for (path, body) in [
        ("/replays", "{}"),
        ("/replays", r#"{"ids":["7"]}"#),
        ("/replays", r#"{"status":"pending"}"#),
        ("/replays", r#"{"ids":["0193a4c2-7b1e-7c3a-9c1d-0123456789ab"],"status":"dead"}"#),
        ("/replays", r#"{"statsu":"dead"}"#),
        ("/origins/disable", r#"{"url":"https://a.example/path"}"#),
        ("/endpoints/disable", r#"{"url":"nothing"}"#),
        ("/endpoints/enable", "not json"),
    ] {
        refused(&server, "POST", path, body, 400).await;
    }
    refused(&server, "POST", "/replays", &"x".repeat(300 << 10), 413).await;
    refused(&server, "POST", "/endpoints/enable", r#"{"url":"https://a.example/"}"#, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_admin_token_opens_the_api_over_the_network() {
    let closed = Server::start("");
    let url = closed.path(&format!("{API}/health"));
    let answer = closed.client.get(url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 404, "without server.admin_token, nothing is there");

    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n"));
    let url = server.path(&format!("{API}/health"));
    let answer = server.client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let health: Value = answer.json().await.unwrap();
    assert_eq!((&health["status"], &health["running"]), (&json!("ready"), &json!(0)));
    let wrong = server.client.get(&url).bearer_auth("0123456789abcdef-admiN").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let none = server.client.get(server.path(&format!("{API}/nothing"))).send().await.unwrap();
    assert_eq!(none.status(), 401, "whoever has no token learns nothing about paths");

    // The settings show everything but secrets.
    let answer = server.client.get(server.path(&format!("{API}/settings"))).bearer_auth(TOKEN).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(!text.contains(TOKEN), "{text}");
    let settings: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(settings["settings"]["server.admin_token"], "…");
    assert_eq!(settings["settings"]["worker.concurrency"], 64);

    // The commands use the token from a file or a variable.
    let file = server.folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let with_file = ["requests", "list", "--url", &server.url, "--token-file", file.to_str().unwrap()];
    let mut listed = run(elsewhere.path(), &with_file);
    listed.wait_for("no request matches");
    let program = env!("CARGO_BIN_EXE_workload");
    let without = ["requests", "list", "--url", &server.url];
    let mut listed = Process::start(program, elsewhere.path(), &without, &[("POSTBACK_ADMIN_TOKEN", TOKEN)]);
    listed.wait_for("no request matches");
    let mut refused =
        Process::start(program, elsewhere.path(), &without, &[("POSTBACK_ADMIN_TOKEN", "wrong-wrong-wrong")]);
    refused.wait_for("a token of a caller does not open it");
    let mut missing = run(elsewhere.path(), &without);
    missing.wait_for("--url needs the admin token");
    let mut nowhere = run(elsewhere.path(), &["requests", "list"]);
    nowhere.wait_for("there is no database workload.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_shown_and_sent_again() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before < 3 { 500 } else { 204 }));
    let settings =
        format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\"]\n", receiver.url("/in?token=s3cret"));
    let server = Server::start(&settings);
    let mut requests = Vec::new();
    for n in 0..3 {
        let id = server.submit("/echo", json!(n)).await;
        server.delivery("/echo", &id, |delivery| delivery["state"] == "dead").await;
        requests.push(id);
    }
    let page = get(&server, "/deliveries?status=dead").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    assert!(!page.to_string().contains("s3cret"), "{page}");
    let of_one = get(&server, &format!("/deliveries?subject={}", requests[0])).await;
    let id = of_one["items"][0]["id"].as_str().unwrap();
    let url = of_one["items"][0]["url"].as_str().unwrap();
    let same = get(&server, &format!("/deliveries?url={}", urlencoded(url))).await;
    assert_eq!(ids(&same).len(), 3, "a URL as it is shown selects");
    assert!(ids(&get(&server, "/deliveries?url=https://b.example/").await).is_empty());
    let shown = get(&server, &format!("/deliveries/{id}")).await;
    assert_eq!((&shown["history"][0]["status"], &shown["attempts"]), (&json!(500), &json!(1)));
    assert!(shown["body"]["text"].as_str().unwrap().contains(&requests[0]));

    let (status, replayed) = call(&server, "POST", &format!("/deliveries/{id}/replay"), "").await;
    assert_eq!((status, &replayed["replay_of"]), (200, &json!(id)), "{replayed}");
    server.delivery("/echo", &requests[0], |delivery| delivery["webhooks"][1]["state"] == "delivered").await;

    let (status, counted) = call(&server, "POST", "/replays/count", r#"{"status":"dead"}"#).await;
    assert_eq!((status, counted), (200, json!({"count": 3, "more": false})));
    refused(&server, "POST", "/replays/count", "{}", 400).await;
    let (status, replay) = call(&server, "POST", "/replays", r#"{"status":"dead"}"#).await;
    assert_eq!(status, 202, "{replay}");
    let path = format!("/replays/{}", replay["id"].as_str().unwrap());
    let replay = eventually_async("the end of the replay", async || {
        let replay = get(&server, &path).await;
        if replay["state"] == "running" { Err(replay) } else { Ok(replay) }
    })
    .await;
    assert_eq!((&replay["state"], &replay["replayed"], &replay["skipped"]), (&json!("done"), &json!(3), &json!(0)));
    assert_eq!(get(&server, "/replays").await["items"][0], replay);
    for id in &requests[1..] {
        server.delivery("/echo", id, |delivery| delivery["webhooks"][1]["state"] == "delivered").await;
    }
}

fn urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_an_operator_disables_holds_its_reports_until_it_is_enabled() {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let server = Server::reporting_to(&receiver.url("/in"));
    let origin = receiver.url("");
    let body = json!({"url": origin, "reason": "moving house"}).to_string();
    let (status, disabled) = call(&server, "POST", "/origins/disable", &body).await;
    assert_eq!((status, &disabled["url"]), (200, &json!(origin)));
    let id = server.submit("/echo", json!("held")).await;
    eventually_async("the held report", async || {
        let page = get(&server, "/deliveries?status=held").await;
        if ids(&page).len() == 1 { Ok(()) } else { Err(page) }
    })
    .await;
    let origins = get(&server, "/origins").await;
    let line = &origins["items"][0];
    assert_eq!((&line["origin"], &line["disabled"], &line["held"]), (&json!(origin), &json!(true), &json!(1)));
    assert_eq!(receiver.all().len(), 0);
    let (_, enabled) = call(&server, "POST", "/origins/enable", &body).await;
    assert_eq!(enabled["enabled"][0]["reports"], 1);
    receiver.wait_for(&id);
    refused(&server, "POST", "/origins/enable", &body, 404).await;

    // A single URL, by commands.
    let url = receiver.url("/in");
    assert!(printed(&server, &["endpoints", "disable", &url, "--reason", "noise"]).contains("is disabled"));
    let held = server.submit("/echo", json!("held too")).await;
    server.delivery("/echo", &held, |delivery| delivery["webhooks"][0]["state"] == "pending").await;
    assert!(printed(&server, &["endpoints", "list"]).contains("noise"));
    eventually_async("the held report", async || {
        let list = printed(&server, &["endpoints", "list", "--json"]);
        if list.contains("\"held\": 1") { Ok(()) } else { Err(list) }
    })
    .await;
    assert!(printed(&server, &["endpoints", "enable", &url]).contains("1 report held for it will be sent"));
    receiver.wait_for(&held);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_changes_and_ends_with_the_server() {
    let mut server = Server::start("");
    let socket = server.folder.path().join("workload.db.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut feeds = Vec::new();
    for _ in 0..16 {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(b"GET /changes HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut feed = BufReader::new(stream).lines();
        while feed.next_line().await.unwrap().unwrap() != "event: ready" {}
        feeds.push(feed);
    }
    let full = refused(&server, "GET", "/changes", "", 503).await;
    assert!(full.starts_with("overloaded: "), "{full}");
    let id = server.submit("/echo", json!("x")).await;
    for feed in &mut feeds {
        let mut statuses = Vec::new();
        while statuses.last() != Some(&json!("completed")) {
            let line = feed.next_line().await.unwrap().unwrap();
            if let Some(data) = line.strip_prefix("data: ")
                && let Ok(event) = serde_json::from_str::<Value>(data)
                && event["id"] == json!(id)
            {
                statuses.push(event["status"].clone());
            }
        }
        assert_eq!(statuses.first(), Some(&json!("in_progress")), "{statuses:?}");
    }
    feeds.pop();
    eventually_async("room for another feed", async || {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(b"GET /changes HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let line = BufReader::new(stream).lines().next_line().await.unwrap().unwrap();
        if line.contains("200") { Ok(()) } else { Err(line) }
    })
    .await;
    server.stop();
    for feed in &mut feeds {
        while feed.next_line().await.unwrap().is_some() {}
    }
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_memory_has_no_socket_and_is_reached_with_the_token() {
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n[store]\nurl = \"memory:\"\n"));
    let id = server.submit("/echo", json!("x")).await;
    server.settled("/echo", &id).await;
    let url = server.path(&format!("{API}/requests"));
    let page: Value = server.client.get(url).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    assert_eq!(ids(&page), [&*id]);
    let sockets = std::fs::read_dir(server.folder.path()).unwrap();
    assert!(sockets.flatten().all(|file| !file.file_name().to_string_lossy().ends_with(".sock")));
    let mut refused = run(server.folder.path(), &["requests", "list"]);
    refused.wait_for("use --url with an admin token");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_do_not_keep_others_from_the_socket() {
    let server = Server::start("");
    let socket = server.folder.path().join("workload.db.sock");
    let mut hanging = Vec::new();
    for _ in 0..70 {
        hanging.push(UnixStream::connect(&socket).await.unwrap());
    }
    // A client that sends no head is cut off, and then there is room.
    assert_eq!(get(&server, "/health").await["status"], "ready");
}
