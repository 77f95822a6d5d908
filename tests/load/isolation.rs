//! The mode `isolation`: what one slow endpoint among ten costs the nine others, what a path that fails costs another path of its
//! origin, and what a greedy caller costs a modest one.
//!
//! First it measures the capacity: how many reports a second a poster delivers to ten endpoints that answer at once, posted
//! as fast as it takes them. Then reports are posted at half of that rate, evenly in time and to each endpoint in turn, in
//! rounds that alternate: *alone*, where all ten answer at once, and *beside*, where the tenth takes 20 s, which is longer
//! than an attempt may. Each round has a fresh poster, so that none knows the slow endpoint from before. Of the nine, it
//! compares how many reports arrived within the round, and the time from the post to the arrival. An endpoint is a port of
//! the receiver, and both processes read the same clock.
//!
//! The two further rows are measured alike. *Paths*: of ten reports to one origin, nine go to a path that answers at once, and
//! the tenth, beside, to one that answers 500; of the nine it is told what came of them. *Greedy*: one report in ten is a modest
//! caller's; beside, a greedy one posts thirty times as many to an endpoint of its own, more than can be delivered.
//!
//! It fails if the median of the rounds misses the targets: at least 0.95 of the throughput and, of the first row, a 99th
//! percentile of at most 1.25 of what it is alone, or 2 ms more.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::{StatusCode, Uri};
use postback::{Poster, PosterGuard, Report};
use serde::Deserialize;

use crate::child::{self, Child};
use crate::numbers::{Spread, milliseconds, quantile};
use crate::rounds::PAYLOAD;
use crate::{Options, folder};

/// The argument that makes this program a receiver with an endpoint at each of its ports.
pub(crate) const COMMAND: &str = "receiver-of-ten";
/// Endpoints that a round posts to.
const ENDPOINTS: usize = 10;
/// The endpoint after those, which takes the place of the last of them.
const SLOW: Duration = Duration::from_secs(20);
/// The path that answers 500.
const BAD: &str = "bad";
/// What a greedy caller posts for each report of ten, one of which is a modest caller's.
const GREED: u32 = 3;
/// What of a round has not arrived by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than a round posts.
const MEMORY: (usize, usize) = (4_000_000, 4 << 30);

/// What stands beside what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Slow,
    Paths,
    Greedy,
}

impl Row {
    const ALL: [(Self, &str); 3] = [
        (Self::Slow, "one slow endpoint among ten"),
        (Self::Paths, "a path that fails, beside one of the same origin that works"),
        (Self::Greedy, "a greedy caller beside a modest one"),
    ];

    /// Whether it is told what becomes of the report with this number.
    fn measures(self, number: usize) -> bool {
        match self {
            Self::Slow | Self::Paths => number % ENDPOINTS != ENDPOINTS - 1,
            Self::Greedy => number.is_multiple_of(ENDPOINTS),
        }
    }

    /// Where the report with this number goes, and how many of it.
    fn target(self, number: usize, beside: bool, receiver: &Receiver) -> (String, u32) {
        let at = number % ENDPOINTS;
        match self {
            _ if self != Self::Paths && self.measures(number) => (receiver.urls[at].clone(), 1),
            Self::Slow => (receiver.urls[if beside { ENDPOINTS } else { at }].clone(), 1),
            Self::Paths if beside && at == ENDPOINTS - 1 => (format!("{}{BAD}", receiver.urls[0]), 1),
            Self::Paths => (receiver.urls[0].clone(), 1),
            Self::Greedy => (receiver.urls[1].clone(), if beside { GREED } else { 0 }),
        }
    }
}

/// What of the measured reports came of a round.
struct Round {
    /// Posted and arrived in time, of as many that were posted.
    in_time: f64,
    /// In order.
    latencies: Vec<Duration>,
}

/// Arrivals by id, in microseconds since 1970.
type Arrivals = Arc<Mutex<HashMap<u64, u64>>>;

/// Whether the targets are met.
pub(crate) fn run(options: &Options) -> bool {
    let mut met = true;
    for (name, on_disk) in [("memory", false), ("full", true)] {
        if name.starts_with(&options.only) {
            println!("{name}:");
            for (row, title) in Row::ALL {
                println!("{title}:");
                met &= compare(options, on_disk, row);
            }
        }
    }
    met
}

fn compare(options: &Options, on_disk: bool, row: Row) -> bool {
    let receiver = Receiver::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let time = options.round();
    let capacity = runtime.block_on(capacity(time, on_disk, &receiver));
    let rate = capacity / 2.0;
    println!("capacity {capacity:.0}/s; {} rounds of {time:?} at {rate:.0}/s", options.rounds);
    let (alone, beside): (Vec<Round>, Vec<Round>) = (1..=options.rounds)
        .map(|number| {
            let alone = runtime.block_on(round(time, on_disk, &receiver, rate, (row, false)));
            let beside = runtime.block_on(round(time, on_disk, &receiver, rate, (row, true)));
            println!("round {number}: alone {}; beside {}", alone.told(), beside.told());
            (alone, beside)
        })
        .unzip();
    let median_of = |rounds: &[Round], what: fn(&Round) -> f64| Spread::of(rounds.iter().map(what)).median;
    let throughput = median_of(&beside, |round| round.in_time) / median_of(&alone, |round| round.in_time);
    let p50 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.50)));
    let p99 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.99)));
    println!("median: throughput {throughput:.3} of what it is alone");
    println!(
        "p50 {:.2} ms alone, {:.2} ms beside; p99 {:.2} ms alone, {:.2} ms beside",
        p50[0], p50[1], p99[0], p99[1]
    );
    let met = throughput >= 0.95 && (row != Row::Slow || p99[1] <= (p99[0] * 1.25).max(p99[0] + 2.0));
    println!("targets {}", if met { "met" } else { "missed" });
    met
}

impl Round {
    /// In milliseconds; without end if nothing arrived.
    fn quantile(&self, part: f64) -> f64 {
        if self.latencies.is_empty() { f64::INFINITY } else { milliseconds(quantile(&self.latencies, part)) }
    }

    fn told(&self) -> String {
        let (p50, p99) = (self.quantile(0.50), self.quantile(0.99));
        format!("{:.1} % in time, p50 {p50:.2} ms, p99 {p99:.2} ms", self.in_time * 100.0)
    }
}

/// A fresh poster that may send everywhere, and what is to be kept as long as it is.
fn poster(on_disk: bool, receiver: &Receiver) -> (Poster, PosterGuard, Option<tempfile::TempDir>) {
    let builder = receiver.urls.iter().fold(Poster::builder(), postback::PosterBuilder::trust);
    let folder = on_disk.then(folder);
    let builder = match &folder {
        Some(folder) => builder.sqlite(folder.path().join("isolation.db")),
        None => builder.memory(MEMORY.0, MEMORY.1),
    };
    let (poster, guard) = builder.start().expect("a poster");
    (poster, guard, folder)
}

/// Reports a second to ten endpoints that answer at once.
async fn capacity(time: Duration, on_disk: bool, receiver: &Receiver) -> f64 {
    let (poster, guard, _folder) = poster(on_disk, receiver);
    receiver.arrivals.lock().expect("a lock").clear();
    let begun = Instant::now();
    let mut sent: u64 = 0;
    while begun.elapsed() < time {
        // So many wait at most: what is measured is the delivery, and not how much a queue holds.
        if sent - receiver.arrived() > 1_000 {
            tokio::time::sleep(Duration::from_micros(200)).await;
            continue;
        }
        for _ in 0..100 {
            post(&poster, receiver, sent, (Row::Slow, false));
            sent += 1;
        }
    }
    let rate = real(usize::try_from(receiver.arrived()).expect("small")) / begun.elapsed().as_secs_f64();
    let _ = guard.shutdown(PATIENCE).await;
    rate
}

async fn round(time: Duration, on_disk: bool, receiver: &Receiver, rate: f64, at: (Row, bool)) -> Round {
    let (poster, guard, _folder) = poster(on_disk, receiver);
    receiver.arrivals.lock().expect("a lock").clear();
    let mut sent = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        while real(sent.len()) < begun.elapsed().as_secs_f64() * rate {
            let number = sent.len();
            sent.push(now());
            post(&poster, receiver, number as u64, at);
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let end = now();
    tokio::time::sleep(PATIENCE).await;
    // Attempts at the slow endpoint are cut off.
    let _ = guard.shutdown(Duration::from_millis(100)).await;
    let arrivals = std::mem::take(&mut *receiver.arrivals.lock().expect("a lock"));
    let measured = sent.iter().enumerate().filter(|(number, _)| at.0.measures(*number));
    let (mut posted, mut in_time, mut latencies) = (0, 0, Vec::new());
    for (number, sent) in measured {
        posted += 1;
        let Some(arrived) = arrivals.get(&(number as u64)) else { continue };
        in_time += usize::from(*arrived <= end);
        latencies.push(Duration::from_micros(arrived.saturating_sub(*sent)));
    }
    latencies.sort_unstable();
    Round { in_time: real(in_time) / real(posted), latencies }
}

fn post(poster: &Poster, receiver: &Receiver, number: u64, (row, beside): (Row, bool)) {
    let (url, times) = row.target(usize::try_from(number).expect("small"), beside, receiver);
    let report = Report::completed(number, PAYLOAD).expect("a report");
    for _ in 0..times {
        if let Err(error) = poster.post(&url, &report) {
            eprintln!("{error}");
        }
    }
}

fn real(n: usize) -> f64 {
    f64::from(u32::try_from(n).expect("far less"))
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("far less")
}

/// The receiver, as the program sees it.
struct Receiver {
    _child: Child,
    urls: Vec<String>,
    arrivals: Arrivals,
}

impl Receiver {
    fn start() -> Self {
        let (child, addresses, lines) = Child::start(COMMAND);
        let urls = addresses.split(' ').map(|address| format!("http://{address}/")).collect();
        let arrivals = Arrivals::default();
        let told = Arc::clone(&arrivals);
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                let mut words = line.split(' ').map(str::parse);
                if let (Some(Ok(id)), Some(Ok(at))) = (words.next(), words.next()) {
                    told.lock().expect("a lock").entry(id).or_insert(at);
                }
            }
        });
        Self { _child: child, urls, arrivals }
    }

    fn arrived(&self) -> u64 {
        self.arrivals.lock().expect("a lock").len() as u64
    }
}

/// The receiver's own `main`: says a line `ID MICROSECONDS` for each report that comes.
pub(crate) fn serve() {
    child::work(async {
        let mut addresses = Vec::new();
        for at in 0..=ENDPOINTS {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address").to_string());
            let pause = if at == ENDPOINTS { SLOW } else { Duration::ZERO };
            tokio::spawn(async move { axum::serve(listener, Router::new().fallback(receive).with_state(pause)).await });
        }
        println!("{}", addresses.join(" "));
    });
}

async fn receive(State(pause): State<Duration>, uri: Uri, body: Bytes) -> StatusCode {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    let arrived = now();
    if uri.path().ends_with(BAD) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let id = serde_json::from_slice::<Named<'_>>(&body).map_or("?", |named| named.id);
    match writeln!(std::io::stdout(), "{id} {arrived}") {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
