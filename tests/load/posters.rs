//! The mode `posters`: how many reports a second reach the receiver, by bare posts and through posters.
//!
//! - *Bare*: so many clients as are to be in flight post one body after another with one pooled `reqwest::Client`.
//! - *Posters* are given reports by one thread, as a program would, and may have as many attempts in flight. It keeps some
//!   hundred reports waiting and no more, so that what is measured is the flow and not the pile.
//!
//! All sides run in this process, on all of its cores, and are counted alike, at the receiver. Each side of each round
//! starts anew, with a fresh file where it has one, and is measured after a moment of running.

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

/// How long a side runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(700);
/// Reports that wait, for each one in flight.
const WAITING: u64 = 8;
/// How long what was posted is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bare,
    Memory,
    Sqlite(Durability),
}

const SIDES: [(Side, &str, f64); 4] = [
    (Side::Bare, "bare posts", 1.0),
    (Side::Memory, "memory", 0.8),
    (Side::Sqlite(Durability::Full), "full (SQLite)", 0.55),
    // No target of its own.
    (Side::Sqlite(Durability::Normal), "normal (SQLite)", 0.0),
];

/// What one side did in one round.
struct Played {
    rate: f64,
    /// Of this process, per report.
    cpu_micros: f64,
}

pub(crate) fn run(options: &Options) -> bool {
    let receiver = Receiver::start();
    let is_wanted = |name: &str| name == SIDES[0].1 || name.starts_with(&options.only);
    let sides: Vec<_> = SIDES.into_iter().filter(|(_, name, _)| is_wanted(name)).collect();
    let mut rounds: Vec<Vec<Played>> = Vec::new();
    let (mut run, mut complete) = (0, true);
    for number in 1..=options.rounds {
        let mut round = Vec::new();
        let mut said = format!("round {number}:");
        for (side, name, _) in &sides {
            run += 1;
            let (played, missing) = play(*side, run, &receiver, options);
            said.push_str(&format!(" {name} {}", Rate(played.rate)));
            if missing > 0 {
                said.push_str(&format!(" ({missing} MISSING)"));
                complete = false;
            }
            round.push(played);
        }
        println!("{said}");
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

/// Also how many never arrived.
fn play(side: Side, run: u32, receiver: &Receiver, options: &Options) -> (Played, u64) {
    let (posting, posted) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let url = receiver.counted(run);
    let folder = folder();
    let measured = || {
        std::thread::sleep(WARM_UP);
        let (begun, cpu, before) = (Instant::now(), cpu_time(), receiver.counts.of(run).arrivals);
        std::thread::sleep(options.round());
        let (time, cpu) = (begun.elapsed(), cpu_time() - cpu);
        let arrived = receiver.counts.of(run).arrivals - before;
        posting.store(false, Ordering::Relaxed);
        let n = f64::from(u32::try_from(arrived.max(1)).expect("bounded by the time"));
        Played { rate: n / time.as_secs_f64(), cpu_micros: cpu.as_secs_f64() * 1e6 / n }
    };
    let played = match side {
        Side::Bare => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
            let client = client();
            for _ in 0..options.in_flight {
                runtime.spawn(bare(client.clone(), url.clone(), Arc::clone(&posting), Arc::clone(&posted)));
            }
            let played = measured();
            receiver.counts.wait(run, posted.load(Ordering::Relaxed), PATIENCE);
            played
        }
        Side::Memory | Side::Sqlite(_) => {
            // An endpoint alone has seven eighths of the slots: so as many are in flight as bare posts are.
            let slots = (usize::from(options.in_flight) * 8).div_ceil(7);
            let builder = Poster::builder().trust(&url).concurrency(slots);
            let builder = match side {
                Side::Sqlite(durability) => builder.sqlite(folder.path().join("reports.db")).durability(durability),
                _ => builder,
            };
            let (poster, guard) = builder.start().expect("a poster");
            let waiting = u64::from(options.in_flight) * WAITING;
            std::thread::scope(|scope| {
                let feeder = scope.spawn(|| feed(&poster, &url, run, receiver, waiting, &posting, &posted));
                let played = measured();
                feeder.join().expect("the feeder");
                receiver.counts.wait(run, posted.load(Ordering::Relaxed), PATIENCE);
                drop(guard);
                played
            })
        }
    };
    let arrived = receiver.counts.of(run).distinct;
    (played, posted.load(Ordering::Relaxed).saturating_sub(arrived))
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
    run: u32,
    receiver: &Receiver,
    waiting: u64,
    posting: &AtomicBool,
    posted: &AtomicU64,
) {
    let payload: Value = serde_json::from_str(PAYLOAD).expect("JSON");
    let mut next = 0_u64;
    while posting.load(Ordering::Relaxed) {
        let arrived =
            receiver.counts.wait(run, (next + 1).saturating_sub(waiting), Duration::from_millis(100)).distinct;
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
