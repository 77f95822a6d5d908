//! The receiver of webhooks. It runs on its own thread of the harness, so no kill hits it, and it fails at random.
//!
//! It implements HTTP/1.1 itself, because it must be able to end a connection in the middle of an answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::ledger::Ledger;
use crate::plan::{Answer, Plan};

/// On this path no attempt fails at random. Answers only come late.
pub(crate) const PATIENT: &str = "/patient";
/// The longest delay of an answer on the path [`PATIENT`], in milliseconds.
const LATE: u64 = 100;
const LONGEST_BODY: usize = 1 << 20;

pub(crate) struct Receiver {
    address: SocketAddr,
    pub(crate) ledger: Arc<Ledger>,
    /// The thread of the receiver and of the clients that post.
    pub(crate) runtime: Runtime,
}

impl Receiver {
    pub(crate) fn start(plan: Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let ledger = Arc::<Ledger>::default();
        let shared = (Arc::clone(&ledger), Arc::new(Mutex::new(plan)));
        runtime.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (ledger, plan) = shared.clone();
                tokio::spawn(async move { converse(stream, &ledger, &plan).await });
            }
        });
        Self { address, ledger, runtime }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

struct Webhook {
    path: String,
    id: String,
    body: Bytes,
}

/// Serves one connection until one side closes it. Always returns `None`, which lets `?` end the function.
async fn converse(stream: TcpStream, ledger: &Ledger, plan: &Mutex<Plan>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let webhook = read(&mut stream).await?;
        let is_patient = webhook.path == PATIENT;
        let (answer, pause) = {
            let mut plan = plan.lock().expect("no thread panicked while it held the lock");
            let answer = plan.answer();
            (if is_patient { Answer::Take } else { answer }, plan.pause(LATE))
        };
        ledger.arrived(&webhook.id, webhook.body, answer);
        if is_patient {
            tokio::time::sleep(pause).await;
        }
        let (text, goes_on): (&[u8], bool) = match answer {
            Answer::Take => (b"HTTP/1.1 204 No Content\r\n\r\n", true),
            Answer::TakeAndBreakOff => (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", false),
            Answer::Fail => (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nno\r\n", true),
            Answer::Busy => (b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", true),
            Answer::FailAndBreakOff => {
                (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 100\r\n\r\nhalf", false)
            }
            Answer::BreakOff => (b"HTTP/1.1 20", false),
            Answer::Reset => {
                stream.get_ref().set_zero_linger().ok()?;
                return None;
            }
            Answer::Hang => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok()?;
                return None;
            }
        };
        stream.write_all(text).await.ok()?;
        stream.flush().await.ok()?;
        if !goes_on {
            return None;
        }
    }
}

/// Reads the next webhook. `None` if it is incomplete, for example because its sender was killed.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Webhook> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut id, mut length) = (String::new(), None);
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.trim().clone_into(&mut id),
            "content-length" => length = value.trim().parse::<usize>().ok(),
            _ => {}
        }
    }
    let mut body = vec![0; length.filter(|length| *length <= LONGEST_BODY)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Webhook { path, id, body: body.into() })
}
