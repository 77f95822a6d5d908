//! Tests at the limits for connections and open files.

use std::time::Duration;

use postback_tests::{Process, client, eventually};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Server;

/// A server whose limits are set by the shell's `ulimit`.
fn under(ulimit: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("ulimit {ulimit} && exec \"$0\" serve --listen 127.0.0.1:0");
    let mut process = Process::start("/bin/sh", folder.path(), &["-c", &script, env!("CARGO_BIN_EXE_workload")], &[]);
    let url = process.ready();
    Server { process, url, client: client(), folder }
}

/// A connection that has received an answer and stays open, idle.
async fn idle(server: &Server) -> TcpStream {
    let mut socket = server.saying("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    socket
}

/// Waits for the first answer on a connection. Returns the connection, or `None` if the answer is a refusal.
async fn unless_refused(mut socket: TcpStream) -> Option<TcpStream> {
    let mut first = Vec::new();
    loop {
        if first.ends_with(b"ok\n") {
            return Some(socket);
        }
        if socket.read_buf(&mut first).await.unwrap() == 0 {
            assert!(first.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&first));
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_as_far_as_may_be() {
    let server = under("-Sn 200");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3);
    assert_eq!(numbers.next(), numbers.next(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_taken_idle_ones_make_room_and_others_are_refused() {
    let mut server = under("-n 900");
    // 132 is 900 files, less 256 for other uses, less 2 for each of 256 deliveries.
    server.process.wait_for("132 connections are accepted at once instead of 10000");
    let mut kept = Vec::new();
    for _ in 0..200 {
        kept.push(idle(&server).await);
    }
    server.submit("/echo", json!(1)).await;
    drop(kept);

    let waits = server.submit("/gated", json!({"gate": "gate"})).await;
    // A connection between two requests is idle, and may be closed for a new connection. So this loop opens connections
    // until one is refused. Then no connection is idle.
    let gets = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /gated/{waits}?wait=60 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    );
    let mut busy = Vec::new();
    while let Some(one) = unless_refused(server.saying(&gets).await).await {
        busy.push(one);
        assert!(busy.len() < 500, "no connection was refused");
    }
    for _ in 0..15 {
        // The client writes its request before it reads, as clients do.
        let post =
            "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let mut refused = server.saying(post).await;
        let mut answer = String::new();
        refused.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    }
    server.process.wait_for("connections are refused");
    // The server has files left for deliveries and the store.
    assert!(server.process.open_files() < 400, "{}", server.process.open_files());
    server.open("gate");
    let mut completed = 0;
    for mut busy in busy {
        let mut answer = String::new();
        completed += usize::from(busy.read_to_string(&mut answer).await.is_ok() && answer.contains("completed"));
    }
    assert!(completed >= 132, "{completed} polls completed; all connections that were accepted must be answered");
    server.client = client();
    server.submit("/echo", json!(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_free_files_logs_that_once_and_recovers() {
    let mut server = Server::start("");
    let mut kept = idle(&server).await;
    let pid = Pid::from_raw(i32::try_from(server.process.id()).unwrap()).unwrap();
    // The file descriptors below 3 are in use, so no new one can be opened.
    let fewest = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(pid), Resource::Nofile, fewest).unwrap();
    let waits = TcpStream::connect(server.address()).await.unwrap();
    server.process.wait_for("no connection can be accepted");
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    server.process.wait_for("connections are accepted again");
    drop(waits);
    server.submit("/echo", json!(1)).await;
    eventually("one line about the refused connections", || {
        let lines = server.process.output().matches("no connection can be accepted").count();
        if lines == 1 { Ok(()) } else { Err(lines) }
    });
    // The idle connection was closed to make room for others.
    let _ = kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let ended = tokio::time::timeout(Duration::from_mins(1), kept.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok());
}
