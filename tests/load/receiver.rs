//! The receiver: a separate process that reports each webhook to the program.
//!
//! It prints a line `PATH ID` for each POST, before it answers. For webhooks that are only counted, it prints the
//! changed counts once a millisecond, and [`Counts`] reads these lines.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::child::{self, Child};
use crate::counts::{Counts, Seen};
use crate::ledger::Ledger;

/// With this argument, this program is the receiver.
pub(crate) const COMMAND: &str = "receiver";
/// With this argument, this program is a receiver with [`ORIGINS`] origins.
pub(crate) const COMMAND_ORIGINS: &str = "receiver-origins";
/// The number of origins of a receiver that has many. Each is a loopback address of its own.
const ORIGINS: u16 = 1_000;
/// The path for the webhooks of round trips.
pub(crate) const ROUND_TRIP: &str = "/trip";
/// The path for bare posts.
pub(crate) const BARE: &str = "/bare";
/// The path for numbered reports that are only counted. The number of the series follows.
const COUNTED: &str = "/counted/";
/// The path on which no request is ever answered.
pub(crate) const DEAF: &str = "/deaf";
/// The path of a container that answers with what it gets.
pub(crate) const TARGET: &str = "/target";
/// The time between two prints of the changed counts.
const TICK: Duration = Duration::from_millis(1);

/// The parent's side of the receiver.
pub(crate) struct Receiver {
    _child: Child,
    address: String,
    pub(crate) trips: Arc<Ledger>,
    pub(crate) bare: Arc<Ledger>,
    pub(crate) counts: Arc<Counts>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::start_as(COMMAND)
    }

    /// Starts a receiver that also listens on the addresses of [`origins`](Self::origins).
    pub(crate) fn start_with_origins() -> Self {
        Self::start_as(COMMAND_ORIGINS)
    }

    fn start_as(command: &str) -> Self {
        let (child, address, lines) = Child::start(command);
        let (trips, bare) = (Arc::<Ledger>::default(), Arc::<Ledger>::default());
        let (of_trips, of_bare) = (Arc::clone(&trips), Arc::clone(&bare));
        let counts = Arc::<Counts>::default();
        let shared_counts = Arc::clone(&counts);
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                match line.split_once(' ') {
                    Some((ROUND_TRIP, id)) => of_trips.arrived(id),
                    Some((BARE, id)) => of_bare.arrived(id),
                    _ if shared_counts.read_line(&line) => {}
                    _ => eprintln!("the receiver printed an unknown line {line:?}"),
                }
            }
        });
        Self { _child: child, address, trips, bare, counts }
    }

    /// The URL for the reports of a series that are only counted. Their ids are numbers.
    pub(crate) fn counted(&self, series: u32) -> String {
        self.url(&format!("{COUNTED}{series}"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URLs for round trips of a receiver with many origins.
    pub(crate) fn origins(&self) -> Vec<String> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        (0..ORIGINS).map(|number| format!("http://{}:{port}{ROUND_TRIP}", address(number))).collect()
    }
}

/// The address of an origin. On Linux, all addresses of 127.0.0.0/8 are those of this machine.
fn address(origin: u16) -> Ipv4Addr {
    let [high, low] = origin.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// The `main` function of the receiver. With `origins`, it also listens on the address of each origin, on the same
/// port.
pub(crate) fn serve(origins: bool) {
    child::work(async move {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address_of_first = first.local_addr().expect("an address");
        let mut listeners = vec![first];
        for number in 0..if origins { ORIGINS } else { 0 } {
            listeners.push(TcpListener::bind((address(number), address_of_first.port())).await.expect("the same port"));
        }
        println!("{address_of_first}");
        let seen = Arc::<Mutex<Seen>>::default();
        tokio::spawn(print_counts(Arc::clone(&seen)));
        let router = Router::new().fallback(receive).with_state(seen);
        join_all(listeners.into_iter().map(|listener| axum::serve(listener, router.clone()).into_future())).await
    });
}

async fn print_counts(seen: Arc<Mutex<Seen>>) {
    let mut printed = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let lines = seen.lock().unwrap().changes(&mut printed);
        // An error means that the parent no longer reads. Then this process ends soon.
        let _ = std::io::stdout().write_all(lines.as_bytes());
    }
}

async fn receive(State(seen): State<Arc<Mutex<Seen>>>, uri: Uri, body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    if uri.path() == TARGET {
        return ([(CONTENT_TYPE, "application/json")], body).into_response();
    }
    let id = serde_json::from_slice::<Named<'_>>(&body).map_or("?", |named| named.id);
    let path = uri.path();
    if path == DEAF {
        return std::future::pending().await;
    }
    if let Some(series) = path.strip_prefix(COUNTED) {
        let (Ok(series), Ok(number)) = (series.parse(), id.parse()) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        seen.lock().unwrap().arrived(series, number);
        return StatusCode::NO_CONTENT.into_response();
    }
    match writeln!(std::io::stdout(), "{path} {id}") {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
    .into_response()
}
