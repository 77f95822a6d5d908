//! The mode `handlers`: three figures of handlers that do more, each with what is asked for.
//!
//! - *progress*: [`RUNS`] runs each tell [`UPDATES`] updates a second. The store numbers the ones that it has stored. At most
//!   two a second are asked for.
//! - *due*: one server has [`WAITING`] requests that are due in a month, and one has none. Clients make round trips through
//!   both, in turns. The processor time of a round trip may differ by a tenth.
//! - *forward*: clients make round trips through a route with a handler, and through a route that another HTTP server
//!   answers, in turns. The other server is the process of the receiver, so the forwarded trip has one more exchange with it.
//!   A rate of at least [`FORWARDED`] of the other is asked for.
//!
//! The sides of a pair run one after the other, and each is the first of every other pair. The ratios are those of pairs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postback_tests::client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::anatomy::Reading;
use crate::numbers::{Rate, Spread};
use crate::rounds::{Kind, Load, PAYLOAD};
use crate::{Options, folder, receiver, roundtrip};

/// The number of runs that tell their progress at the same time.
const RUNS: u32 = 4;
const UPDATES: u32 = 10_000;
/// How many progresses of a run the store may store in a second.
const STORED: f64 = 2.0;
const WAITING: u32 = 100_000;
/// By how much the cost of a round trip may differ while many requests wait for their time.
const TENTH: f64 = 0.1;
/// The part of the rate of a handler that a forwarded request must reach.
const FORWARDED: f64 = 0.8;
const WARM_UP: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(options: &Options) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("the load of the machine before: {}", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    println!("{:<62} {:>9} {:>9}  verdict", "figure", "measured", "asked");
    let wanted = |part: &str| options.only.is_empty() || options.only == part;
    let mut held = !wanted("progress") || progress(&runtime, options);
    held &= !wanted("due") || due(&runtime, options);
    held &= !wanted("forward") || forward(&runtime, options);
    held
}

/// Prints a figure with its verdict.
fn line(figure: &str, measured: &str, asked: &str, held: bool) -> bool {
    println!("{figure:<62} {measured:>9} {asked:>9}  {}", if held { "held" } else { "MISSED" });
    held
}

fn progress(runtime: &Runtime, options: &Options) -> bool {
    let (folder, receiver) = (folder(), receiver::Receiver::start());
    let (server, load) = roundtrip::start_server(folder.path(), &receiver, &options.log);
    let seconds = u32::from(options.seconds) * u32::from(options.rounds);
    let route = load.on("/paced").server;
    let run = async |client: &reqwest::Client| -> (u32, f64, f64) {
        let pace = json!({"updates": UPDATES, "seconds": seconds});
        let (begun, post) = (Instant::now(), client.post(&route).json(&pace).send());
        let answer: Value = post.await.expect("an answer").json().await.expect("JSON");
        let url = format!("{route}/{}?wait=30&include=progress", answer["id"].as_str().expect("an id"));
        loop {
            let status: Value = client.get(&url).send().await.expect("an answer").json().await.expect("JSON");
            let time = begun.elapsed();
            if status["status"] == "completed" {
                let told = status["result"].as_u64().and_then(|told| u32::try_from(told).ok()).expect("a number");
                return (told, status["progress"]["sequence"].as_f64().expect("a number"), time.as_secs_f64());
            }
            assert!(time < PATIENCE + Duration::from_secs(seconds.into()), "{status}");
        }
    };
    let before = Reading::of(server.id());
    let client = client();
    let runs = runtime.block_on(futures_util::future::join_all((0..RUNS).map(|_| run(&client))));
    let used = Reading::of(server.id()).since(&before);
    let told = Spread::of(runs.iter().map(|(told, _, time)| f64::from(*told) / time));
    let stored = Spread::of(runs.iter().map(|(_, stored, time)| stored / time));
    #[expect(clippy::cast_precision_loss, reason = "the printed figure is rounded anyway")]
    let cost = used.all().nanoseconds as f64 / 1e3 / runs.iter().map(|(told, ..)| f64::from(*told)).sum::<f64>();
    println!("{RUNS} runs for {seconds} s: {:.0} updates/s each, {cost:.2} µs of the server for each", told.median);
    // The last progress is stored in any case, also if the one before was just stored.
    let most = STORED + 1.0 / f64::from(seconds);
    let held = line(
        "progresses stored a second, of the run with the most",
        &format!("{:.2}", stored.most),
        &format!("≤ {STORED}"),
        stored.most <= most,
    );
    roundtrip::stop(server) && held
}

/// The two sides of a comparison.
struct Pair<'a> {
    runtime: &'a Runtime,
    options: &'a Options,
    /// The load of each side, and the process of its server.
    sides: [(Arc<Load>, u32); 2],
}

impl Pair<'_> {
    /// Plays a turn of one side. Returns the rate, and the processor time of the server for a round trip in µs.
    fn turn(&self, side: usize, time: Duration) -> (f64, f64) {
        let (load, process) = &self.sides[side];
        let before = Reading::of(*process);
        let round = self.runtime.block_on(load.round(Kind::RoundTrip, self.options.in_flight.into(), time));
        let used = Reading::of(*process).since(&before);
        #[expect(clippy::cast_precision_loss, reason = "the printed figure is rounded anyway")]
        let cost = used.all().nanoseconds as f64 / 1e3 / round.latencies.len().max(1) as f64;
        (Rate::of(&round).0, cost)
    }

    /// Returns the ratios of the second side to the first one: of the rates, and of the costs. Prints the medians.
    fn ratios(&self, names: [&str; 2]) -> (Spread, Spread) {
        self.turn(0, WARM_UP);
        self.turn(1, WARM_UP);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for number in 0..self.options.rounds {
            let time = self.options.round();
            if number % 2 == 0 {
                first.push(self.turn(0, time));
                second.push(self.turn(1, time));
            } else {
                second.push(self.turn(1, time));
                first.push(self.turn(0, time));
            }
        }
        for (name, turns) in names.iter().zip([&first, &second]) {
            let median = |figure: fn(&(f64, f64)) -> f64| Spread::of(turns.iter().map(figure)).median;
            println!(
                "{name}: {:.0} round trips/s, {:.0} µs of the server for each",
                median(|of| of.0),
                median(|of| of.1)
            );
        }
        let ratio = |figure: fn(&(f64, f64)) -> f64| {
            Spread::of(first.iter().zip(&second).map(|(first, second)| figure(second) / figure(first)))
        };
        (ratio(|of| of.0), ratio(|of| of.1))
    }
}

fn due(runtime: &Runtime, options: &Options) -> bool {
    let (empty, full, receiver) = (folder(), folder(), receiver::Receiver::start());
    let (without, plain) = roundtrip::start_server(empty.path(), &receiver, &options.log);
    let (with, waiting) = roundtrip::start_server(full.path(), &receiver, &options.log);
    let begun = Instant::now();
    runtime.block_on(submit(&waiting));
    println!("{WAITING} requests that are due in a month, submitted in {:.0} s", begun.elapsed().as_secs_f64());
    let sides = [(plain, without.id()), (waiting, with.id())];
    let (rates, costs) = Pair { runtime, options, sides }.ratios(["no request waits", "they wait"]);
    let held = line(
        "cost of a round trip while they wait, as a part of that without",
        &format!("{:.3}", costs.median),
        &format!("1 ± {TENTH}"),
        (costs.median - 1.0).abs() <= TENTH,
    );
    println!("  pairs from {:.3} to {:.3}; the rate is {:.3} of that without", costs.least, costs.most, rates.median);
    roundtrip::stop(without) & roundtrip::stop(with) & receiver.trips.settle().is_complete() && held
}

/// Submits the requests that are due in a month.
async fn submit(load: &Arc<Load>) {
    const CLIENTS: u32 = 64;
    let mut set = JoinSet::new();
    for of_client in 0..CLIENTS {
        let load = Arc::clone(load);
        set.spawn(async move {
            for _ in (of_client..WAITING).step_by(CLIENTS as usize) {
                let post = load.client.post(&load.server).header("postback-run-at", "+30d");
                let answer = post.header("content-type", "application/json").body(PAYLOAD).send().await;
                let answer = answer.and_then(reqwest::Response::error_for_status).expect("an accepted request");
                drop(answer.bytes().await);
            }
        });
    }
    set.join_all().await;
}

fn forward(runtime: &Runtime, options: &Options) -> bool {
    let (folder, receiver) = (folder(), receiver::Receiver::start());
    let more = format!(
        "[[forward]]\npath = \"/forwarded\"\nurl = {:?}\n[route.\"/forwarded\"]\nconcurrency = {}\n",
        receiver.url(receiver::TARGET),
        options.in_flight,
    );
    let (server, own) = roundtrip::start_server_adding(folder.path(), &receiver, &options.log, &[], &more);
    let sides = [(Arc::clone(&own), server.id()), (Arc::new(own.on("/forwarded")), server.id())];
    let (rates, costs) = Pair { runtime, options, sides }.ratios(["a handler", "forwarded"]);
    let held = line(
        "rate of forwarded round trips, as a part of that of a handler",
        &format!("{:.3}", rates.median),
        &format!("≥ {FORWARDED}"),
        rates.median >= FORWARDED,
    );
    println!(
        "  pairs from {:.3} to {:.3}; the cost is {:.2} times that of a handler",
        rates.least, rates.most, costs.median
    );
    roundtrip::stop(server) && receiver.trips.settle().is_complete() && held
}
