//! Clients that ask for much and do not read it: what they hold, and that others are served.

use std::time::Duration;

use postback_tests::eventually_async;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::Server;

const LARGE: usize = 8 << 20;
/// What answers may take up, what the store needs to read them, and some.
const MOST_MIB: u64 = 64 + 64;
const SOON: Duration = Duration::from_secs(20);

async fn large(server: &Server) -> String {
    let id = server.submit("/echo", json!("x".repeat(LARGE))).await;
    server.settled("/echo", &id).await;
    id
}

/// The whole of it, read as any client does.
async fn is_read(server: &Server, id: &str) {
    let read = async {
        let status: Value =
            server.client.get(server.path(&format!("/echo/{id}"))).send().await.unwrap().json().await.unwrap();
        status["result"].as_str().unwrap().len()
    };
    assert_eq!(tokio::time::timeout(SOON, read).await.expect("others are served"), LARGE);
}

/// Bodies and results that were in memory once may stay with the allocator: what counts is what comes on top of it.
async fn settled_mib(server: &Server, ids: &[String]) -> u64 {
    for id in ids {
        is_read(server, id).await;
    }
    server.process.resident_mib()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_hold_little_and_are_cut_off() {
    let server = Server::start("");
    let ids = [large(&server).await, large(&server).await, large(&server).await];
    let before = settled_mib(&server, &ids).await;
    let sockets = server.process.open_sockets();
    let mut stalled = Vec::new();
    let mut most = 0;
    for n in 0..300 {
        let get = format!("GET /echo/{} HTTP/1.1\r\nhost: test\r\n\r\n", ids[n % ids.len()]);
        stalled.push(server.saying(&get).await);
        if n % 50 == 0 {
            server.submit("/echo", json!(1)).await;
            most = most.max(server.process.resident_mib());
        }
    }
    // Each has been begun, or was cut off already.
    for socket in &stalled {
        let begun = tokio::time::timeout(Duration::from_mins(1), socket.peek(&mut [0])).await.expect("an answer");
        most = most.max(server.process.resident_mib());
        drop(begun);
    }
    assert!(most < before + MOST_MIB, "{most} MiB, and {before} before");
    is_read(&server, &ids[0]).await;
    server.submit("/echo", json!(1)).await;
    eventually_async("that all are cut off", async || {
        // Each one: a read would set it going again.
        let open = server.process.open_sockets();
        if open <= sockets { Ok(()) } else { Err(open) }
    })
    .await;
    for mut socket in stalled {
        // What the kernel has of it comes yet, and then the end.
        let mut read = Vec::new();
        let ended = tokio::time::timeout(Duration::from_mins(1), socket.read_to_end(&mut read)).await;
        assert!(ended.is_ok(), "it is over");
        assert!(read.len() < LARGE, "and not told all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_a_window_of_zero_hold_little_and_are_cut_off() {
    let server = Server::start("");
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
        // One that is cut off early is none.
        bodies.extend(tokio::time::timeout(Duration::from_mins(1), answer).await.expect("an answer").ok());
    }
    let most = server.process.resident_mib();
    assert!(most < before + MOST_MIB, "{most} MiB, and {before} before");
    is_read(&server, &ids[0]).await;
    server.submit("/echo", json!(1)).await;
    for connection in connections {
        let _ = tokio::time::timeout(Duration::from_mins(1), connection).await.expect("it is cut off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_stream_does_not_end_the_others_of_its_connection() {
    let server = Server::start("");
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
    let metrics = eventually_async("that the stalled one is over", async || {
        // Its window is opened and taken up again and again; in the end it says that it is over.
        match tokio::time::timeout(Duration::from_secs(15), stalled.data()).await {
            Ok(Some(Ok(data))) => {
                // Slower than may be.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = stalled.flow_control().release_capacity(data.len());
                Err("it goes on")
            }
            Ok(Some(Err(_)) | None) => Ok(()),
            Err(_) => Err("nothing comes"),
        }
    });
    metrics.await;
    server.open("gate");
    let answer = tokio::time::timeout(Duration::from_mins(1), poll).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 200);
}
