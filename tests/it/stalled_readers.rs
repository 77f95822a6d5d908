//! Clients that request large answers and do not read them. Their memory is bounded, and other clients are served.

use std::time::Duration;

use postback_tests::eventually_async;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::Server;

/// The results are in the answers about the requests, and in the store.
const INLINE: &str = "[store]\nmax_inline = \"64MiB\"\n";
const LARGE: usize = 8 << 20;
/// The limit for additional memory: 64 MiB for answers, and 64 MiB for reads from the store and other uses.
const MOST_MIB: u64 = 64 + 64;
const SOON: Duration = Duration::from_secs(20);

async fn large(server: &Server) -> String {
    let id = server.submit("/echo", json!("x".repeat(LARGE))).await;
    server.settled("/echo", &id).await;
    id
}

/// Checks that a normal client can read the whole answer soon.
async fn is_read(server: &Server, id: &str) {
    let read = async {
        let status: Value =
            server.client.get(server.path(&format!("/echo/{id}"))).send().await.unwrap().json().await.unwrap();
        status["result"].as_str().unwrap().len()
    };
    assert_eq!(tokio::time::timeout(SOON, read).await.expect("an answer within the limit"), LARGE);
}

/// Reads each result once, and returns the server's memory after that. The allocator may keep this memory, so tests
/// measure only what is added to it.
async fn settled_mib(server: &Server, ids: &[String]) -> u64 {
    for id in ids {
        is_read(server, id).await;
    }
    server.process.resident_mib()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_hold_little_and_are_cut_off() {
    let server = Server::start(INLINE);
    let ids = [large(&server).await, large(&server).await, large(&server).await];
    let before = settled_mib(&server, &ids).await;
    let sockets = server.process.open_sockets();
    let mut stalled = Vec::new();
    let mut most = 0;
    for n in 0..300 {
        let get = format!("GET /echo/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", ids[n % ids.len()]);
        stalled.push(server.saying(&get).await);
        if n % 50 == 0 {
            server.submit("/echo", json!(1)).await;
            most = most.max(server.process.resident_mib());
        }
    }
    // Each answer has begun, or its connection was cut off already.
    for socket in &stalled {
        let begun = tokio::time::timeout(Duration::from_mins(1), socket.peek(&mut [0])).await.expect("an answer");
        most = most.max(server.process.resident_mib());
        drop(begun);
    }
    assert!(most < before + MOST_MIB, "{most} MiB, and {before} before");
    is_read(&server, &ids[0]).await;
    server.submit("/echo", json!(1)).await;
    eventually_async("the end of all connections", async || {
        // The test must not read from the sockets, because a read would make the answers continue.
        let open = server.process.open_sockets();
        if open <= sockets { Ok(()) } else { Err(open) }
    })
    .await;
    for mut socket in stalled {
        // The kernel still has some bytes of the answer. After them, the connection ends.
        let mut read = Vec::new();
        let ended = tokio::time::timeout(Duration::from_mins(1), socket.read_to_end(&mut read)).await;
        assert!(ended.is_ok(), "the connection must end");
        assert!(read.len() < LARGE, "the answer must be incomplete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_a_window_of_zero_hold_little_and_are_cut_off() {
    let server = Server::start(INLINE);
    let ids = [large(&server).await, large(&server).await];
    let before = settled_mib(&server, &ids).await;
    let mut connections = Vec::new();
    let mut answers = Vec::new();
    for n in 0..6 {
        let socket = TcpStream::connect(server.address()).await.unwrap();
        let handshake = h2::client::Builder::new().initial_window_size(0).handshake::<_, bytes::Bytes>(socket);
        let (mut client, connection) = handshake.await.unwrap();
        connections.push(tokio::spawn(connection));
        for _ in 0..50 {
            client = client.ready().await.unwrap();
            let get = http::Request::get(server.path(&format!("/echo/{}", ids[n % 2]))).body(()).unwrap();
            answers.push(client.send_request(get, true).unwrap().0);
        }
    }
    let mut bodies = Vec::new();
    for answer in answers {
        // A stream that was cut off early has no answer.
        bodies.extend(tokio::time::timeout(Duration::from_mins(1), answer).await.expect("an answer").ok());
    }
    let most = server.process.resident_mib();
    assert!(most < before + MOST_MIB, "{most} MiB, and {before} before");
    is_read(&server, &ids[0]).await;
    server.submit("/echo", json!(1)).await;
    for connection in connections {
        let _ = tokio::time::timeout(Duration::from_mins(1), connection).await.expect("the server ends the connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_stream_does_not_end_the_others_of_its_connection() {
    let server = Server::start(INLINE);
    let id = large(&server).await;
    let waits = server.submit("/gated", json!({"gate": "gate", "text": "here"})).await;
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let handshake = h2::client::Builder::new().initial_window_size(1_000).handshake::<_, bytes::Bytes>(socket);
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let get = |path: String| http::Request::get(server.path(&path)).body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (poll, _) = client.send_request(get(format!("/gated/{waits}?wait=60")), true).unwrap();
    let mut client = client.ready().await.unwrap();
    let (stalled, _) = client.send_request(get(format!("/echo/{id}")), true).unwrap();
    let mut stalled = stalled.await.unwrap().into_body();
    let ended = eventually_async("the end of the stalled stream", async || {
        // The test opens the window slowly, again and again. In the end, the server resets the stream.
        match tokio::time::timeout(Duration::from_secs(15), stalled.data()).await {
            Ok(Some(Ok(data))) => {
                // This pace is slower than the server allows.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = stalled.flow_control().release_capacity(data.len());
                Err("the stream goes on")
            }
            Ok(Some(Err(_)) | None) => Ok(()),
            Err(_) => Err("no data and no end"),
        }
    });
    ended.await;
    server.open("gate");
    let answer = tokio::time::timeout(Duration::from_mins(1), poll).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 200);
}
