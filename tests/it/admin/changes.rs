//! What changes of operators leave behind: the audit, the feed, and no secret in what is shown.

use futures_util::future::join_all;
use postback_tests::{Answer, Process, Receiver, eventually_async};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;

use super::live::write_settings;
use super::{call, get, ids, printed, refused};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_again_keeps_what_its_caller_brought() {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let networks = "[delivery]\nallow_networks = ['127.0.0.0/8']\n";
    let server = Server::start(networks);
    let post = server.client.post(server.path("/open")).json(&json!({"gate": "closed"}));
    let post = post.header("postback-webhook", receiver.url("/in?token=s3cret"));
    let post = post.header("postback-metadata", r#"{"order":7}"#).header("postback-deadline", "+1h");
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    server.running("/open", &id).await;
    call(&server, "POST", &format!("/requests/{id}/cancel"), "").await;
    assert_eq!(receiver.wait_for(&id).json()["metadata"], json!({"order": 7}));
    let (status, retried) = call(&server, "POST", &format!("/requests/{id}/retry"), "").await;
    assert_eq!(status, 200, "{retried}");
    let again = retried["id"].as_str().unwrap();
    server.open("closed");
    assert_eq!(receiver.wait_for(again).json()["metadata"], json!({"order": 7}));

    for id in [&*id, again] {
        let shown = get(&server, &format!("/requests/{id}")).await;
        assert_eq!((&shown["metadata"], &shown["deliveries_truncated"]), (&json!({"order": 7}), &json!(false)));
        assert_eq!(shown["caller_webhook"], receiver.url("/in?…"));
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
    }
    let first = get(&server, &format!("/requests/{id}")).await;
    assert!(first["deadline"].as_str().unwrap() > first["created"].as_str().unwrap(), "{first}");
    let printed = printed(&server, &["requests", "show", &id]);
    assert!(printed.contains("{\"order\":7}") && !printed.contains("s3cret"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_a_replay_is_not_empty_and_its_secret_is_not_shown() {
    let server = Server::start("");
    for (body, parameter) in [
        (r#"{"subject":""}"#, "subject"),
        (r#"{"status":"dead","url":""}"#, "url"),
        (r#"{"url":"…"}"#, "url"),
        (r#"{"status":"dead","since":" "}"#, "since"),
        (r#"{"status":"pending"}"#, "status"),
    ] {
        let (status, problem) = call(&server, "POST", "/replays", body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    let (_, problem) = call(&server, "GET", "/requests?limit=0", "").await;
    assert_eq!(problem["parameter"], "limit");
    let (_, problem) = call(&server, "POST", "/tokens", r#"{"name":"x","scopes":[]}"#).await;
    assert_eq!(problem["parameter"], "scopes");

    let body = json!({"url": "https://hooks.example.com/in?token=s3cret"}).to_string();
    let (status, replay) = call(&server, "POST", "/replays", &body).await;
    assert_eq!((status, &replay["selection"]["url"]), (202, &json!("https://hooks.example.com/in?…")));
    for path in ["/replays", "/audit"] {
        let shown = get(&server, path).await;
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_names_are_listed_and_get_a_new_reason() {
    let server = Server::start("");
    for name in ["https://a.example", "https://b.example", "https://c.example"] {
        let body = json!({"url": name, "reason": "first"}).to_string();
        assert_eq!(call(&server, "POST", "/origins/disable", &body).await.0, 200);
    }
    let body = json!({"url": "https://b.example", "reason": "second"}).to_string();
    assert_eq!(call(&server, "POST", "/origins/disable", &body).await.0, 200);

    let (mut names, mut path) = (Vec::new(), "/origins?limit=1".to_owned());
    loop {
        let page = get(&server, &path).await;
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["origin"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        assert!(!next.contains("example"), "{next}");
        path = format!("/origins?limit=1&cursor={next}");
    }
    assert_eq!(names, ["https://a.example", "https://b.example", "https://c.example"]);
    refused(&server, "GET", "/origins?cursor=nhttps%3A%2F%2Fa.example", "", 400).await;

    let list = printed(&server, &["endpoints", "list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("https://b.example  since") && list.contains("second"), "{list}");
    let ready = server.client.get(server.path("/readyz?verbose")).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("webhooks: 3 disabled; their reports are held"), "{ready}");
    let audit = get(&server, "/audit?limit=1").await;
    assert_eq!(
        (&audit["items"][0]["subject"], &audit["items"][0]["detail"]),
        (&json!("https://b.example"), &json!("second"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_says_that_many_deliveries_have_changed() {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let server = Server::reporting_to(&receiver.url("/in"));
    let body = json!({"url": receiver.url("")}).to_string();
    call(&server, "POST", "/origins/disable", &body).await;
    let id = server.submit("/echo", json!("held")).await;
    eventually_async("the held report", async || {
        let page = get(&server, "/deliveries?status=held").await;
        if ids(&page).len() == 1 { Ok(()) } else { Err(page) }
    })
    .await;
    let mut feed = follow(&server, "/changes").await;
    call(&server, "POST", "/origins/enable", &body).await;
    while feed.next_line().await.unwrap().unwrap() != "event: resync" {}
    receiver.wait_for(&id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_open_the_server_and_changes_the_time_limit_of_new_requests() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "server.auth = 'none'\n").unwrap();
    let mut process =
        Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &["serve", "--listen", "0.0.0.0:0"], &[]);
    let url = process.ready();
    let server = Server { process, url, client: reqwest::Client::new(), folder };
    write_settings(&server, "server.auth = 'tokens'\n");
    let why = refused(&server, "POST", "/settings/reload", "", 422).await;
    assert!(why.contains("there is no token"), "{why}");
    assert_eq!(get(&server, "/settings").await["settings"]["server.auth"], "none");

    let post = async || {
        let call = server.client.post(server.path("/echo")).json(&json!("x")).header("postback-timeout", "30m");
        call.send().await.unwrap().status()
    };
    assert_eq!(post().await, 200);
    write_settings(&server, "server.auth = 'none'\nworker.timeout = '1m'\n");
    let (status, reload) = call(&server, "POST", "/settings/reload", "").await;
    assert_eq!((status, &reload["applied"]), (200, &json!(["worker.timeout"])));
    assert_eq!(post().await, 400, "no request may ask for more than worker.timeout");
}

/// Opens a feed, and returns its lines after the event that says that every change is heard from now on.
async fn follow(server: &Server, path: &str) -> Lines<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(server.folder.path().join("workload.db.sock")).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut feed = BufReader::new(stream).lines();
    while feed.next_line().await.unwrap().unwrap() != "event: ready" {}
    feed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_collects_has_each_row_once_and_a_flood_as_one_event() {
    let server = Server::start("");
    refused(&server, "GET", "/changes?every=1ms", "", 400).await;
    let mut feed = follow(&server, "/changes?every=300ms").await;
    let mut next = async || loop {
        let line = feed.next_line().await.unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ").filter(|data| !data.contains("shared")) {
            return serde_json::from_str::<Value>(data).unwrap();
        }
    };
    let id = server.submit("/echo", json!("x")).await;
    loop {
        let changes = next().await;
        let rows = changes["requests"].as_array().unwrap();
        let row: Vec<_> = rows.iter().filter(|row| row["id"] == json!(id)).collect();
        assert!(row.len() < 2, "{changes}");
        if row.iter().any(|row| row["status"] == "completed") {
            break;
        }
    }
    // More rows than a page shows change at once: all of them wait for one that runs.
    let payload = json!({"gate": "gate"});
    join_all((0..150).map(|_| server.submit("/gated", payload.clone()))).await;
    server.open("gate");
    while next().await != json!({"many": true}) {}
    // The flood is over at some time, and single rows are heard again.
    loop {
        let last = server.submit("/echo", json!("heard")).await;
        if next().await.to_string().contains(&last) {
            break;
        }
    }
}
