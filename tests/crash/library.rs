//! Tests `post_durably`: a program posts and is killed. Each report that the program printed as being on disk must
//! arrive.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postback::{Poster, Report};
use postback_tests::Process;

use crate::plan::Plan;
use crate::receiver::PATIENT;
use crate::record::{self, Database, Record};
use crate::{Stage, kill};

/// With this first argument, this program is the program that posts. The next arguments are the URL, the file, and a
/// prefix of ids. If the prefix is empty, it posts nothing and only delivers the reports that are left.
pub(crate) const COMMAND: &str = "post";
/// The program prints this text after the id of each report that is on disk.
const DURABLE: &str = " is on disk";
const STARTED: &str = "the poster has started";
const TASKS: u64 = 4;
/// The longest pause of a task between two posts, in milliseconds.
const PAUSE: u64 = 20;

pub(crate) fn run(stage: &mut Stage<'_>) -> Vec<String> {
    let (ledger, runtime) = (&stage.receiver.ledger, stage.receiver.runtime.handle());
    let program = std::env::current_exe().expect("this program");
    let file = stage.folder.join("reports.db");
    let database = Database::File(file.clone());
    // The poster uses the default schedule, whose second step is 5 s. So this path of the receiver does not fail at
    // random, it only answers late.
    let url = stage.receiver.url(PATIENT);
    let start = |prefix: &str, variables: &[(&str, &str)]| {
        let arguments = [COMMAND, &url, file.to_str().expect("text"), prefix];
        Process::start(&program, stage.folder, &arguments, variables)
    };
    let mut broken = Vec::new();
    let mut forgotten = None;
    for n in 1..=stage.plan.kills {
        let life = kill::one_life(
            &stage.shim,
            stage.plan.moment(),
            |variables| start(&format!("{n}-"), variables),
            |output| output.contains(DURABLE),
            |_| {},
        );
        ledger.killed();
        match life {
            Ok(process) => {
                for id in process.output().lines().filter_map(|line| line.strip_suffix(DURABLE)) {
                    ledger.accepted(id.to_owned(), id.to_owned());
                }
            }
            Err(why) => broken.push(format!("life {n}: {why}")),
        }
        if stage.forget && forgotten.is_none() {
            forgotten = record::forget(runtime, &database);
            println!("forgotten: {forgotten:?}");
        }
    }
    let mut process = start("", &[]);
    process.wait_for(STARTED);
    record::quiet(runtime, &database);
    process.kill();
    broken.extend(ledger.judge(&Record::read(runtime, &database, false)));
    broken
}

/// The `main` function of the program that posts. It runs until it is killed.
pub(crate) fn post(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().expect("URL FILE PREFIX");
    let (url, file, prefix) = (next(), next(), next());
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let builder = Poster::builder().trust(&url).sqlite(file).timeout(Duration::from_secs(2));
    let (poster, _guard) = match builder.start() {
        Ok(started) => started,
        Err(error) => {
            eprintln!("error: {error:?}");
            return ExitCode::FAILURE;
        }
    };
    print_line(STARTED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let number = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        if !prefix.is_empty() {
            for task in 0..TASKS {
                let (number, poster) = (Arc::clone(&number), poster.clone());
                let (url, prefix) = (url.clone(), prefix.clone());
                let mut plan = Plan::new(task, 0);
                tokio::spawn(async move {
                    loop {
                        let id = format!("{prefix}{}", number.fetch_add(1, Ordering::Relaxed));
                        let report = Report::completed(&id, &id).expect("a text");
                        if poster.post_durably(&url, &report).await.is_ok() {
                            print_line(&format!("{id}{DURABLE}"));
                        }
                        tokio::time::sleep(plan.pause(PAUSE)).await;
                    }
                });
            }
        }
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// Prints a line with a single write, so that a kill never leaves half a line.
fn print_line(line: &str) {
    // An error means that the harness no longer reads, because it is about to kill this program.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}
