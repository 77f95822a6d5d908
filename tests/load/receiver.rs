//! The receiver: a process of its own that says each id it is sent.
//!
//! It speaks through a pipe, a line `PATH ID` for each POST and before its answer, and ends when its input does: so it
//! never outlives the program that started it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde::Deserialize;

use crate::ledger::Ledger;

/// The argument that makes this program a receiver.
pub(crate) const COMMAND: &str = "receiver";
/// Where webhooks go, and where bare posts.
pub(crate) const ROUND_TRIP: &str = "/trip";
pub(crate) const BARE: &str = "/bare";

/// What the parent holds. Killed when dropped.
pub(crate) struct Receiver {
    child: Child,
    address: String,
    pub(crate) trips: Arc<Ledger>,
    pub(crate) bare: Arc<Ledger>,
}

impl Receiver {
    pub(crate) fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        let mut child =
            command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the receiver");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.next().expect("the line with its address").expect("text");
        let (trips, bare) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
        let (of_trips, of_bare) = (Arc::clone(&trips), Arc::clone(&bare));
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                match line.split_once(' ') {
                    Some((ROUND_TRIP, id)) => of_trips.arrived(id),
                    Some((BARE, id)) => of_bare.arrived(id),
                    _ => eprintln!("the receiver says {line:?}"),
                }
            }
        });
        Self { child, address, trips, bare }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The receiver's own `main`.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.spawn(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        axum::serve(listener, Router::new().fallback(receive)).await
    });
    // Until the parent is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
}

async fn receive(uri: Uri, body: Bytes) -> StatusCode {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    let id = serde_json::from_slice::<Named<'_>>(&body).map_or("?", |named| named.id);
    match writeln!(std::io::stdout(), "{} {id}", uri.path()) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
