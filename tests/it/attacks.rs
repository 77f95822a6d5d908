//! Callers that attack the server: floods of headers, streams that are reset at once, and bodies of random bytes. Each
//! attack is bounded, and a bystander is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::Server;

/// The longest time in which a bystander must have its outcome while the server is attacked. It is far above what the
/// server needs, because the tests share the machine.
const SERVED_WITHIN: Duration = Duration::from_secs(20);
/// The most bytes that the server reads of a connection whose head it does not accept: 32 MiB, and what the buffers of
/// the kernel hold.
const MOST_READ: usize = 48 << 20;
/// The most memory that an attack may cost, in MiB.
const MOST_MIB: u64 = 64;

/// A client that submits requests and waits for their outcomes, one after the other, during an attack.
struct Bystander {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Bystander {
    fn start(server: &Server) -> Self {
        let (stop, client, url) = (Arc::new(AtomicBool::new(false)), server.client.clone(), server.path("/echo"));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) || served == 0 {
                let begun = Instant::now();
                let post = client.post(&url).header("prefer", "wait=20").json(&json!(served));
                let outcome: serde_json::Value = post.send().await.unwrap().json().await.unwrap();
                assert_eq!(outcome["result"], json!(served));
                assert!(begun.elapsed() < SERVED_WITHIN, "the bystander waited for {:?}", begun.elapsed());
                served += 1;
            }
            served
        });
        Self { stop, task }
    }

    /// Ends the bystander. Returns how many requests it had served.
    async fn served(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A server that is attacked, and its bystander.
struct Attacked {
    server: Server,
    bystander: Bystander,
    /// The memory of the server before the attack, in MiB.
    before: u64,
}

impl Attacked {
    async fn start() -> Self {
        let server = Server::start("");
        server.submit("/echo", json!(1)).await;
        let before = server.process.resident_mib();
        Self { bystander: Bystander::start(&server), server, before }
    }

    /// Ends the attack: it must have cost little memory, and the bystander must have been served.
    async fn end(self) {
        let added = self.server.process.resident_mib().saturating_sub(self.before);
        assert!(added < MOST_MIB, "{added} MiB");
        assert!(self.bystander.served().await > 0);
    }
}

/// Waits until the server has ended the connection of each flood. It must have read little of each.
async fn all_end(floods: Vec<JoinHandle<usize>>) {
    for flood in floods {
        let written = flood.await.unwrap();
        assert!(written < MOST_READ, "{written} bytes");
    }
}

/// Writes these pieces until the server ends the connection. Returns how many bytes were written.
async fn flood(mut socket: TcpStream, mut piece: impl FnMut(usize) -> Vec<u8>) -> usize {
    let mut written = 0;
    for n in 0.. {
        let bytes = piece(n);
        if socket.write_all(&bytes).await.is_err() {
            break;
        }
        written += bytes.len();
        assert!(written < 256 << 20, "the server reads a flood without end");
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_end_their_connection_only() {
    let attacked = Attacked::start().await;
    let mut floods = Vec::new();
    for n in 0..60 {
        let socket = attacked.server.saying("POST /echo HTTP/1.1\r\nhost: localhost\r\n").await;
        floods.push(tokio::spawn(flood(socket, move |at| match n % 3 {
            0 => format!("x-{at}: {}\r\n", "a".repeat(1_000)).into_bytes(),
            1 => b"a:b\r\n".repeat(200),
            _ => b"x".repeat(1_000),
        })));
    }
    all_end(floods).await;
    attacked.end().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_endless_continuations_ends_its_connection_only() {
    let attacked = Attacked::start().await;
    let mut floods = Vec::new();
    for _ in 0..20 {
        let mut socket = attacked.server.saying("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // Settings, and a head that does not end: a literal header that is not indexed, again and again.
        socket.write_all(&[frame(4, 0, 0, &[]), frame(1, 0, 1, &[0x82])].concat()).await.unwrap();
        let header = [&[0, 1, b'a', 127, 0x80, 0x07][..], &[b'b'; 1_023]].concat();
        floods.push(tokio::spawn(flood(socket, move |_| frame(9, 0, 1, &header))));
    }
    all_end(floods).await;
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_their_connection_only() {
    let attacked = Attacked::start().await;
    for _ in 0..8 {
        let socket = TcpStream::connect(attacked.server.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut reset = 0;
        while let Ok(mut ready) = client.clone().ready().await {
            let post = http::Request::post(attacked.server.path("/echo")).header("content-type", "application/json");
            let Ok((answer, mut body)) = ready.send_request(post.body(()).unwrap(), false) else { break };
            let _ = body.send_data(Bytes::from_static(b"1"), false);
            body.send_reset(h2::Reason::CANCEL);
            drop(answer);
            client = ready;
            reset += 1;
            assert!(reset < 200_000, "the server takes resets without end");
        }
        drop(client);
        // The server tells the client to calm down, or ends the connection.
        assert!(connection.await.unwrap().is_err());
    }
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bodies_are_refused_or_run_and_break_nothing() {
    let mut server = Server::start("");
    let bystander = Bystander::start(&server);
    let mut clients = Vec::new();
    for seed in 0..10 {
        let (client, base) = (server.client.clone(), server.url.clone());
        clients.push(tokio::spawn(async move {
            let mut random = SmallRng::seed_from_u64(seed);
            for _ in 0..1_000 {
                let route = ["/echo", "/wait", "/bytes", "/nested/plain"][random.random_range(0..4)];
                let mut body = vec![0; random.random_range(0..600)];
                random.fill_bytes(&mut body);
                if random.random_ratio(1, 2) {
                    // Characters of JSON get further into the parser than random bytes.
                    let json = b"{}[]\",:0123456789truefalsnE+-.\\u \n";
                    body.iter_mut().for_each(|byte| *byte = json[usize::from(*byte) % json.len()]);
                }
                let kind = ["application/json", "application/octet-stream", "text/json; charset=utf-16", ""];
                let kind = kind[random.random_range(0..4)];
                let post = client.post(format!("{base}{route}")).header("content-type", kind).body(body);
                let status = post.send().await.unwrap().status().as_u16();
                assert!(matches!(status, 200 | 400 | 415 | 422), "{route} answered {status}");
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(bystander.served().await > 0);
    server.stop();
    assert!(!server.process.output().contains("panicked"));
}
