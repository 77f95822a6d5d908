//! The mode `posters`: how many reports a second reach the receiver, through bare posts and through posters.
//!
//! - *Bare posts*: `--in-flight` tasks share one pooled `reqwest::Client`. Each task posts one body after the other.
//! - *Posters*: one thread posts reports to a poster, as a program would. The poster may have as many attempts in
//!   flight. The thread keeps at most [`WAITING`] reports waiting for each attempt in flight, so that the figures show
//!   the rate of the deliveries, and not the rate at which a queue fills.
//!
//! All sides series in this process, on all of its cores. The receiver counts the arrivals of all sides in the same
//! way. Each side of each round starts with a new poster, and with a new file if it needs one. It is measured after a
//! warm-up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postback::{Durability, Poster, Report};
use postback_tests::client;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::numbers::{Rate, Spread};
use crate::receiver::Receiver;
use crate::rounds::PAYLOAD;
use crate::{Options, folder};

/// The time that a side runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(700);
/// The number of waiting reports for each attempt in flight.
const WAITING: u64 = 8;
/// The longest wait for missing reports at the end of a round.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bare,
    Memory,
    Sqlite(Durability),
}

/// Each side with its name and its target for the ratio to bare posts.
const SIDES: [(Side, &str, f64); 4] = [
    (Side::Bare, "bare posts", 1.0),
    (Side::Memory, "memory", 0.8),
    (Side::Sqlite(Durability::Full), "full (SQLite)", 0.55),
    // This side has no target.
    (Side::Sqlite(Durability::Normal), "normal (SQLite)", 0.0),
];

/// The figures of one side in one round.
struct Figures {
    /// Reports a second.
    rate: f64,
    /// Processor time of this process for each report, in microseconds.
    cpu_micros: f64,
}

pub(crate) fn run(options: &Options) -> bool {
    let receiver = Receiver::start();
    let is_wanted = |name: &str| name == SIDES[0].1 || name.starts_with(&options.only);
    let sides: Vec<_> = SIDES.into_iter().filter(|(_, name, _)| is_wanted(name)).collect();
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    let (mut series, mut complete) = (0, true);
    for number in 1..=options.rounds {
        let mut round = Vec::new();
        let mut line = format!("round {number}:");
        for (side, name, _) in &sides {
            series += 1;
            let (figures, missing) = measure(*side, series, &receiver, options);
            line.push_str(&format!(" {name} {}", Rate(figures.rate)));
            if missing > 0 {
                line.push_str(&format!(" ({missing} MISSING)"));
                complete = false;
            }
            round.push(figures);
        }
        println!("{line}");
        rounds.push(round);
    }
    println!(
        "{:<16} {:>10} {:>8} {:>17} {:>7} {:>16}",
        "median of pairs", "reports/s", "ratio", "spread", "target", "CPU per report"
    );
    for (at, (_, name, target)) in sides.iter().enumerate() {
        let rate = Spread::of(rounds.iter().map(|round| round[at].rate)).median;
        let ratio = Spread::of(rounds.iter().map(|round| round[at].rate / round[0].rate));
        let cpu = Spread::of(rounds.iter().map(|round| round[at].cpu_micros)).median;
        let target = if *target > 0.0 { format!("{target:.2}") } else { "-".to_owned() };
        let spread = format!("{:.3} to {:.3}", ratio.least, ratio.most);
        println!("{name:<16} {rate:>10.0} {:>8.3} {spread:>17} {target:>7} {:>13.1} µs", ratio.median, cpu);
    }
    complete
}

/// Measures one side in one round. Also returns how many reports never arrived.
fn measure(side: Side, series: u32, receiver: &Receiver, options: &Options) -> (Figures, u64) {
    let (posting, posted) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let url = receiver.counted(series);
    let folder = folder();
    let measured = || {
        std::thread::sleep(WARM_UP);
        let (begun, cpu, before) = (Instant::now(), cpu_time(), receiver.counts.of(series).arrivals);
        std::thread::sleep(options.round());
        let (time, cpu) = (begun.elapsed(), cpu_time() - cpu);
        let arrived = receiver.counts.of(series).arrivals - before;
        posting.store(false, Ordering::Relaxed);
        let n = f64::from(u32::try_from(arrived.max(1)).expect("bounded by the time"));
        Figures { rate: n / time.as_secs_f64(), cpu_micros: cpu.as_secs_f64() * 1e6 / n }
    };
    let figures = match side {
        Side::Bare => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
            let client = client();
            for _ in 0..options.in_flight {
                runtime.spawn(bare(client.clone(), url.clone(), Arc::clone(&posting), Arc::clone(&posted)));
            }
            let figures = measured();
            receiver.counts.wait(series, posted.load(Ordering::Relaxed), PATIENCE);
            figures
        }
        Side::Memory | Side::Sqlite(_) => {
            // A single origin may use seven eighths of the slots. So as many attempts are in flight as bare posts.
            let slots = (usize::from(options.in_flight) * 8).div_ceil(7);
            let builder = Poster::builder().trust(&url).concurrency(slots);
            let builder = match side {
                Side::Sqlite(durability) => builder.sqlite(folder.path().join("reports.db")).durability(durability),
                _ => builder,
            };
            let (poster, guard) = builder.start().expect("a poster");
            let waiting = u64::from(options.in_flight) * WAITING;
            std::thread::scope(|scope| {
                let feeder = scope.spawn(|| feed(&poster, &url, series, receiver, waiting, &posting, &posted));
                let figures = measured();
                feeder.join().expect("the feeder");
                receiver.counts.wait(series, posted.load(Ordering::Relaxed), PATIENCE);
                drop(guard);
                figures
            })
        }
    };
    let arrived = receiver.counts.of(series).distinct;
    (figures, posted.load(Ordering::Relaxed).saturating_sub(arrived))
}

async fn bare(client: reqwest::Client, url: String, posting: Arc<AtomicBool>, posted: Arc<AtomicU64>) {
    while posting.load(Ordering::Relaxed) {
        let id = posted.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"id":"{id}","status":"completed","result":{PAYLOAD},"timestamp":"2026-11-23T08:00:00.123456Z"}}"#
        );
        let post = client.post(&url).header("content-type", "application/json").body(body);
        match post.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(answer) => drop(answer.bytes().await),
            Err(error) => eprintln!("{error:?}"),
        }
    }
}

fn feed(
    poster: &Poster,
    url: &str,
    series: u32,
    receiver: &Receiver,
    waiting: u64,
    posting: &AtomicBool,
    posted: &AtomicU64,
) {
    let payload: Value = serde_json::from_str(PAYLOAD).expect("JSON");
    let mut next = 0_u64;
    while posting.load(Ordering::Relaxed) {
        let arrived =
            receiver.counts.wait(series, (next + 1).saturating_sub(waiting), Duration::from_millis(100)).distinct;
        while next < arrived + waiting {
            let report = Report::completed(next, &payload).expect("JSON");
            poster.post(url, &report).expect("there is room for so few");
            next += 1;
        }
        posted.store(next, Ordering::Relaxed);
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().expect("positive"), time.tv_nsec.try_into().expect("positive"))
}
