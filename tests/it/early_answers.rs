//! Answers that the server gives before it has read the body. A client that writes its whole body before it reads must
//! get the answer too.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use postback_tests::eventually_async;

use crate::support::Server;

const MIB: usize = 1 << 20;

/// Writes the whole head and body, and only then reads the answer, as clients in Python, Ruby and Java do.
fn write_all_then_read(server: &Server, head: &str, body: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap_or_else(|error| panic!("{head}: {error}"));
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{head}: {error}"));
    answer
}

fn head(method: &str, path: &str, content_type: &str, length: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n{length}\r\n\r\n")
}

#[test]
fn a_client_that_writes_all_before_it_reads_gets_the_answer() {
    let server = Server::start("[server]\nmax_payload = \"1MiB\"\n");
    let body = vec![b'x'; 20 * MIB];
    let length = format!("content-length: {}", body.len());
    for (method, path, content_type, status) in [
        ("POST", "/bytes", "text/plain", 413),
        ("POST", "/wait", "application/json", 413),
        ("POST", "/nowhere", "application/json", 404),
        ("PUT", "/wait", "application/json", 405),
        ("BREW", "/wait", "application/json", 501),
        ("POST", "nowhere", "application/json", 400),
        ("GET", "/healthz", "application/json", 200),
    ] {
        let answer = write_all_then_read(&server, &head(method, path, content_type, &length), &body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // Java's client asks for an upgrade to HTTP/2 with each request. The server ignores that.
    let upgrade =
        format!("{length}\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA");
    for _ in 0..15 {
        let answer = write_all_then_read(&server, &head("POST", "/wait", "application/json", &upgrade), &body);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // The head is not valid HTTP.
    let answer = write_all_then_read(&server, &format!("POST /wait HTTP/1.1\r\na b: c\r\n{length}\r\n\r\n"), &body);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // The body is within the limit, but its content type is wrong.
    let (short, length) = (&body[..MIB], format!("content-length: {MIB}"));
    let answer = write_all_then_read(&server, &head("POST", "/wait", "text/plain", &length), short);
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("accept: application/json"), "{answer}");
    // The length of a chunked body is unknown until it ends.
    let mut chunks = format!("{:x}\r\n", body.len()).into_bytes();
    chunks.extend_from_slice(&body);
    chunks.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer =
        write_all_then_read(&server, &head("POST", "/bytes", "text/plain", "transfer-encoding: chunked"), &chunks);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// The body is larger than all socket buffers, so the server must read it. It must not keep it in memory.
#[test]
fn a_body_that_is_not_needed_takes_no_memory() {
    let server = Server::start("[server]\nmax_payload = \"1KiB\"\n");
    let before = server.process.resident_mib();
    let body = vec![b'x'; 100 * MIB];
    let length = format!("content-length: {}", body.len());
    let head = head("POST", "/bytes", "text/plain", &length);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer = write_all_then_read(&server, &head, &body);
                assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            });
        }
    });
    let grown = server.process.resident_mib().saturating_sub(before);
    assert!(grown < 50, "{grown} MiB more");
}

/// Such a client holds one connection, for a few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_send_the_announced_body_do_not_delay_others() {
    let server = Server::start("");
    let before = server.process.open_sockets();
    let post = head("POST", "/nowhere", "text/plain", "content-length: 1000000000") + "x";
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(server.saying(&post).await);
    }
    server.submit("/echo", serde_json::json!(1)).await;
    eventually_async("the end of these connections", async || {
        let open = server.process.open_sockets();
        if open < before + 100 { Ok(()) } else { Err(open) }
    })
    .await;
    drop(held);
}

#[test]
fn a_client_that_expects_100_continue_is_refused_before_it_sends_its_body() {
    let server = Server::start("");
    for (path, content_type, length, status) in [
        ("/wait", "application/json", "99999999999999", 413),
        ("/wait", "text/plain", "100", 415),
        ("/nowhere", "text/plain", "100", 404),
    ] {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        let length = format!("content-length: {length}\r\nexpect: 100-continue");
        socket.write_all(head("POST", path, content_type, &length).as_bytes()).unwrap();
        // The client sends nothing more, so the answer shows that the server does not wait for the body.
        let mut answer = vec![0; 4];
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let n = socket.read(&mut answer).unwrap();
            assert_ne!(n, 0, "{text}");
            text.push_str(std::str::from_utf8(&answer[..n]).unwrap());
        }
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        socket.shutdown(Shutdown::Both).unwrap();
    }
    // A client with a correct head receives 100 Continue.
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let length = "content-length: 2\r\nconnection: close\r\nexpect: 100-continue";
    socket.write_all(head("POST", "/wait", "application/json", length).as_bytes()).unwrap();
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"{}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A short body that has arrived is read and dropped, so that a client can reuse the connection.
#[test]
fn a_short_body_that_is_not_needed_does_not_close_the_connection() {
    let server = Server::start("");
    let mut socket = TcpStream::connect(server.address()).unwrap();
    for (method, path, status) in [("POST", "/nowhere", 404), ("GET", "/healthz", 200), ("DELETE", "/wait/x", 404)] {
        socket.write_all((head(method, path, "text/plain", "content-length: 5") + "hello").as_bytes()).unwrap();
        let answer = one_answer(&mut socket);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && !answer.contains("connection: close"),
            "{answer}"
        );
    }
}

/// Reads one answer with a content-length. Returns its head.
fn one_answer(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    socket.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    head
}

/// For some HTTP/2 clients, it is an error if the stream ends before they have sent their whole body.
#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_client_that_writes_all_before_it_reads_gets_the_answer() {
    let server = Server::start("[server]\nmax_payload = \"1KiB\"\n");
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let post = http::Request::post(server.path("/bytes")).header("content-length", 4 * MIB).body(()).unwrap();
    let (response, mut sending) = client.send_request(post, false).unwrap();
    let mut left = 4 * MIB;
    while left > 0 {
        sending.reserve_capacity(left);
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.expect("an open stream").unwrap();
        sending.send_data(vec![b'x'; room].into(), left == room).unwrap();
        left -= room;
    }
    let response = response.await.unwrap();
    assert_eq!(response.status(), 413);
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert!(String::from_utf8_lossy(&text).contains("server.max_payload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_body_that_is_not_needed_ends_only_its_stream() {
    let server = Server::start("[server]\nmax_payload = \"1KiB\"\n");
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for (path, status) in [("/bytes", 413), ("/nowhere", 404)] {
        client = client.ready().await.unwrap();
        let post = http::Request::post(server.path(path)).body(()).unwrap();
        let (response, mut body) = client.send_request(post, false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; 60_000]), false).unwrap();
        assert_eq!(response.await.unwrap().status(), status);
    }
    client = client.ready().await.unwrap();
    let get = http::Request::get(server.path("/healthz")).body(()).unwrap();
    assert_eq!(client.send_request(get, true).unwrap().0.await.unwrap().status(), 200);
}
