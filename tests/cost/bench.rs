//! Measures the time of an annotated call, of the plain call, and of a hand-written wrapper that posts the same report.
//!
//! Run with: cargo bench -p postback-tests --bench call
//!
//! Flags, with their defaults: `--rounds 301`, and `--calls 500` for the calls of each kind in a round. With
//! `--only KIND`, the program makes `--calls` calls of one kind and measures nothing. The kinds are `bare`, `none`,
//! `hand` and `annotated`. Use this flag with a profiler that counts instructions:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='call::measured*' target/release/deps/call-… \
//!     --only annotated --calls 2000
//! ```
//!
//! In each round, every kind of call is measured once, and the order of the kinds rotates from round to round. So other
//! load on the machine affects all kinds equally. To compare two kinds, the program prints the median of their
//! quotients in each round. Benchmark libraries measure one kind after the other, so this program does not use such a
//! library.
//!
//! The poster's store is in memory. Deliveries fail without a connection, because the guard for forbidden addresses
//! refuses the loopback address. So the thread of the poster has little work, and the program waits between the kinds
//! until this thread has finished. Only the time on the caller's thread is measured.

use std::hint::black_box;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use postback::{Poster, Report, RequestId, async_handler};
use serde::Serialize;

const URL: &str = "http://127.0.0.1:9/hooks/transcribed?token=8a7d";

static POSTER: LazyLock<Poster> = LazyLock::new(|| {
    let guard = Poster::builder().memory(100_000, 1 << 30).install().expect("a poster");
    let poster = guard.poster();
    // The guard is leaked, because the poster must run until the process ends.
    std::mem::forget(guard);
    poster
});

#[derive(Serialize)]
struct Transcript {
    text: String,
    seconds: f64,
}

#[derive(Debug)]
struct Silence;

async fn bare(audio: &[u8]) -> Result<Transcript, Silence> {
    let first = audio.first().ok_or(Silence)?;
    Ok(Transcript { text: "hello ".repeat(usize::from(*first)), seconds: 1.5 })
}

#[async_handler(webhook = webhook)]
async fn annotated(webhook: Option<&str>, audio: &[u8], request_id: &RequestId) -> Result<Transcript, Silence> {
    let first = audio.first().ok_or(Silence)?;
    Ok(Transcript { text: "hello ".repeat(usize::from(*first)), seconds: 1.5 })
}

async fn by_hand(webhook: &str, audio: &[u8], request_id: &RequestId) -> Result<Transcript, Silence> {
    let returned = bare(audio).await;
    let report = match &returned {
        Ok(transcript) => Report::completed(request_id, transcript).expect("the transcript can be serialised"),
        Err(Silence) => Report::failed(request_id),
    };
    // The `expect` shows that the queue has room for all reports. The annotated calls post equally many, so they have
    // room too.
    POSTER.post(webhook, &report).expect("the queue has room for the report");
    returned
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bare,
    None,
    Hand,
    Annotated,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Bare, "bare"), (Kind::None, "none"), (Kind::Hand, "hand"), (Kind::Annotated, "annotated")];

fn call(kind: Kind, audio: &[u8], id: &RequestId) {
    let returned = match kind {
        Kind::Bare => run(bare(audio)),
        Kind::None => run(annotated(None, audio, id)),
        Kind::Hand => run(by_hand(URL, audio, id)),
        Kind::Annotated => run(annotated(Some(URL), audio, id)),
    };
    drop(black_box(returned));
}

/// Runs a future that never waits.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future must not wait"),
    }
}

/// Makes this number of calls, one after the other, and returns their total time.
#[inline(never)]
fn measured(kind: Kind, calls: u32) -> Duration {
    let (audio, id) = (black_box([3_u8; 16]), RequestId::generate());
    let begun = Instant::now();
    for _ in 0..calls {
        call(kind, &audio, &id);
    }
    begun.elapsed()
}

/// Waits until the thread of the poster has finished its work.
fn settle() {
    assert!(POSTER.flush_blocking(Duration::from_secs(60)).is_safe(), "the poster did not finish within 60 s");
}

struct Options {
    rounds: usize,
    calls: u32,
    only: Option<Kind>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self { rounds: 301, calls: 500, only: None };
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_default();
            match flag.as_str() {
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--calls" => options.calls = value().parse().expect("a number of calls"),
                "--only" => {
                    let name = value();
                    let kind = KINDS.into_iter().find(|(_, known)| *known == name);
                    options.only = Some(kind.expect("the value of --only must be bare, none, hand or annotated").0);
                }
                // `cargo bench` adds this flag.
                "--bench" => {}
                _ => panic!("unknown flag {flag}; use --rounds, --calls or --only"),
            }
        }
        options
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    LazyLock::force(&POSTER);
    // Warm-up calls, because the first calls do extra work. They are not made in `measured`, because a profiler counts
    // the instructions of that function.
    let id = RequestId::generate();
    for (kind, _) in KINDS {
        (0..50).for_each(|_| call(kind, &[3; 16], &id));
        settle();
    }
    if let Some(kind) = options.only {
        measured(kind, options.calls);
        return settle();
    }
    // Nanoseconds for one call, with a row for each round and a column for each kind.
    let mut rounds = vec![[0.0; KINDS.len()]; options.rounds.max(1)];
    for (turn, times) in rounds.iter_mut().enumerate() {
        for place in 0..KINDS.len() {
            let column = (turn + place) % KINDS.len();
            times[column] = measured(KINDS[column].0, options.calls).as_secs_f64() * 1e9 / f64::from(options.calls);
            settle();
        }
    }
    let column = |kind| KINDS.iter().position(|(known, _)| *known == kind).expect("a kind");
    let quotient = |a, b| median(rounds.iter().map(|times| times[column(a)] / times[column(b)]).collect());
    println!("{} rounds of {} calls; medians", rounds.len(), options.calls);
    println!("{:<12} {:>10} {:>14} {:>14}", "kind", "ns a call", "over bare, ns", "over by hand");
    for (kind, name) in KINDS {
        let time = median(rounds.iter().map(|times| times[column(kind)]).collect());
        let more = median(rounds.iter().map(|times| times[column(kind)] - times[column(Kind::Bare)]).collect());
        println!("{name:<12} {time:>10.0} {more:>14.0} {:>13.3}x", quotient(kind, Kind::Hand));
    }
}
