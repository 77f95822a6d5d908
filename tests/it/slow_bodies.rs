//! Request bodies that arrive slowly or not at all. Their memory and their time are bounded, and other requests are
//! accepted.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use postback_tests::eventually_async;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Server, answer};

/// The limit for a request beside the slow ones. A request that had to wait for the slow ones would wait for at least
/// 10 s.
const SOON: Duration = Duration::from_secs(8);
const MIB: usize = 1 << 20;
/// The limit for the server's memory: 256 MiB for bodies, and 150 MiB for other uses.
const MOST_MIB: u64 = 256 + 150;

/// The head of a POST request with a JSON body.
fn head(route: &str, length: usize) -> String {
    format!(
        "POST {route} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Checks that a POST with a body of this size is accepted soon.
async fn gets_in(server: &Server, bytes: usize) {
    let post = server.client.post(server.path("/bytes")).body(vec![b'x'; bytes]);
    let response = tokio::time::timeout(SOON, post.send()).await.expect("an answer within the limit").unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

/// Sends all but 1,000 bytes of a body, and then nothing.
async fn stuck(server: &Server, bytes: usize) -> TcpStream {
    let mut socket = server.saying(&head("/bytes", bytes)).await;
    socket.write_all(&vec![b'x'; bytes - 1_000]).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_do_not_delay_others_and_are_cut_off() {
    let server = Server::start("");
    let begun = head("/wait", 1_000_000) + "{\"ms\":";
    let slow = join_all((0..200).map(|_| server.saying(&begun))).await;
    for _ in 0..20 {
        gets_in(&server, 100).await;
    }
    gets_in(&server, 5 * MIB).await;
    for socket in slow {
        let answer =
            tokio::time::timeout(Duration::from_mins(1), answer(socket)).await.expect("the server cuts the body off");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("too slowly"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_stalled_bodies_lose_their_memory_to_others() {
    let server = Server::start("");
    let mut slow = Vec::new();
    for _ in 0..30 {
        // The server may not take all bytes of the last bodies, and may close their sockets during the write.
        slow.push(tokio::time::timeout(SOON, stuck(&server, 10 * MIB)).await);
        gets_in(&server, 100).await;
    }
    gets_in(&server, 8 * MIB).await;
    let resident = server.process.resident_mib();
    assert!(resident < MOST_MIB, "{resident} MiB");
    server.submit("/echo", json!("still here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_over_http2_do_not_delay_others() {
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
        // Each stream sends all bytes that its first window allows.
        for (_, body) in held.iter_mut().rev().take(60) {
            body.send_data(vec![0; 60_000].into(), false).unwrap();
        }
    }
    gets_in(&server, 100).await;
    gets_in(&server, 5 * MIB).await;
    for (response, _body) in held {
        let response =
            tokio::time::timeout(Duration::from_mins(1), response).await.expect("the server cuts the body off");
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
        // Single bytes do not extend the time. The server answers although the body is still arriving.
        read = tokio::time::timeout(Duration::from_mins(1), reading.read_to_string(&mut answer)) => {
            read.expect("the server cuts the body off").unwrap();
        }
        () = drips => panic!("the connection ended before the answer came"),
    }
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too slowly"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_an_outcome_holds_no_memory_for_its_body() {
    let server = Server::start("[server]\nmax_payload = \"64MiB\"\n[worker]\nconcurrency = 1\n");
    let blocking = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &blocking).await;
    // Together, these bodies are larger than the memory for bodies.
    let mut waiting = Vec::new();
    for n in 1..=5 {
        let post = server.client.post(server.path("/bytes")).header("prefer", "wait=60").body(vec![b'x'; 60 * MIB]);
        waiting.push(tokio::spawn(post.send()));
        // The bodies are sent one after the other, because together they would not fit into the memory for bodies.
        eventually_async("an accepted request", async || {
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
async fn large_json_is_checked_without_delaying_others() {
    let mut server = Server::start("");
    // JSON with many small values is slow to check.
    let body = format!("[{}0]", "[0],".repeat(2 * MIB));
    let posts = (0..6).map(|_| {
        let post = server.client.post(server.path("/echo")).header("content-type", "application/json");
        tokio::spawn(post.body(body.clone()).send())
    });
    let posts: Vec<_> = posts.collect();
    while !posts.iter().all(tokio::task::JoinHandle::is_finished) {
        let health = tokio::time::timeout(SOON, server.client.get(server.path("/healthz")).send()).await;
        assert_eq!(health.expect("an answer within the limit").unwrap().status(), 200);
        gets_in(&server, 100).await;
    }
    for post in posts {
        // A request that had to wait too long for its check is answered with 503.
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
            post.header("x-idempotency-key", "k-1").header("x-a", "1").header("x-a", "2").header("cookie", "s3cret");
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
    let mut headers = (lines(&first), lines(&second));
    for kept in ["x-idempotency-key: k-1", "x-a: 1", "x-a: 2", "content-type: application/json"] {
        assert!(headers.0.iter().any(|line| line == kept), "{:?} lacks {kept}", headers.0);
    }
    assert!(!headers.0.iter().any(|line| line.contains("s3cret")), "{:?}", headers.0);
    // The names of the two gates have the same length, so content-length is the same too.
    headers.0.sort();
    headers.1.sort();
    assert_eq!(headers.0, headers.1);
}
