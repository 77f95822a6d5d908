//! The load program. It measures Postback on this machine, and compares it with a bare HTTP client.
//!
//! Run with: cargo run --release -p postback-tests --bin load -- --help
//!
//! Each mode of [`MODES`] has its own file. The comment at the top of that file says what the mode compares. In all
//! modes, the receiver is a separate process. The program fails if something that was sent did not arrive there. The
//! sides of a comparison alternate in rounds, so that other load on the machine affects all sides equally. Only the
//! mode `operations` has no rounds: it does one operation after the other, on an empty store and then on a full store.

mod anatomy;
mod child;
mod claims;
mod counts;
mod features;
mod footprint;
mod handlers;
mod idle;
mod isolation;
mod ledger;
mod nodes;
mod numbers;
mod operations;
mod pages;
mod pending;
mod posters;
#[expect(dead_code, reason = "this program needs a part of it")]
#[path = "../../runtime/store/src/suite/server.rs"]
mod postgres;
mod queue;
mod receiver;
mod rounds;
mod roundtrip;
mod scale;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser};

use self::numbers::{milliseconds, quantile};

/// One kind of measurement.
struct Mode {
    name: &'static str,
    about: &'static str,
    /// Measures and prints. Returns false if something that was sent is missing. The mode `isolation` returns false if
    /// a target is missed.
    run: fn(&Options) -> bool,
}

const MODES: [Mode; 15] = [
    Mode {
        name: "posters",
        about: "reports a second: bare posts, and posters in memory and SQLite",
        run: posters::run,
    },
    Mode { name: "roundtrip", about: "round trips a second through a workload server", run: roundtrip::run },
    Mode {
        name: "anatomy",
        about: "the cost of a round trip for the workload server, by group of threads",
        run: anatomy::run,
    },
    Mode {
        name: "features",
        about: "what a token, an idempotency key and a trace cost a round trip",
        run: features::run,
    },
    Mode {
        name: "handlers",
        about: "what progress, requests of later and forwarded requests cost, with the figures that are asked for",
        run: handlers::run,
    },
    Mode { name: "pending", about: "the memory of a poster while a million reports wait", run: pending::run },
    Mode { name: "idle", about: "the time from a post to the arrival while nothing else happens", run: idle::run },
    Mode {
        name: "isolation",
        about: "how slow origins, failing paths and greedy callers affect others",
        run: isolation::run,
    },
    Mode {
        name: "nodes",
        about: "round trips a second through several workload servers on one PostgreSQL",
        run: nodes::run,
    },
    Mode {
        name: "claims",
        about: "the time from the commit of a submit to its run, on two idle workload servers on one PostgreSQL",
        run: claims::run,
    },
    Mode {
        name: "footprint",
        about: "the sizes of tables and indexes, statements and bytes of log of a million requests in PostgreSQL",
        run: footprint::run,
    },
    Mode {
        name: "operations",
        about: "the time of each operation on an empty store, and on a store with a million requests",
        run: operations::run,
    },
    Mode {
        name: "pages",
        about: "the time of the dashboard's lists at a million rows, and what open dashboards cost a server under load",
        run: pages::run,
    },
    Mode {
        name: "queue",
        about: "a plain queue of jobs on PostgreSQL, beside the round trips of one workload server there",
        run: queue::run,
    },
    Mode {
        name: "scale",
        about: "the cost of a round trip at other loads, on a new store and on a store with a million requests",
        run: scale::run,
    },
];

/// Measures Postback on this machine, and compares it with a bare HTTP client.
#[derive(Clone, Debug, Parser)]
#[command(name = "load")]
pub(crate) struct Options {
    /// The modes to run. If none is named, all modes run.
    #[arg(value_parser = PossibleValuesParser::new(MODES.map(|mode| PossibleValue::new(mode.name).help(mode.about))))]
    modes: Vec<String>,
    /// Requests in flight, on each side of a comparison.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    in_flight: u16,
    /// Rounds of each side. The sides alternate.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Seconds of each round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Reports that wait in the mode `pending`. The mode `idle` posts a thousandth of this number.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    reports: u32,
    /// Finished requests in the full store of the modes `operations`, `pages` and `scale`, and in the mode `footprint`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    rows: u32,
    /// In the modes `posters`, `idle`, `isolation`, `features` and `scale`: run only the sides whose name begins with
    /// this text, and the side that they are compared with. In the mode `pages`: run only the part `sqlite`, `postgres` or
    /// `cost`, and in the mode `handlers` the part `progress`, `due` or `forward`.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// In the mode `scale`: the stores are in PostgreSQL, not in SQLite.
    #[arg(long)]
    postgres: bool,
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
        // With these arguments, this program is one of its own child processes.
        [receiver::COMMAND] => receiver::serve(false),
        [receiver::COMMAND_ORIGINS] => receiver::serve(true),
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
        println!("This is not a release build, so its figures mean nothing. Use `cargo run --release`.");
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

/// The path of this program.
pub(crate) fn program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// A new temporary folder in the folder of this program, so it is on a disk. The system's temporary folder may be in
/// memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let program = program();
    let build = program.parent().expect("the folder of this program");
    tempfile::Builder::new().prefix("load-").tempdir_in(build).expect("a folder")
}

/// The median time of a write and sync of 4 KiB on the disk. No commit can be faster.
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
