//! `GET R/{id}/events`: server-sent events.

use std::time::Duration;

use postback_tests::eventually_async;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Server, answer};

/// An event as a client gets it.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// A client that reads an event stream.
pub struct Client {
    response: reqwest::Response,
    text: String,
}

impl Client {
    /// Opens a stream. `last` is the id of the last event that the client has, if it has one.
    pub async fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        let get = server.client.get(server.path(path));
        let get = last.map_or_else(|| server.client.get(server.path(path)), |last| get.header("last-event-id", last));
        let response = get.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The next frame: an event, a comment or a pause for reconnecting. `None`: the stream has ended.
    async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = frame.to_owned();
                self.text = rest.to_owned();
                return Some(frame);
            }
            let piece = tokio::time::timeout(Duration::from_mins(1), self.response.chunk()).await.expect("a piece");
            match piece {
                Ok(Some(piece)) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let frame = self.frame().await?;
            let field = |name: &str| {
                let value = frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.map(str::to_owned)
            };
            if let Some(data) = field("data") {
                assert_eq!(frame.lines().count(), 3, "{frame}");
                let data = serde_json::from_str(&data).unwrap();
                return Some(Event { id: field("id").unwrap(), name: field("event").unwrap(), data });
            }
        }
    }

    /// All events until the end of the stream, each as its id and its status.
    async fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(Event { id, name, data }) = self.next().await {
            assert_eq!(name, "status");
            rest.push(format!("{id} {}", data["status"].as_str().unwrap()));
        }
        rest
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_status_is_told_and_the_end_closes_the_stream() {
    for store in ["", "[store]\nurl = \"memory:\"\n"] {
        let server = Server::start(&format!("{store}[worker]\nconcurrency = 1\n"));
        let first = server.submit("/gated", json!({"gate": "first"})).await;
        server.running("/gated", &first).await;
        let id = server.submit("/gated", json!({"gate": "second", "text": "done"})).await;
        let mut client = Client::open(&server, &format!("/gated/{id}/events"), None).await;
        assert_eq!(client.frame().await.unwrap(), "retry: 1000");
        let waits = client.next().await.unwrap();
        assert_eq!((&*waits.id, &waits.data["id"], &waits.data["status"]), ("0.0", &json!(id), &json!("in_queue")));
        assert!(waits.data["timestamp"].is_string());
        server.open("first");
        let runs = client.next().await.unwrap();
        assert_eq!((&*runs.id, &runs.data["status"]), ("1.1", &json!("in_progress")));
        server.open("second");
        let end = client.next().await.unwrap();
        assert_eq!(end.id, "1.3");
        assert_eq!(end.data, server.status("/gated", &id).await, "the end says what a poll says");
        assert!(client.next().await.is_none(), "the stream ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_misses_nothing() {
    let server = Server::start("[worker]\nmax_attempts = 2\nretry_delay = \"10ms\"\n");
    let id = server.submit("/flaky", json!(null)).await;
    server.settled("/flaky", &id).await;
    let path = format!("/flaky/{id}/events");
    let all = ["0.0 in_queue", "1.1 in_progress", "1.2 in_queue", "2.1 in_progress", "2.3 completed"];
    assert_eq!(Client::open(&server, &path, None).await.rest().await, all);
    for (at, last) in all.iter().enumerate().take(4) {
        let last = last.split(' ').next().unwrap();
        assert_eq!(Client::open(&server, &path, Some(last)).await.rest().await, all[at + 1..], "{last}");
        let by_query = format!("{path}?last_event_id={last}");
        assert_eq!(Client::open(&server, &by_query, None).await.rest().await, all[at + 1..], "{last}");
    }
    for unknown in ["", "x", "9.1", "1.7", "2.2"] {
        assert_eq!(Client::open(&server, &path, Some(unknown)).await.rest().await, all, "{unknown}");
    }
    let over = server.client.get(server.path(&path)).header("last-event-id", "2.3").send().await.unwrap();
    assert_eq!(over.status(), 204, "this status makes a browser stop");
    for unknown in ["/flaky/nobody/events".to_owned(), format!("/echo/{id}/events")] {
        let answer = server.client.get(server.path(&unknown)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_the_death_of_its_server() {
    let mut server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "gate", "text": "x"})).await;
    let path = format!("/gated/{id}/events");
    let mut client = Client::open(&server, &path, None).await;
    assert_eq!(client.next().await.unwrap().id, "0.0");
    assert_eq!(client.next().await.unwrap().id, "1.1");
    server.kill_and_restart();
    assert!(client.next().await.is_none());
    server.running("/gated", &id).await;
    server.open("gate");
    let rest = Client::open(&server, &path, Some("1.1")).await.rest().await;
    assert_eq!(rest, ["1.2 in_queue", "2.1 in_progress", "2.3 completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_a_stream() {
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    let mut client = Client::open(&server, &format!("/gated/{id}/events"), None).await;
    while client.next().await.unwrap().id != "1.1" {}
    server.client.delete(server.path(&format!("/gated/{id}"))).send().await.unwrap();
    assert_eq!(client.rest().await, ["1.3 cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_has_a_call_of_its_own() {
    for store in ["", "url = \"memory:\"\n"] {
        let server = Server::start(&format!("[store]\nmax_inline = \"64MiB\"\n{store}"));
        for (length, is_in) in [(100, true), (30_000, true), (65_534, true), (65_535, false), (1_000_000, false)] {
            let id = server.submit("/echo", json!("x".repeat(length))).await;
            server.settled("/echo", &id).await;
            let mut client = Client::open(&server, &format!("/echo/{id}/events"), Some("1.1")).await;
            let mut status = server.status("/echo", &id).await;
            if !is_in {
                status.as_object_mut().unwrap().remove("result");
                status["result_url"] = json!(format!("/echo/{id}/result"));
            }
            assert!(client.next().await.unwrap().data == status, "{length}");
            assert!(client.next().await.is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_has_a_comment_every_15_seconds() {
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &id).await;
    let mut client = Client::open(&server, &format!("/gated/{id}/events"), Some("1.1")).await;
    assert_eq!(client.frame().await.unwrap(), "retry: 1000");
    let begun = std::time::Instant::now();
    assert_eq!(client.frame().await.unwrap(), ":");
    assert!((14..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    server.open("gate");
    assert_eq!(client.rest().await, ["1.3 completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_while_the_server_drains_and_says_when_to_come_back() {
    let mut server = Server::start("[shutdown]\ngrace = \"3s\"\n");
    let ends = server.submit("/gated", json!({"gate": "gate"})).await;
    let never = server.submit("/gated", json!({"gate": "never"})).await;
    server.running("/gated", &ends).await;
    server.running("/gated", &never).await;
    let ending = Client::open(&server, &format!("/gated/{ends}/events"), Some("1.1")).await;
    let mut waiting = Client::open(&server, &format!("/gated/{never}/events"), Some("1.1")).await;
    server.process.terminate();
    eventually_async("the draining", async || {
        let ready = server.client.get(server.path("/readyz")).send().await.unwrap().status();
        if ready == 503 { Ok(()) } else { Err(ready) }
    })
    .await;
    server.open("gate");
    assert_eq!(ending.rest().await, ["1.3 completed"]);
    let mut frames = Vec::new();
    while let Some(frame) = waiting.frame().await {
        frames.push(frame);
    }
    assert_eq!(frames.last().unwrap(), "retry: 5000", "{frames:?}");
    assert_eq!(server.process.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http1_0_a_stream_ends_with_its_connection() {
    let server = Server::start("");
    let id = server.submit("/echo", json!(1)).await;
    server.settled("/echo", &id).await;
    let text = answer(server.saying(&format!("GET /echo/{id}/events HTTP/1.0\r\n\r\n")).await).await;
    assert!(text.contains("\r\n\r\nretry: 1000\n\nid: 0.0\nevent: status\n") && text.ends_with("\n\n"), "{text}");
}

/// Opens an HTTP/2 connection. Its streams may send `window` bytes before the client reads.
async fn http2(server: &Server, window: u32) -> h2::client::SendRequest<bytes::Bytes> {
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = h2::client::Builder::new().initial_window_size(window).handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Reads a stream to its end.
async fn rest(mut stream: h2::RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(piece) = stream.data().await {
        text.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// Many idle streams must leave connections, memory and the store to others.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_streams_are_bounded_and_harm_nobody() {
    const CONNECTIONS: usize = 320;
    const STREAMS: usize = 32;
    const MOST_MIB: u64 = 200;
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "gate", "text": "x"})).await;
    server.running("/gated", &id).await;
    let before = server.process.resident_mib();
    let url = server.path(&format!("/gated/{id}/events"));
    let (mut open, mut refused, mut clients) = (Vec::new(), 0, Vec::new());
    for _ in 0..CONNECTIONS {
        let mut client = http2(&server, 65_535).await;
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            client = client.ready().await.unwrap();
            let get = http::Request::get(&url).header("last-event-id", "1.1").body(()).unwrap();
            answers.push(client.send_request(get, true).unwrap().0);
        }
        for answer in answers {
            let answer = answer.await.unwrap();
            match answer.status().as_u16() {
                200 => open.push(tokio::spawn(rest(answer.into_body()))),
                503 => refused += 1,
                other => panic!("{other}"),
            }
        }
        clients.push(client);
    }
    assert_eq!(open.len() + refused, CONNECTIONS * STREAMS);
    assert!((1..=5_000).contains(&open.len()) && refused > 0, "{} are open", open.len());
    let now = server.process.resident_mib();
    assert!(now < before + MOST_MIB, "{now} MiB, and {before} before");
    for n in 0..20 {
        let other = server.submit("/echo", json!(n)).await;
        assert_eq!(server.settled("/echo", &other).await["result"], n);
    }
    server.open("gate");
    for stream in open {
        let text = tokio::time::timeout(Duration::from_mins(1), stream).await.expect("the end").unwrap();
        assert!(text.contains("id: 1.3\n"), "{text}");
    }
    // All places are free again.
    let mut client = http2(&server, 65_535).await.ready().await.unwrap();
    let get = http::Request::get(&url).body(()).unwrap();
    assert_eq!(client.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_32_streams() {
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    let mut client = http2(&server, 65_535).await;
    let mut open = Vec::new();
    for n in 0..33 {
        client = client.ready().await.unwrap();
        let get = http::Request::get(server.path(&format!("/gated/{id}/events"))).body(()).unwrap();
        let answer = client.send_request(get, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), if n < 32 { 200 } else { 503 }, "{n}");
        open.push(answer.into_body());
    }
    client = client.ready().await.unwrap();
    let get = http::Request::get(server.path("/healthz")).body(()).unwrap();
    assert_eq!(client.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_does_not_read_is_cut_off() {
    let server = Server::start("");
    let id = server.submit("/gated", json!({"gate": "never"})).await;
    let mut client = http2(&server, 0).await.ready().await.unwrap();
    let get = http::Request::get(server.path(&format!("/gated/{id}/events"))).body(()).unwrap();
    let answer = client.send_request(get, true).unwrap().0.await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(40), answer.into_body().data()).await;
    assert!(!matches!(ended.expect("the stream ends"), Some(Ok(_))), "nothing may come");
}
