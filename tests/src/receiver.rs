//! A receiver of webhooks on its own thread. It keeps each webhook that arrives, and gives the answer that the test
//! chose.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::eventually;

/// One HTTP request that the receiver got.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// The receiver's answer to one webhook.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Status(u16),
    /// No answer, and the connection stays open.
    Hang,
}

type Decide = dyn Fn(&Received, usize) -> Answer + Send + Sync;

struct Shared {
    received: Mutex<Vec<Received>>,
    decide: Box<Decide>,
}

/// A server that listens until the value is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// A receiver that answers 204 to all webhooks.
    pub fn start() -> Self {
        Self::answering(|_, _| Answer::Status(204))
    }

    /// A receiver whose answers `decide` chooses. Its arguments are the webhook and the number of earlier webhooks.
    pub fn answering(decide: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared { received: Mutex::default(), decide: Box::new(decide) });
        // The port is bound without the runtime, because the caller may run inside another runtime.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await });
        Self { address, shared, runtime: Some(runtime) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All webhooks that have arrived so far.
    pub fn all(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until `n` webhooks have arrived. Returns all that have arrived, which may be more.
    pub fn wait(&self, n: usize) -> Vec<Received> {
        eventually(&format!("{n} webhooks"), || {
            let all = self.all();
            if all.len() >= n { Ok(all) } else { Err(all) }
        })
    }

    /// Waits for a webhook whose body has this `id`.
    pub fn wait_for(&self, id: &str) -> Received {
        eventually(&format!("a webhook for {id}"), || {
            let all = self.all();
            all.iter().find(|received| received.json()["id"] == id).cloned().ok_or(all)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let received = Received { path: head.uri.to_string(), headers: head.headers, body };
    let before = {
        let mut all = shared.received.lock().unwrap();
        all.push(received.clone());
        all.len() - 1
    };
    match (shared.decide)(&received, before) {
        Answer::Status(status) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response
        }
        Answer::Hang => std::future::pending().await,
    }
}
