//! The mode `pending`: the memory of a poster's process while a million reports wait.
//!
//! The receiver accepts connections and never answers, so nearly all reports wait. The poster runs in a separate
//! process, which prints its resident memory several times. With a SQLite file, the memory should not depend on the
//! number of waiting reports. Without a file, the memory grows to the limit of the poster, and further reports are
//! refused.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postback::{Durability, Poster, Report};
use serde_json::Value;

use crate::receiver::{DEAF, Receiver};
use crate::rounds::PAYLOAD;
use crate::{Options, folder, program};

/// With this first argument, this program is the poster. The next arguments are folder, URL and the number of reports.
pub(crate) const COMMAND: &str = "pending-poster";
/// This text in place of a folder means that the poster keeps its reports in memory.
const IN_MEMORY: &str = "";
/// The poster prints its memory this many times while it posts.
const LINES: u32 = 10;
/// The limit for the flush of a poster with a file.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(options: &Options) -> bool {
    let receiver = Receiver::start();
    let folder = folder();
    let kinds = [("SQLite", folder.path().to_str().expect("text")), ("memory", IN_MEMORY)];
    let mut complete = true;
    for (name, folder) in kinds {
        println!("{name}:");
        let mut command = Command::new(program());
        command.args([COMMAND, folder, &receiver.url(DEAF), &options.reports.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the poster");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines.map_while(Result::ok).for_each(|line| println!("  {line}"));
        complete &= child.wait().expect("a child").success();
    }
    complete
}

/// The `main` function of the poster.
pub(crate) fn post(folder: &Path, url: &str, reports: &str) {
    let reports: u32 = reports.parse().expect("a number");
    let in_memory = folder.as_os_str() == IN_MEMORY;
    let builder = Poster::builder().trust(url);
    let builder =
        if in_memory { builder } else { builder.sqlite(folder.join("reports.db")).durability(Durability::Normal) };
    let (poster, guard) = builder.start().expect("a poster");
    let payload: Value = serde_json::from_str(PAYLOAD).expect("JSON");
    print_memory("at start", 0, 0);
    let (begun, mut refused) = (Instant::now(), 0_u32);
    for n in 1..=reports {
        let report = Report::completed(n, &payload).expect("JSON");
        while let Err(error) = poster.post(url, &report) {
            assert!(error.is_full(), "{error}");
            refused += 1;
            if in_memory {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if n % (reports / LINES) == 0 {
            print_memory("posted", n, if in_memory { refused } else { 0 });
        }
    }
    let time = begun.elapsed();
    println!("posting took {:.1} s, {:.0} reports/s", time.as_secs_f64(), f64::from(reports) / time.as_secs_f64());
    // Without a file, a flush waits for attempts. The receiver never answers, so the wait is short.
    let flushed = poster.flush_blocking(if in_memory { Duration::from_secs(1) } else { PATIENCE });
    print_memory("flushed", reports, if in_memory { refused } else { 0 });
    println!("{flushed}; peak resident memory {} MiB", memory("VmHWM:") / 1_024);
    let kept = flushed.stored + flushed.waiting + u64::from(if in_memory { refused } else { 0 });
    // Dropping the guard would wait for the attempts, which the receiver never answers.
    std::mem::forget(guard);
    assert_eq!(kept, u64::from(reports), "every report must be kept or refused");
}

fn print_memory(when: &str, posted: u32, refused: u32) {
    let (resident, anonymous) = (memory("VmRSS:") / 1_024, memory("RssAnon:") / 1_024);
    println!(
        "{when:<9} {posted:>10} reports, {refused:>10} refused: {resident:>5} MiB resident, {anonymous:>5} MiB of it anonymous"
    );
}

/// A figure of this process from `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
