//! The crash harness. It checks that accepted work is delivered, however often the program is killed.
//!
//! The long form, for every night: cargo run --release -p postback-tests --bin crash -- --kills 200
//!
//! Flags, with their defaults: `--kills 10`, `--seed N` (by default a random seed, which is printed), and `--forget`,
//! which is explained below. The harness has two sides:
//!
//! - *Server*: clients post to a workload server all the time. The server is ended by SIGKILL at random moments, and
//!   started again. Some kills happen while it starts, or when a write or sync of its database is half done. A request
//!   counts as accepted when the complete answer was read. Some requests are cancelled.
//! - *Library*: a program posts with `post_durably`, and prints the id of each report that is on disk. It is killed in
//!   the same way, a fifth as often.
//!
//! With `--nodes N`, the harness has a third side instead: N workload servers on one PostgreSQL, which the harness starts.
//! A kill is then one of several events: SIGKILL, SIGTERM, SIGSTOP for longer than a lease, the end of all connections to the
//! database, or a crash of the database.
//!
//! The receiver is never killed. It fails at random: it answers 500 or 429, gives no answer or half an answer, or
//! resets the connection. At the end, the program under test runs until it has nothing left to do. Then the harness
//! compares what it noted with the program's database. It checks these promises:
//!
//! - the receiver took the report of each accepted request at least once, with the right result. A request that was
//!   cancelled is an exception: it is reported as cancelled or not at all;
//! - no request or report is stuck, no report was given up, and no report is recorded as delivered that was not taken;
//! - repeated webhooks have the same `webhook-id` and the same bytes;
//! - each attempt that arrived is recorded, and the numbers of the recorded attempts have no gap.
//!
//! Each broken promise is printed with its ids, and the exit code is then 1. With `--forget`, the harness deletes one
//! unfinished request or report from the database, so it must find a broken promise. The same seed gives the same plan
//! of kills and answers. But a kill does not hit the same work again.

mod kill;
mod ledger;
mod library;
mod nodes;
mod plan;
#[path = "../../runtime/store/src/suite/server.rs"]
mod postgres;
mod receiver;
mod record;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postback_tests::Shim;

use self::plan::Plan;
use self::postgres::Server as Postgres;
use self::receiver::Receiver;

struct Options {
    kills: usize,
    seed: u64,
    forget: bool,
    /// The number of nodes on one PostgreSQL. 0: the server and the library, each with a file.
    nodes: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { kills: 10, seed: rand::random(), forget: false, nodes: 0 };
        while let Some(flag) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or_else(|| format!("{flag} takes a value"))?;
                value.parse::<u64>().map_err(|_| format!("{flag}: {value:?} is not a number"))
            };
            match flag.as_str() {
                "--kills" => options.kills = usize::try_from(number()?.clamp(1, 100_000)).expect("small"),
                "--seed" => options.seed = number()?,
                "--nodes" => options.nodes = usize::try_from(number()?.clamp(2, 16)).expect("small"),
                "--forget" => options.forget = true,
                _ => return Err(format!("unknown flag {flag}; use --kills, --seed, --nodes or --forget")),
            }
        }
        Ok(options)
    }
}

/// What one side of the harness works with.
struct Stage<'a> {
    plan: Plan,
    receiver: &'a Receiver,
    folder: &'a Path,
    shim: Shim,
    forget: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == library::COMMAND).is_some() {
        return library::post(arguments);
    }
    match Options::parse(arguments) {
        Ok(options) => {
            println!("{} kills, seed {}", options.kills, options.seed);
            if options.nodes > 0 {
                let side = |stage: &mut Stage<'_>| nodes::run(stage, options.nodes);
                let kept = run_side("nodes", &options, options.kills, side);
                return if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            let kept = run_side("server", &options, options.kills, server::run);
            let kept = run_side("library", &options, options.kills.div_ceil(5), library::run) && kept;
            if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

/// Runs one side of the harness. Returns whether every promise was kept.
fn run_side(name: &str, options: &Options, kills: usize, side: impl FnOnce(&mut Stage<'_>) -> Vec<String>) -> bool {
    let folder = tempfile::Builder::new().prefix("crash-").tempdir_in(build()).expect("a folder");
    let receiver = Receiver::start(Plan::new(options.seed ^ 1, 0));
    let plan = Plan::new(options.seed, kills);
    let shim = kill::shim(folder.path());
    let broken = side(&mut Stage { plan, receiver: &receiver, folder: folder.path(), shim, forget: options.forget });
    println!("{name}: {}", receiver.ledger.count());
    for promise in &broken {
        println!("{name}: BROKEN: {promise}");
    }
    if !broken.is_empty() && !options.forget {
        println!("{name}: the files of this run are kept in {}", folder.keep().display());
    }
    broken.is_empty()
}

/// The folder of this program. The other programs are there too, and it is on the disk that was used for the build.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("the folder of this program").to_owned()
}
