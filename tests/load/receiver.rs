//! The receiver: a process of its own that says each id it is sent.
//!
//! It speaks a line `PATH ID` for each POST and before its answer. What is only to be counted it tells by the thousand: see
//! [`Counts`].

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde::Deserialize;

use crate::child::{self, Child};
use crate::counts::{Counts, Seen};
use crate::ledger::Ledger;

/// The argument that makes this program a receiver.
pub(crate) const COMMAND: &str = "receiver";
/// Where webhooks go, and where bare posts.
pub(crate) const ROUND_TRIP: &str = "/trip";
pub(crate) const BARE: &str = "/bare";
/// Where numbered reports go that are only counted; the number of the run follows.
const COUNTED: &str = "/counted/";
/// Where nothing is ever answered.
pub(crate) const DEAF: &str = "/deaf";
/// How often what is counted is told.
const TICK: Duration = Duration::from_millis(1);

/// What the parent holds.
pub(crate) struct Receiver {
    _child: Child,
    address: String,
    pub(crate) trips: Arc<Ledger>,
    pub(crate) bare: Arc<Ledger>,
    pub(crate) counts: Arc<Counts>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let (child, address, lines) = Child::start(COMMAND);
        let (trips, bare) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
        let (of_trips, of_bare) = (Arc::clone(&trips), Arc::clone(&bare));
        let counts = Arc::<Counts>::default();
        let told = Arc::clone(&counts);
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                match line.split_once(' ') {
                    Some((ROUND_TRIP, id)) => of_trips.arrived(id),
                    Some((BARE, id)) => of_bare.arrived(id),
                    _ if told.told(&line) => {}
                    _ => eprintln!("the receiver says {line:?}"),
                }
            }
        });
        Self { _child: child, address, trips, bare, counts }
    }

    /// Where the reports of a run go that are only counted; their ids are numbers.
    pub(crate) fn counted(&self, run: u32) -> String {
        self.url(&format!("{COUNTED}{run}"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// The receiver's own `main`.
pub(crate) fn serve() {
    child::work(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let seen = Arc::<Mutex<Seen>>::default();
        tokio::spawn(tell(Arc::clone(&seen)));
        axum::serve(listener, Router::new().fallback(receive).with_state(seen)).await
    });
}

async fn tell(seen: Arc<Mutex<Seen>>) {
    let mut told = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let news = seen.lock().unwrap().news(&mut told);
        // Without a reader this program is about to end.
        let _ = std::io::stdout().write_all(news.as_bytes());
    }
}

async fn receive(State(seen): State<Arc<Mutex<Seen>>>, uri: Uri, body: Bytes) -> StatusCode {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    let id = serde_json::from_slice::<Named<'_>>(&body).map_or("?", |named| named.id);
    let path = uri.path();
    if path == DEAF {
        return std::future::pending().await;
    }
    if let Some(run) = path.strip_prefix(COUNTED) {
        let (Ok(run), Ok(number)) = (run.parse(), id.parse()) else { return StatusCode::BAD_REQUEST };
        seen.lock().unwrap().arrived(run, number);
        return StatusCode::NO_CONTENT;
    }
    match writeln!(std::io::stdout(), "{path} {id}") {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
