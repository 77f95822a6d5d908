//! The load program: how many round trips a workload server makes, beside what a bare HTTP client can do.
//!
//! Run with: cargo run --release -p postback-tests --bin load
//!
//! Flags, with their defaults: `--in-flight 64`, `--rounds 3`, `--seconds 5`, `--log warn` (the server's log level).
//!
//! - A *round trip* is a POST to the server's `/echo`, its answer with an id, and the webhook with that id arriving at the
//!   receiver. So many clients as are to be in flight each make one after another, waiting for the webhook before the
//!   next POST: there are never more, and hardly ever fewer, round trips under way.
//! - A *bare post* is a POST of such a webhook's body to the same receiver by the same HTTP client, and its answer. As
//!   many clients each make one after another.
//!
//! Server, receiver and this program are three processes on one machine, which talk over loopback and share its cores. The
//! server keeps its record in a fresh SQLite file with `durability = "full"`, beside this program and so on the disk that
//! was built on. Rounds take turns, bare posts first; a rate counts what arrived in the time of its round. A short round of
//! each goes before them and does not count. Everything sent is looked for at the receiver after the server has stopped:
//! the program fails if anything is missing.

mod ledger;
mod numbers;
mod receiver;
mod rounds;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postback_tests::{Process, client};

use self::numbers::{Rate, median, quantile};
use self::rounds::{Kind, Load, Round};

/// Rounds that do not count.
const WARM_UP: Duration = Duration::from_secs(1);

struct Options {
    in_flight: usize,
    rounds: usize,
    seconds: u64,
    log: String,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { in_flight: 64, rounds: 3, seconds: 5, log: "warn".to_owned() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} takes a value"))?;
            let number = || value.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{flag}: {value:?}"));
            match flag.as_str() {
                "--in-flight" => options.in_flight = usize::try_from(number()?.min(10_000)).expect("small"),
                "--rounds" => options.rounds = usize::try_from(number()?.min(100)).expect("small"),
                "--seconds" => options.seconds = number()?.min(600),
                "--log" => options.log = value,
                _ => return Err(format!("unknown flag {flag}; see the head of the program")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == receiver::COMMAND) {
        receiver::serve();
        return ExitCode::SUCCESS;
    }
    match Options::parse(arguments) {
        Ok(options) if run(&options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

/// Whether all that was sent arrived.
fn run(options: &Options) -> bool {
    let program = std::env::current_exe().expect("this program");
    let build = program.parent().expect("the folder of this program");
    let workload = build.join("workload");
    assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
    if cfg!(debug_assertions) {
        println!("This is no release build: its figures say nothing.");
    }
    let folder = tempfile::Builder::new().prefix("load-").tempdir_in(build).expect("a folder");
    let receiver = receiver::Receiver::start(&program);
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[store]\ndurability = \"full\"\n\
         [log]\nlevel = {:?}\n",
        receiver.url(receiver::ROUND_TRIP),
        options.log
    );
    std::fs::write(folder.path().join("postback.toml"), settings).expect("the settings");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, {} in flight, {} rounds of {} s", options.in_flight, options.rounds, options.seconds);
    println!("one write and sync of 4 KiB on this disk: {:.2} ms (median of 50)", milliseconds(sync(folder.path())));

    let mut server = Process::start(&workload, folder.path(), &["serve"], &[]);
    let load = Arc::new(Load {
        client: client(),
        server: format!("{}/echo", server.ready()),
        receiver: receiver.url(receiver::BARE),
        trips: Arc::clone(&receiver.trips),
        bare: Arc::clone(&receiver.bare),
    });
    let (bare, trips) = take_turns(options, &load);

    server.terminate();
    let stopped = server.ended();
    let (trips_left, bare_left) = (receiver.trips.settle(), receiver.bare.settle());
    let (bare_rate, trip_rate) = (median(&bare), median(&trips));
    println!("median: bare posts {bare_rate}, round trips {trip_rate}: a ratio of {:.3}", trip_rate.0 / bare_rate.0);
    let mut latencies: Vec<Duration> = trips.iter().flat_map(|round| round.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    println!(
        "round trip: p50 {:.1} ms, p99 {:.1} ms",
        milliseconds(quantile(&latencies, 0.50)),
        milliseconds(quantile(&latencies, 0.99))
    );
    println!("round trips: {trips_left}");
    println!("bare posts: {bare_left}");
    println!("the server ended with {stopped}");
    if !stopped.success() {
        println!("{}", server.output());
    }
    stopped.success() && trips_left.is_complete() && bare_left.is_complete()
}

fn take_turns(options: &Options, load: &Arc<Load>) -> (Vec<Round>, Vec<Round>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let play = |kind, time| runtime.block_on(load.round(kind, options.in_flight, time));
    play(Kind::BarePost, WARM_UP);
    play(Kind::RoundTrip, WARM_UP);
    let (mut bare, mut trips) = (Vec::new(), Vec::new());
    let time = Duration::from_secs(options.seconds);
    for number in 1..=options.rounds {
        let round = play(Kind::BarePost, time);
        println!("round {number}: bare posts  {}, {} errors", Rate::of(&round), round.errors);
        bare.push(round);
        let round = play(Kind::RoundTrip, time);
        println!("round {number}: round trips {}, {} errors", Rate::of(&round), round.errors);
        trips.push(round);
    }
    (bare, trips)
}

/// What the disk takes to keep something, the floor below each commit.
fn sync(folder: &Path) -> Duration {
    use std::io::Write as _;
    let mut file = std::fs::File::create(folder.join("sync")).expect("a file");
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("a write");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    quantile(&times, 0.50)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
