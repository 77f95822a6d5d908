//! The crash harness: what was accepted is delivered, however often the program dies.
//!
//! Nightly form: cargo run --release -p postback-tests --bin crash -- --kills 200
//!
//! Flags, with their defaults: `--kills 10`, `--seed N` (else a random one, which is printed), `--forget` (see below).
//!
//! - *Server*: clients post to a workload server without a pause in the load, while it is ended by SIGKILL and started again
//!   at random moments: also while it starts, and at one of its writes or syncs, half done. A request counts as accepted once the answer was read whole. Some are cancelled.
//! - *Library*: a program posts with `post_durably` and prints what it was told is on disk, and is killed likewise, a fifth as
//!   often.
//!
//! The receiver outlives them all and fails at random: 500, 429, no answer, a reset, half an answer. In the end the program
//! under test is left alone until it has nothing left to do, and the ledger is held against its record:
//!
//! - what was accepted has been taken by the receiver at least once, with its own result, or was cancelled and is reported as
//!   nothing else;
//! - nothing is stuck, nothing was given up, and nothing is recorded as delivered that was not taken;
//! - repeats carry the same `webhook-id` and the same bytes;
//! - each try that arrived left a record, numbered without a gap.
//!
//! A broken promise is printed with its ids, and the exit code is 1. With `--forget` one unfinished thing is deleted behind
//! the program's back, so that the harness has to fail. A seed makes the same plan of kills and answers again; what is
//! hit by them differs.

mod kill;
mod ledger;
mod library;
mod plan;
mod receiver;
mod record;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postback_tests::Shim;

use self::plan::Plan;
use self::receiver::Receiver;

struct Options {
    kills: usize,
    seed: u64,
    forget: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { kills: 10, seed: rand::random(), forget: false };
        while let Some(flag) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or_else(|| format!("{flag} takes a value"))?;
                value.parse::<u64>().map_err(|_| format!("{flag}: {value:?} is no number"))
            };
            match flag.as_str() {
                "--kills" => options.kills = usize::try_from(number()?.clamp(1, 100_000)).expect("small"),
                "--seed" => options.seed = number()?,
                "--forget" => options.forget = true,
                _ => return Err(format!("unknown flag {flag}; see the head of the program")),
            }
        }
        Ok(options)
    }
}

/// One side of the harness, while it plays.
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
            let kept = play("server", &options, options.kills, server::play);
            let kept = play("library", &options, options.kills.div_ceil(5), library::play) && kept;
            if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise was kept.
fn play(name: &str, options: &Options, kills: usize, side: impl FnOnce(&mut Stage<'_>) -> Vec<String>) -> bool {
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
        println!("{name}: what it left is in {}", folder.keep().display());
    }
    broken.is_empty()
}

/// The folder of this program, beside which the other programs are, and so the disk that was built on.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("the folder of this program").to_owned()
}
