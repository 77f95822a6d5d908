//! The mode `pending`: what a poster's process holds in memory while reports wait by the million.
//!
//! The receiver takes connections and never answers, so nearly all that is posted waits. The poster is in a process of its
//! own, which tells its resident memory on the way: with a SQLite file it is to be the same whether few or many wait; in
//! memory it grows to the poster's limit, and what does not fit is refused.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postback::{Durability, Poster, Report};
use serde_json::Value;

use crate::receiver::{DEAF, Receiver};
use crate::rounds::PAYLOAD;
use crate::{Options, folder, program};

/// The argument that makes this program the poster; folder, URL and the number of reports follow.
pub(crate) const COMMAND: &str = "pending-poster";
/// In place of a folder: keeps the reports in memory.
const IN_MEMORY: &str = "";
/// The number of reports is told this many times.
const TELLS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(options: &Options) -> bool {
    let receiver = Receiver::start();
    let folder = folder();
    let places = [("SQLite", folder.path().to_str().expect("text")), ("memory", IN_MEMORY)];
    let mut complete = true;
    for (name, place) in places {
        println!("{name}:");
        let mut command = Command::new(program());
        command.args([COMMAND, place, &receiver.url(DEAF), &options.reports.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the poster");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines.map_while(Result::ok).for_each(|line| println!("  {line}"));
        complete &= child.wait().expect("a child").success();
    }
    complete
}

/// The poster's own `main`.
pub(crate) fn post(folder: &Path, url: &str, reports: &str) {
    let reports: u32 = reports.parse().expect("a number");
    let in_memory = folder.as_os_str() == IN_MEMORY;
    let builder = Poster::builder().trust(url);
    let builder =
        if in_memory { builder } else { builder.sqlite(folder.join("reports.db")).durability(Durability::Normal) };
    let (poster, guard) = builder.start().expect("a poster");
    let payload: Value = serde_json::from_str(PAYLOAD).expect("JSON");
    tell("at start", 0, 0);
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
        if n % (reports / TELLS) == 0 {
            tell("posted", n, if in_memory { refused } else { 0 });
        }
    }
    let time = begun.elapsed();
    println!("posting took {:.1} s, {:.0} reports/s", time.as_secs_f64(), f64::from(reports) / time.as_secs_f64());
    // In memory the first attempts would be waited for, which nobody answers.
    let flushed = poster.flush_blocking(if in_memory { Duration::from_secs(1) } else { PATIENCE });
    tell("flushed", reports, if in_memory { refused } else { 0 });
    println!("{flushed}; peak resident memory {} MiB", memory("VmHWM:") / 1_024);
    let kept = flushed.stored + flushed.waiting + u64::from(if in_memory { refused } else { 0 });
    // Attempts that nobody answers are not waited for.
    std::mem::forget(guard);
    assert_eq!(kept, u64::from(reports), "every report is kept or was refused");
}

fn tell(when: &str, posted: u32, refused: u32) {
    let (resident, anonymous) = (memory("VmRSS:") / 1_024, memory("RssAnon:") / 1_024);
    println!(
        "{when:<9} {posted:>10} reports, {refused:>10} refused: {resident:>5} MiB resident, {anonymous:>5} MiB of it own"
    );
}

/// In KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
