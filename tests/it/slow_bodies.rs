//! Bodies that come slowly, or not at all: what they hold, how long they may, and that others get in.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use postback_tests::eventually_async;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Server, answer};

/// Generous: the machine may be busy. What is attacked here would wait for ten seconds at least.
const SOON: Duration = Duration::from_secs(8);
const MIB: usize = 1 << 20;
/// What the server may have for bodies, and what it needs for itself.
const MOST_MIB: u64 = 256 + 150;

/// The head of a post.
fn head(route: &str, length: usize) -> String {
    format!("POST {route} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

/// A post of this size gets in before the attack is over.
async fn gets_in(server: &Server, bytes: usize) {
    let post = server.client.post(server.path("/bytes")).body(vec![b'x'; bytes]);
    let response = tokio::time::timeout(SOON, post.send()).await.expect("it gets in").unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

/// A body of which all but a little comes, and then nothing.
async fn stuck(server: &Server, bytes: usize) -> TcpStream {
    let mut socket = server.saying(&head("/bytes", bytes)).await;
    socket.write_all(&vec![b'x'; bytes - 1_000]).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stand_still_delay_nobody_and_are_cut_off() {
    let server = Server::start("");
    let begun = head("/wait", 1_000_000) + "{\"ms\":";
    let slow = join_all((0..200).map(|_| server.saying(&begun))).await;
    for _ in 0..20 {
        gets_in(&server, 100).await;
    }
    gets_in(&server, 5 * MIB).await;
    for socket in slow {
        let answer = tokio::time::timeout(Duration::from_mins(1), answer(socket)).await.expect("it is cut off");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("too slowly"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_stand_still_give_way() {
    let server = Server::start("");
    let mut slow = Vec::new();
    for _ in 0..30 {
        // Of those that come last not all gets in, and their sockets may be closed meanwhile.
        slow.push(tokio::time::timeout(SOON, stuck(&server, 10 * MIB)).await);
        gets_in(&server, 100).await;
    }
    gets_in(&server, 8 * MIB).await;
    let resident = server.process.resident_mib();
    assert!(resident < MOST_MIB, "{resident} MiB");
    server.submit("/echo", json!("still here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_http2_that_stand_still_delay_nobody() {
    let server = Server::start("");
    let mut held = Vec::new();
    for _ in 0..4 {
        let socket = TcpStream::connect(server.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..60 {
            client = client.ready().await.unwrap();
            let post = http::Request::post(server.path("/bytes")).body(()).unwrap();
            let (response, mut body) = client.send_request(post, false).unwrap();
            body.send_data(Bytes::from_static(b"x"), false).unwrap();
            held.push((response, body));
        }
        // All that may come without being asked for.
        for (_, body) in held.iter_mut().rev().take(60) {
            body.send_data(vec![0; 60_000].into(), false).unwrap();
        }
    }
    gets_in(&server, 100).await;
    gets_in(&server, 5 * MIB).await;
    for (response, _body) in held {
        let response = tokio::time::timeout(Duration::from_mins(1), response).await.expect("it is cut off");
        assert!(response.is_err() || response.is_ok_and(|response| response.status() == 408));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_cut_off() {
    let server = Server::start("");
    let (mut reading, mut writing) = server.saying(&(head("/wait", 1_000_000) + "{\"text\":\"")).await.into_split();
    let mut pace = tokio::time::interval(Duration::from_millis(200));
    let drips = async {
        while writing.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    };
    let mut answer = String::new();
    tokio::select! {
        // A byte now and then buys no time. It is answered although it goes on.
        read = tokio::time::timeout(Duration::from_mins(1), reading.read_to_string(&mut answer)) => {
            read.expect("it is cut off").unwrap();
        }
        () = drips => panic!("the answer comes before the connection ends"),
    }
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too slowly"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_outcome_holds_no_room() {
    let server = Server::start("[server]\nmax_payload = \"64MiB\"\n[worker]\nconcurrency = 1\n");
    let blocking = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &blocking).await;
    // Together more than there is room for.
    let mut waiting = Vec::new();
    for n in 1..=5 {
        let post = server.client.post(server.path("/bytes")).header("prefer", "wait=60").body(vec![b'x'; 60 * MIB]);
        waiting.push(tokio::spawn(post.send()));
        // One after another: the room is not what they get in by at once.
        eventually_async("that it is accepted", async || {
            let rows = server.count("request").await;
            if rows == n + 1 { Ok(()) } else { Err(rows) }
        })
        .await;
    }
    gets_in(&server, 60 * MIB).await;
    server.open("gate");
    for waits in waiting {
        assert_eq!(waits.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_json_is_checked_where_it_holds_up_nobody() {
    let mut server = Server::start("");
    // As JSON of many values is slow to check.
    let body = format!("[{}0]", "[0],".repeat(2 * MIB));
    let posts = (0..6).map(|_| {
        let post = server.client.post(server.path("/echo")).header("content-type", "application/json");
        tokio::spawn(post.body(body.clone()).send())
    });
    let posts: Vec<_> = posts.collect();
    while !posts.iter().all(tokio::task::JoinHandle::is_finished) {
        let health = tokio::time::timeout(SOON, server.client.get(server.path("/healthz")).send()).await;
        assert_eq!(health.expect("it answers").unwrap().status(), 200);
        gets_in(&server, 100).await;
    }
    for post in posts {
        // Those that had to wait for too long were told so.
        let status = post.await.unwrap().unwrap().status();
        assert!(status == 200 || status == 503, "{status}");
    }
    assert!(server.process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_kept_and_every_run_has_the_same_headers() {
    let mut server = Server::start("");
    let post = async |gate: &str| {
        let post = server.client.post(server.path("/headers")).json(&json!({"gate": gate}));
        let post =
            post.header("x-api-key", "s3cret").header("authorization", "s3cret").header("x-auth-token", "s3cret");
        let post =
            post.header("idempotency-key", "k-1").header("x-a", "1").header("x-a", "2").header("cookie", "s3cret");
        let answer: serde_json::Value = post.send().await.unwrap().json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    };
    server.open("first");
    let first = post("first").await;
    let first = server.settled("/headers", &first).await["result"].clone();
    let second = post("later").await;
    server.running("/headers", &second).await;
    server.kill_and_restart();
    server.open("later");
    let second = server.settled("/headers", &second).await["result"].clone();
    let lines = |of: &serde_json::Value| -> Vec<String> { serde_json::from_value(of.clone()).unwrap() };
    let mut told = (lines(&first), lines(&second));
    for kept in ["idempotency-key: k-1", "x-a: 1", "x-a: 2", "content-type: application/json"] {
        assert!(told.0.iter().any(|line| line == kept), "{:?} lacks {kept}", told.0);
    }
    assert!(!told.0.iter().any(|line| line.contains("s3cret")), "{:?}", told.0);
    // The names of two gates have one length.
    told.0.sort();
    told.1.sort();
    assert_eq!(told.0, told.1);
}
