//! The mode `isolation`: how much a slow origin, a failing path or a greedy caller harms the deliveries of others.
//!
//! First the mode measures the capacity: how many reports a second a poster delivers to ten origins that answer at
//! once, if reports are posted as fast as the poster takes them. Then it posts reports at half of that rate, evenly in
//! time and to each origin in turn. Two kinds of rounds alternate: *alone*, without the disturbance, and *beside*, with
//! it. Each round starts a new poster, so that no poster knows a slow origin from an earlier round. An origin is a port
//! of the receiver. Both processes read the same clock. There are three disturbances:
//!
//! - *Slow*: the tenth origin answers after 20 s, which is longer than the limit of an attempt. The reports to the nine
//!   others are measured.
//! - *Paths*: all reports go to one origin. The tenth part of them goes to a path that answers 500. The nine others, to
//!   a path that answers at once, are measured.
//! - *Greedy*: one report in ten is from a modest caller, and is measured. A greedy caller posts thirty times as many
//!   reports to another origin, more than can be delivered.
//!
//! For the measured reports, the mode compares how many arrived within the round, and the time from post to arrival. It
//! fails if the median of the rounds misses a target. The throughput must be at least 0.95 of the throughput alone. For
//! *Slow*, the 99th percentile must also be at most 1.25 of the 99th percentile alone, or at most 2 ms more.

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

/// With this argument, this program is a receiver that listens on several ports. Each port is an origin.
pub(crate) const COMMAND: &str = "receiver-of-ten";
/// The number of origins that answer at once.
const ORIGINS: usize = 10;
/// The slow origin answers after this time. It is an additional origin, and replaces the last one in the rounds
/// *beside*.
const SLOW: Duration = Duration::from_secs(20);
/// The path that answers 500.
const BAD: &str = "bad";
/// The number of reports that the greedy caller posts in each of nine turns. The modest caller posts one in the tenth
/// turn.
const GREED: u32 = 3;
/// The wait after a round. Reports that arrive later do not count.
const PATIENCE: Duration = Duration::from_secs(2);
/// The limits of a poster in memory, in reports and bytes. They are more than a round posts.
const MEMORY: (usize, usize) = (4_000_000, 4 << 30);

/// A disturbance. It is one row of the printed comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Slow,
    Paths,
    Greedy,
}

impl Row {
    const ALL: [(Self, &str); 3] = [
        (Self::Slow, "one slow origin among ten"),
        (Self::Paths, "a path that fails, beside a path of the same origin that works"),
        (Self::Greedy, "a greedy caller beside a modest one"),
    ];

    /// Whether the report with this number is measured.
    fn measures(self, number: usize) -> bool {
        match self {
            Self::Slow | Self::Paths => number % ORIGINS != ORIGINS - 1,
            Self::Greedy => number.is_multiple_of(ORIGINS),
        }
    }

    /// The URL of the report with this number, and how many times it is posted.
    fn target(self, number: usize, beside: bool, receiver: &Receiver) -> (String, u32) {
        let at = number % ORIGINS;
        match self {
            _ if self != Self::Paths && self.measures(number) => (receiver.urls[at].clone(), 1),
            Self::Slow => (receiver.urls[if beside { ORIGINS } else { at }].clone(), 1),
            Self::Paths if beside && at == ORIGINS - 1 => (format!("{}{BAD}", receiver.urls[0]), 1),
            Self::Paths => (receiver.urls[0].clone(), 1),
            Self::Greedy => (receiver.urls[1].clone(), if beside { GREED } else { 0 }),
        }
    }
}

/// The figures of one round, for the measured reports.
struct Round {
    /// The part of the posted reports that arrived within the round, from 0 to 1.
    in_time: f64,
    /// The times from post to arrival, sorted.
    latencies: Vec<Duration>,
}

/// The time of each arrival, in microseconds since 1970, by id.
type Arrivals = Arc<Mutex<HashMap<u64, u64>>>;

/// Runs the mode. Returns whether all targets are met.
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
            println!("round {number}: alone {}; beside {}", alone.summary(), beside.summary());
            (alone, beside)
        })
        .unzip();
    let median_of = |rounds: &[Round], what: fn(&Round) -> f64| Spread::of(rounds.iter().map(what)).median;
    let throughput = median_of(&beside, |round| round.in_time) / median_of(&alone, |round| round.in_time);
    let p50 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.50)));
    let p99 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.99)));
    println!("median: throughput {throughput:.3} of the throughput alone");
    println!(
        "p50 {:.2} ms alone, {:.2} ms beside; p99 {:.2} ms alone, {:.2} ms beside",
        p50[0], p50[1], p99[0], p99[1]
    );
    let met = throughput >= 0.95 && (row != Row::Slow || p99[1] <= (p99[0] * 1.25).max(p99[0] + 2.0));
    println!("targets {}", if met { "met" } else { "missed" });
    met
}

impl Round {
    /// A quantile of the times, in milliseconds. It is infinite if nothing arrived.
    fn quantile(&self, part: f64) -> f64 {
        if self.latencies.is_empty() { f64::INFINITY } else { milliseconds(quantile(&self.latencies, part)) }
    }

    fn summary(&self) -> String {
        let (p50, p99) = (self.quantile(0.50), self.quantile(0.99));
        format!("{:.1} % in time, p50 {p50:.2} ms, p99 {p99:.2} ms", self.in_time * 100.0)
    }
}

/// A new poster that trusts all origins of the receiver, with its guard, and its folder if it has a file. The caller
/// keeps all three.
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

/// Measures how many reports a second a poster delivers to ten origins that answer at once.
async fn capacity(time: Duration, on_disk: bool, receiver: &Receiver) -> f64 {
    let (poster, guard, _folder) = poster(on_disk, receiver);
    receiver.arrivals.lock().expect("a lock").clear();
    let begun = Instant::now();
    let mut sent: u64 = 0;
    while begun.elapsed() < time {
        // At most 1,000 reports wait. So the rate is the rate of the deliveries, not the rate at which a queue fills.
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
    // This short wait cuts off attempts to the slow origin.
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

/// The parent's side of the receiver.
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
        let shared = Arc::clone(&arrivals);
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                let mut words = line.split(' ').map(str::parse);
                if let (Some(Ok(id)), Some(Ok(at))) = (words.next(), words.next()) {
                    shared.lock().expect("a lock").entry(id).or_insert(at);
                }
            }
        });
        Self { _child: child, urls, arrivals }
    }

    fn arrived(&self) -> u64 {
        self.arrivals.lock().expect("a lock").len() as u64
    }
}

/// The `main` function of the receiver. It prints a line `ID MICROSECONDS` for each report that arrives.
pub(crate) fn serve() {
    child::work(async {
        let mut addresses = Vec::new();
        for at in 0..=ORIGINS {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address").to_string());
            let pause = if at == ORIGINS { SLOW } else { Duration::ZERO };
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
