//! The load program: what this machine makes of reports, beside what a bare HTTP client makes of it.
//!
//! Run with: cargo run --release -p postback-tests --bin load -- --help
//!
//! Each mode is a file of its own with a function that measures and prints, named in [`MODES`]; its head says what it
//! compares. The receiver is a process of its own in all of them, and everything that was sent is looked for there: the
//! program fails if anything is missing. Rounds take turns, so that what else the machine does hits all alike; only
//! `operations` has none: it does each thing by itself, on an empty store and then on a full one.

mod anatomy;
mod child;
mod counts;
mod idle;
mod isolation;
mod ledger;
mod numbers;
mod operations;
mod pending;
mod posters;
mod receiver;
mod rounds;
mod roundtrip;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser};

use self::numbers::{milliseconds, quantile};

/// Something to measure.
struct Mode {
    name: &'static str,
    about: &'static str,
    /// Whether all that was sent arrived or, where the mode says so, the targets are met.
    run: fn(&Options) -> bool,
}

const MODES: [Mode; 7] = [
    Mode {
        name: "posters",
        about: "reports a second: bare posts, and posters in memory and SQLite",
        run: posters::run,
    },
    Mode { name: "roundtrip", about: "round trips a second through a workload server", run: roundtrip::run },
    Mode { name: "anatomy", about: "what a round trip costs the workload server, by threads", run: anatomy::run },
    Mode { name: "pending", about: "what a poster holds in memory while a million reports wait", run: pending::run },
    Mode { name: "idle", about: "from the post to the receiver while nothing else goes on", run: idle::run },
    Mode {
        name: "isolation",
        about: "what slow endpoints, failing paths and greedy callers cost others",
        run: isolation::run,
    },
    Mode {
        name: "operations",
        about: "what each operation takes on an empty store, and on one with a million requests",
        run: operations::run,
    },
];

/// Measures what the library does on this machine, beside a bare HTTP client.
#[derive(Clone, Debug, Parser)]
#[command(name = "load")]
pub(crate) struct Options {
    /// What to measure; all of it if none is named.
    #[arg(value_parser = PossibleValuesParser::new(MODES.map(|mode| PossibleValue::new(mode.name).help(mode.about))))]
    modes: Vec<String>,
    /// Requests in flight, on either side of a comparison.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
    /// Rounds of each side; they take turns.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Seconds of each round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Reports that are left to wait in `pending`, a thousand times what `idle` posts.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    reports: u32,
    /// Finished requests that the full store of `operations` holds.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    rows: u32,
    /// Of the modes `posters`, `idle` and `isolation`, only the sides whose name begins so, and the bare posts.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// The log level of the workload server.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
}

impl Options {
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // This program as one of its children.
        [receiver::COMMAND] => receiver::serve(),
        [isolation::COMMAND] => isolation::serve(),
        [pending::COMMAND, folder, url, reports] => pending::post(Path::new(folder), url, reports),
        _ => return measure(&Options::parse()),
    }
    ExitCode::SUCCESS
}

fn measure(options: &Options) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Options { in_flight, rounds, seconds, .. } = options;
    println!("{cores} cores, {in_flight} in flight, {rounds} rounds of {seconds} s");
    if cfg!(debug_assertions) {
        println!("This is no release build: its figures say nothing.");
    }
    let folder = folder();
    println!("one write and sync of 4 KiB on this disk: {:.2} ms (median of 50)", milliseconds(sync(folder.path())));
    let is_named = |mode: &&Mode| options.modes.is_empty() || options.modes.iter().any(|name| name == mode.name);
    let mut complete = true;
    for mode in MODES.iter().filter(is_named) {
        println!("\n== {}: {}", mode.name, mode.about);
        complete &= (mode.run)(options);
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// This program.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// A folder beside this program, and so on the disk that was built on; the system's own may be in memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let program = program();
    let build = program.parent().expect("the folder of this program");
    tempfile::Builder::new().prefix("load-").tempdir_in(build).expect("a folder")
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
