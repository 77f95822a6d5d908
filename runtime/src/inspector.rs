//! A receiver of webhooks for this machine only: it prints each webhook, and answers 204.

mod show;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use postback_store::shutdown::Shutdown;

/// The size of the largest webhook, in bytes. The inspector answers a larger webhook with 413.
const MAX_BODY: usize = 32 << 20;
/// The largest number of webhooks that the inspector reads at the same time. Further webhooks wait until the inspector
/// has read one of these webhooks.
const AT_ONCE: usize = 4;
/// The time within which a webhook must arrive. If the webhook takes longer, the inspector answers with 408, and the
/// sender makes another attempt later.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long webhooks in flight may continue when the inspector stops.
const DRAIN: Duration = Duration::from_secs(1);

/// The inspector, a receiver of webhooks on this machine. The inspector listens from the start, but answers webhooks
/// only after [`run`](Self::run) was called.
pub(crate) struct Inspector {
    listener: TcpListener,
    address: SocketAddr,
}

/// The reason why the inspector cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the inspector listens on loopback addresses only, and {0} is not one; use --inspect=127.0.0.1:4000")]
    NotLoopback(SocketAddr),
    #[error("the inspector cannot listen on {address}; if another program uses the port, use --inspect=127.0.0.1:PORT")]
    Listen { address: SocketAddr, source: std::io::Error },
}

impl Inspector {
    pub(crate) async fn listen(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let fault = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address })
    }

    /// Returns the URL at which the inspector receives webhooks.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Receives webhooks until `shutdown` signals the end. For each webhook, calls `print` with a text that describes
    /// the webhook. The text has ANSI escapes for colours.
    pub(crate) async fn run(self, print: fn(&str), shutdown: Shutdown) {
        let terminal = Terminal { print, reading: Arc::new(Semaphore::new(AT_ONCE)) };
        let router = Router::new().fallback(receive).layer(DefaultBodyLimit::disable()).with_state(terminal);
        let until = shutdown.clone();
        let served = axum::serve(self.listener, router).with_graceful_shutdown(async move { until.stopping().await });
        let deadline = async {
            shutdown.stopping().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = served => {
                if let Err(error) = served {
                    tracing::warn!("the inspector has ended: {error}");
                }
            }
            () = deadline => {}
        }
    }
}

#[derive(Clone)]
struct Terminal {
    print: fn(&str),
    reading: Arc<Semaphore>,
}

async fn receive(State(terminal): State<Terminal>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let read = async {
        // Invariant: the semaphore is never closed, so `acquire` never returns an error.
        let turn = terminal.reading.acquire().await;
        (Limited::new(body, MAX_BODY).collect().await, turn)
    };
    let (body, _turn) = match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok((Ok(body), turn)) => (body.to_bytes(), turn),
        Ok((Err(_), _)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    (terminal.print)(&show::webhook(&head, &body));
    StatusCode::NO_CONTENT.into_response()
}
