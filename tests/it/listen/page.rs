//! Tests of what the inspector's page is served: its files, the feed, and what is refused to other pages.

use std::fmt::Write as _;

use postback_tests::{client, eventually_async};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Listener, is_protected};

/// Reads a feed until a text has come. Returns all that has come.
async fn feed_until(listener: &Listener, query: &str, last: Option<&str>, text: &str) -> String {
    let mut call = client().get(format!("{}/_inspector/api/feed?{query}", listener.url));
    if let Some(last) = last {
        call = call.header("last-event-id", last);
    }
    let mut answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut read = String::new();
    while !read.contains(text) {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(60), answer.chunk()).await;
        read.push_str(std::str::from_utf8(&piece.expect("an event").unwrap().expect("no end")).unwrap());
    }
    read
}

/// The last id of an event.
fn last_id(read: &str) -> String {
    read.lines()
        .filter_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:")))
        .next_back()
        .unwrap()
        .to_owned()
}

fn hits(read: &str) -> Vec<Value> {
    let data = read.lines().filter_map(|line| line.strip_prefix("data: ").or(line.strip_prefix("data:")));
    data.filter_map(|data| serde_json::from_str(data).ok()).filter(|hit: &Value| !hit["number"].is_null()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_away_gets_what_it_missed() {
    let listener = Listener::start(&[]);
    listener.post("/a", r#"{"id":"first"}"#).await;
    let read = feed_until(&listener, "", None, "\"after_ms\"").await;
    assert!(read.contains("event: clear") && read.contains("first"), "{read}");
    let last = last_id(&read);
    for n in 0..250 {
        let body: &'static str = Box::leak(format!(r#"{{"id":"missed-{n:03}"}}"#).into_boxed_str());
        listener.post("/a", body).await;
    }
    for (query, header) in [(String::new(), Some(last.as_str())), (format!("last={last}"), None)] {
        let read = feed_until(&listener, &query, header, "missed-249").await;
        let mut numbers: Vec<_> = hits(&read).iter().map(|hit| hit["number"].as_u64().unwrap()).collect();
        numbers.dedup();
        assert_eq!(numbers, (2..=251).collect::<Vec<_>>());
        assert!(!read.contains("event: clear"));
    }
    // An id of another process, or a clear, lets the page start anew.
    let read = feed_until(&listener, "last=0-5", None, "missed-249").await;
    assert!(read.contains("event: clear") && read.contains("first"));
    assert_eq!(listener.change(Method::DELETE, "hits", json!({})).await.status(), 204);
    let read = feed_until(&listener, "", Some(&last), "event: seen").await;
    assert!(read.contains("event: clear") && hits(&read).is_empty(), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_sends_what_matches() {
    let listener = Listener::start(&[]);
    listener.post("/a", r#"{"id":"x","status":"failed"}"#).await;
    listener.post("/b", r#"{"id":"y","status":"completed","result":{"n":7}}"#).await;
    for filter in ["status%3Dcompleted", "inbox%3Db%20body.result.n%3D7", "COMPLETED"] {
        let read = feed_until(&listener, &format!("filter={filter}"), None, "\"after_ms\"").await;
        assert!(hits(&read).iter().all(|hit| hit["id"] == "y"), "{filter}: {read}");
    }
    let read = feed_until(&listener, "filter=x%3Dy", None, "\n\n").await;
    assert!(read.contains("event: fault") && read.contains("no name \\\"x\\\""), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_again_as_it_came_and_edited() {
    let listener = Listener::start(&["--secret", crate::support::SECRET]);
    let post = client().post(format!("{}/first", listener.url)).body("{ \"n\": 1 }").header("webhook-id", "r-1");
    post.header("x-own", "kept").send().await.unwrap();
    let url = format!("{}/again", listener.url);
    let resend = async |wanted: Value| listener.change(Method::POST, "hits/1/resend", wanted).await;
    let answer: Value = resend(json!({"url": url, "repeat": 2})).await.json().await.unwrap();
    assert_eq!(answer["sent"][1]["status"], 204, "{answer}");
    let wanted = json!({"url": url, "sign": true, "body": "{}", "headers": [["webhook-id", "r-2"]]});
    assert_eq!(resend(wanted).await.status(), 200);
    let show = async |number: u32| {
        let answer = client().get(format!("{}/_inspector/api/hits/{number}", listener.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let repeated = show(3).await;
    assert!(repeated["headers"].to_string().contains("kept") && repeated["attempt"] == 2, "{repeated}");
    assert_eq!((&show(4).await["signature"], &show(4).await["bytes"]), (&json!("valid"), &json!(2)));
    for (wanted, why) in [
        (json!({"url": "file:///etc/passwd"}), "http or https"),
        (json!({"url": url, "repeat": 51}), "1 to 50"),
        (json!({"url": url, "headers": [["a b", ""]]}), "name of a header"),
        (json!({"url": url, "body": 1}), "invalid type"),
    ] {
        let answer = resend(wanted).await;
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains(why), "{why}");
    }
    let answer: Value = resend(json!({"url": "http://127.0.0.1:1/"})).await.json().await.unwrap();
    assert!(answer["sent"][0]["error"].as_str().unwrap().contains("did not answer"), "{answer}");
}

/// Sends a head as it is. Returns the status line of the answer.
async fn raw(listener: &Listener, head: &str) -> String {
    let mut stream = TcpStream::connect(listener.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pages_see_and_change_nothing() {
    let listener = Listener::start(&[]);
    listener.post("/", r#"{"id":"mine"}"#).await;
    let own = listener.url.trim_start_matches("http://");
    let change = "x-postback-page: 1\r\ncontent-length: 2\r\n";
    for (host, path, headers, status) in [
        // Rebinding: a page of another name whose address is now this machine.
        ("evil.example", "GET /_inspector/", "", "421"),
        ("evil.example", "GET /_inspector/api/hits/1", "", "421"),
        (own, "GET /_inspector/api/hits/1", "sec-fetch-site: cross-site\r\n", "403"),
        (own, "GET /_inspector/api/hits/1", "sec-fetch-site: same-site\r\n", "403"),
        (own, "GET /_inspector/api/feed", "origin: http://evil.example\r\n", "403"),
        (own, "DELETE /_inspector/api/hits", "content-length: 2\r\n", "403"),
        (own, "POST /_inspector/api/hits/1/resend", "origin: null\r\nx-postback-page: 1\r\n", "403"),
        (own, "PUT /_inspector/api/inboxes/a", &format!("origin: http://{own}.evil.example\r\n{change}"), "403"),
        // The preflight of another page gets no permission.
        (own, "OPTIONS /_inspector/api/hits", "origin: http://evil.example\r\n", "403"),
        (own, "GET /_inspector/", "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n", "200"),
        (own, "GET /_inspector/api/hits/1", "sec-fetch-site: same-origin\r\n", "200"),
    ] {
        let line = raw(&listener, &format!("{path} HTTP/1.1\r\nhost: {host}\r\n{headers}")).await;
        assert!(line.contains(status), "{path} {headers}: {line}");
    }
    for path in ["", "app.js", "shared/base.css", "api/hits/1", "api/hits/1/body", "api/hits/9", "nothing"] {
        let answer = client().get(format!("{}/_inspector/{path}", listener.url)).send().await.unwrap();
        assert!(is_protected(answer.headers()), "{path}: {:?}", answer.headers());
        assert!(answer.headers().get("access-control-allow-origin").is_none());
    }
    let body = client().get(format!("{}/_inspector/api/hits/1/body", listener.url)).send().await.unwrap();
    assert_eq!(body.headers()["content-type"], "application/octet-stream");
    assert!(body.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_and_open_is_bounded() {
    let listener = Listener::start(&[]);
    let mut large = client().post(&listener.url).body(vec![b'x'; (32 << 20) + 1]);
    large = large.header("x-mark", "large");
    // The answer may come before the whole body is sent.
    if let Ok(answer) = large.send().await {
        assert_eq!(answer.status(), 413);
    }
    // Five bodies of 15 MiB are more than the 64 MiB that are kept.
    for _ in 0..5 {
        let answer = client().post(&listener.url).body(vec![b'x'; 15 << 20]).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
    let status = async |number: u32| {
        client().get(format!("{}/_inspector/api/hits/{number}", listener.url)).send().await.unwrap().status().as_u16()
    };
    assert_eq!([status(2).await, status(3).await, status(6).await], [404, 200, 200]);
    let mut feeds = Vec::new();
    eventually_async("a refused feed", async || {
        let answer = client().get(format!("{}/_inspector/api/feed", listener.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        feeds.push(answer);
        if status == 503 { Ok(()) } else { Err(feeds.len()) }
    })
    .await;
    assert_eq!(feeds.len(), 17);
    let mut header = String::new();
    (0..3_000).for_each(|n| write!(header, "x-{n}: {}\r\n", "y".repeat(50)).unwrap());
    let line = raw(&listener, &format!("POST / HTTP/1.1\r\nhost: x\r\n{header}")).await;
    assert!(line.contains("431"), "{line}");
}
