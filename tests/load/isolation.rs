//! The isolation program: what one slow endpoint among ten costs the nine others.
//!
//! Run with: cargo run --release -p postback-tests --bin isolation
//!
//! Flags, with their defaults: `--rounds 7`, `--seconds 10`, `--store memory` (or `sqlite`).
//!
//! First it measures the capacity: how many reports a second a poster delivers to ten endpoints that answer at once, posted
//! as fast as it takes them. Then reports are posted at half of that rate, evenly in time and to each endpoint in turn, in
//! rounds that alternate: *alone*, where all ten answer at once, and *beside*, where the tenth takes 20 s, which is longer
//! than an attempt may. Each round has a fresh poster, so that none knows the slow endpoint from before. Of the nine, it
//! compares how many reports arrived within the round, and the time from the post to the arrival. The receiver is a
//! process of its own, an endpoint is a port of it, and both processes read the same clock.
//!
//! It fails if the median of the rounds misses the targets: at least 0.95 of the throughput, and a 99th percentile of at most
//! 1.25 of what it is alone, or 2 ms more.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::StatusCode;
use postback::{Poster, PosterGuard, Report};
use serde::Deserialize;

/// The argument that makes this program a receiver.
const RECEIVER: &str = "receiver";
/// Endpoints that a round posts to.
const ENDPOINTS: usize = 10;
/// The endpoint after those, which takes the place of the last of them.
const SLOW: Duration = Duration::from_secs(20);
/// What of a round has not arrived by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than a round posts.
const MEMORY: (usize, usize) = (4_000_000, 4 << 30);

#[derive(Clone, Copy)]
struct Options {
    rounds: usize,
    time: Duration,
    sqlite: bool,
}

/// What of the nine came of a round.
struct Round {
    /// Posted and arrived in time, of as many that were posted.
    in_time: f64,
    /// Milliseconds, in order.
    latencies: Vec<f64>,
}

/// Arrivals by id, in microseconds since 1970.
type Arrivals = Arc<Mutex<HashMap<u64, u64>>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == RECEIVER) {
        serve();
        return ExitCode::SUCCESS;
    }
    match parse(&arguments) {
        Ok(options) if run(options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { rounds: 7, time: Duration::from_secs(10), sqlite: false };
    for pair in arguments.chunks(2) {
        let [flag, value] = pair else { return Err(format!("{} takes a value", pair[0])) };
        let number = || value.parse::<u64>().ok().filter(|n| (1..=600).contains(n)).ok_or(format!("{flag}: {value:?}"));
        match (flag.as_str(), value.as_str()) {
            ("--rounds", _) => options.rounds = usize::try_from(number()?).expect("small"),
            ("--seconds", _) => options.time = Duration::from_secs(number()?),
            ("--store", "memory" | "sqlite") => options.sqlite = value == "sqlite",
            _ => return Err(format!("{flag} {value} is unknown; see the head of the program")),
        }
    }
    Ok(options)
}

/// Whether the targets are met.
fn run(options: Options) -> bool {
    if cfg!(debug_assertions) {
        println!("This is no release build: its figures say nothing.");
    }
    let receiver = Receiver::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let capacity = runtime.block_on(capacity(options, &receiver));
    let rate = capacity / 2.0;
    println!("capacity {capacity:.0}/s; {} rounds of {:?} at {rate:.0}/s", options.rounds, options.time);
    let (alone, beside): (Vec<Round>, Vec<Round>) = (1..=options.rounds)
        .map(|number| {
            let alone = runtime.block_on(round(options, &receiver, rate, false));
            let beside = runtime.block_on(round(options, &receiver, rate, true));
            println!("round {number}: alone {}; beside {}", alone.told(), beside.told());
            (alone, beside)
        })
        .unzip();
    let median_of = |rounds: &[Round], what: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(what).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let throughput = median_of(&beside, |round| round.in_time) / median_of(&alone, |round| round.in_time);
    let p50 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.50)));
    let p99 = [&alone, &beside].map(|rounds| median_of(rounds, |round| round.quantile(0.99)));
    println!("median, of the nine: throughput {throughput:.3} of what it is alone");
    println!(
        "p50 {:.2} ms alone, {:.2} ms beside; p99 {:.2} ms alone, {:.2} ms beside",
        p50[0], p50[1], p99[0], p99[1]
    );
    let met = throughput >= 0.95 && p99[1] <= (p99[0] * 1.25).max(p99[0] + 2.0);
    println!("targets {}", if met { "met" } else { "missed" });
    met
}

impl Round {
    fn quantile(&self, part: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, cut off on purpose")]
        let at = (real(self.latencies.len()) * part) as usize;
        self.latencies.get(at).or(self.latencies.last()).copied().unwrap_or(f64::INFINITY)
    }

    fn told(&self) -> String {
        let (p50, p99) = (self.quantile(0.50), self.quantile(0.99));
        format!("{:.1} % in time, p50 {p50:.2} ms, p99 {p99:.2} ms", self.in_time * 100.0)
    }
}

/// A fresh poster that may send everywhere, and what is to be kept as long as it is.
fn poster(options: Options, receiver: &Receiver) -> (Poster, PosterGuard, Option<tempfile::TempDir>) {
    let builder = receiver.urls.iter().fold(Poster::builder(), postback::PosterBuilder::trust);
    // Beside this program, and so on the disk that was built on.
    let program = std::env::current_exe().expect("this program");
    let folder = options.sqlite.then(|| tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder"));
    let builder = match &folder {
        Some(folder) => builder.sqlite(folder.path().join("isolation.db")),
        None => builder.memory(MEMORY.0, MEMORY.1),
    };
    let (poster, guard) = builder.start().expect("a poster");
    (poster, guard, folder)
}

/// Reports a second to ten endpoints that answer at once.
async fn capacity(options: Options, receiver: &Receiver) -> f64 {
    let (poster, guard, _folder) = poster(options, receiver);
    receiver.arrivals.lock().expect("a lock").clear();
    let begun = Instant::now();
    let mut sent: u64 = 0;
    while begun.elapsed() < options.time {
        // So many wait at most: what is measured is the delivery, and not how much a queue holds.
        if sent - receiver.arrived() > 1_000 {
            tokio::time::sleep(Duration::from_micros(200)).await;
            continue;
        }
        for _ in 0..100 {
            post(&poster, receiver, sent, false);
            sent += 1;
        }
    }
    let rate = real(usize::try_from(receiver.arrived()).expect("small")) / begun.elapsed().as_secs_f64();
    let _ = guard.shutdown(PATIENCE).await;
    rate
}

async fn round(options: Options, receiver: &Receiver, rate: f64, beside: bool) -> Round {
    let (poster, guard, _folder) = poster(options, receiver);
    receiver.arrivals.lock().expect("a lock").clear();
    let mut sent = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < options.time {
        while real(sent.len()) < begun.elapsed().as_secs_f64() * rate {
            let number = sent.len();
            sent.push(now());
            post(&poster, receiver, number as u64, beside);
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let end = now();
    tokio::time::sleep(PATIENCE).await;
    // Attempts at the slow endpoint are cut off.
    let _ = guard.shutdown(Duration::from_millis(100)).await;
    let arrivals = std::mem::take(&mut *receiver.arrivals.lock().expect("a lock"));
    let of_nine = sent.iter().enumerate().filter(|(number, _)| number % ENDPOINTS != ENDPOINTS - 1);
    let (mut posted, mut in_time, mut latencies) = (0, 0, Vec::new());
    for (number, sent) in of_nine {
        posted += 1;
        let Some(arrived) = arrivals.get(&(number as u64)) else { continue };
        in_time += usize::from(*arrived <= end);
        latencies.push(Duration::from_micros(arrived.saturating_sub(*sent)).as_secs_f64() * 1e3);
    }
    latencies.sort_unstable_by(f64::total_cmp);
    Round { in_time: real(in_time) / real(posted), latencies }
}

fn post(poster: &Poster, receiver: &Receiver, number: u64, beside: bool) {
    let at = usize::try_from(number).expect("small") % ENDPOINTS;
    let at = if beside && at == ENDPOINTS - 1 { ENDPOINTS } else { at };
    let result = "of the size of a small job, such as a transcription's address and its first words".repeat(3);
    let report = Report::completed(number, &result).expect("a report");
    if let Err(error) = poster.post(&receiver.urls[at], &report) {
        eprintln!("{error}");
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

/// The receiver, as the program sees it. Killed when dropped.
struct Receiver {
    child: Child,
    urls: Vec<String>,
    arrivals: Arrivals,
}

impl Receiver {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let mut child =
            command.arg(RECEIVER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the receiver");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addresses = lines.next().expect("the line with its addresses").expect("text");
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
        Self { child, urls, arrivals }
    }

    fn arrived(&self) -> u64 {
        self.arrivals.lock().expect("a lock").len() as u64
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The receiver's own `main`: says a line `ID MICROSECONDS` for each report that comes, and ends when its input does.
fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.spawn(async {
        let mut addresses = Vec::new();
        for at in 0..=ENDPOINTS {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address").to_string());
            let pause = if at == ENDPOINTS { SLOW } else { Duration::ZERO };
            tokio::spawn(async move { axum::serve(listener, Router::new().fallback(receive).with_state(pause)).await });
        }
        println!("{}", addresses.join(" "));
    });
    // Until the parent is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
}

async fn receive(State(pause): State<Duration>, body: Bytes) -> StatusCode {
    #[derive(Deserialize)]
    struct Named<'a> {
        id: &'a str,
    }
    let arrived = now();
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let id = serde_json::from_slice::<Named<'_>>(&body).map_or("?", |named| named.id);
    match writeln!(std::io::stdout(), "{id} {arrived}") {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
