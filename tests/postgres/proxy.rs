//! A TCP proxy between servers and PostgreSQL. It can cut all connections at once, after a random number of bytes. It can
//! stop forwarding without closing anything, or do so for the connections of now only, like a firewall that forgets them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How many bytes pass between two cuts. A server needs some thousand bytes to connect again.
const BYTES: std::ops::Range<usize> = 2_000..60_000;

/// A proxy that runs until the value is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    /// The Unix socket of PostgreSQL.
    socket: PathBuf,
    /// The number of cuts so far. Each connection ends when it changes.
    cuts: watch::Sender<usize>,
    is_frozen: watch::Sender<bool>,
    /// Connections with smaller numbers are forgotten: they forward nothing, and are not closed.
    forgotten: AtomicUsize,
    /// How many connections there were so far.
    connections: AtomicUsize,
    /// The source of the next numbers of bytes, and how many bytes pass before the next cut. `None`: nothing is cut.
    next: Mutex<Option<(StdRng, usize)>>,
}

impl Proxy {
    /// Starts a proxy to the server with this URL, which has the folder of the Unix socket.
    pub fn start(url: &str) -> Self {
        let parameter = |name: &str| url.split(name).nth(1).and_then(|rest| rest.split('&').next()).expect(name);
        let socket = PathBuf::from(parameter("?host=")).join(format!(".s.PGSQL.{}", parameter("&port=")));
        let shared = Arc::new(Shared {
            socket,
            cuts: watch::Sender::new(0),
            is_frozen: watch::Sender::new(false),
            forgotten: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            next: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let all = Arc::clone(&shared);
        runtime.spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let shared = Arc::clone(&all);
                tokio::spawn(async move {
                    let mut cuts = shared.cuts.subscribe();
                    tokio::select! {
                        _ = converse(&shared, client) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Returns the URL of the database behind the proxy, with a schema.
    pub fn url(&self, schema: &str) -> String {
        format!("postgres://postback@{}/postgres?search_path={schema}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, cuts all connections again and again.
    pub fn cut(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let bytes = random.random_range(BYTES);
        *self.shared.next.lock().unwrap() = Some((random, bytes));
    }

    /// Cuts no more connections. Returns how often all connections were cut.
    pub fn heal(&self) -> usize {
        *self.shared.next.lock().unwrap() = None;
        self.cuts()
    }

    /// Returns how often all connections were cut.
    pub fn cuts(&self) -> usize {
        *self.shared.cuts.borrow()
    }

    /// Forwards nothing more, and closes nothing.
    pub fn freeze(&self) {
        self.shared.is_frozen.send_replace(true);
    }

    /// From now on, forwards nothing on the connections that there are now, and closes none of them.
    pub fn forget(&self) {
        let now = self.shared.connections.load(Ordering::SeqCst);
        self.shared.forgotten.store(now, Ordering::SeqCst);
    }

    /// Forwards again, first what has come meanwhile.
    pub fn thaw(&self) {
        self.shared.is_frozen.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Forwards both directions until one of them ends.
async fn converse(shared: &Shared, client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = UnixStream::connect(&shared.socket).await?;
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        end = forward(shared, number, &mut from_client, &mut to_server) => end,
        end = forward(shared, number, &mut from_server, &mut to_client) => end,
    }
}

async fn forward(
    shared: &Shared,
    number: usize,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        if shared.forgotten.load(Ordering::SeqCst) > number {
            // Nothing is closed, whatever the two ends do.
            return std::future::pending().await;
        }
        if n == 0 {
            return Ok(());
        }
        let _ = shared.is_frozen.subscribe().wait_for(|is_frozen| !is_frozen).await;
        let may_pass = shared.may_pass(n);
        to.write_all(&buffer[..may_pass]).await?;
        if may_pass < n {
            shared.cuts.send_modify(|cuts| *cuts += 1);
        }
    }
}

impl Shared {
    /// Returns how many of `n` bytes may pass. If they are fewer, all connections are cut then.
    fn may_pass(&self, n: usize) -> usize {
        let mut next = self.next.lock().unwrap();
        let Some((random, left)) = &mut *next else { return n };
        if *left > n {
            *left -= n;
            return n;
        }
        let may_pass = (*left).min(n - 1);
        *left = random.random_range(BYTES);
        may_pass
    }
}
