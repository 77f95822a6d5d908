//! The mode `idle`: the time from the post of a single report to its arrival at the receiver, while nothing else
//! happens.
//!
//! The program posts one report at a time, with a pause before each. The measured time ends when this program reads
//! from the receiver, through a pipe, that the report arrived. So the figures are slightly longer than the real times.

use std::time::{Duration, Instant};

use postback::{Durability, Poster, Report};
use postback_tests::client;

use crate::numbers::{milliseconds, quantile};
use crate::receiver::{ROUND_TRIP, Receiver};
use crate::rounds::PAYLOAD;
use crate::{Options, folder};

/// The pause before each post. It is long enough for all threads to go to sleep.
const PAUSE: Duration = Duration::from_millis(5);
/// The number of first reports that are not counted.
const FIRST: usize = 20;
/// A report that takes longer counts as missing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The target for the 99th percentile with `normal`. It is printed, and does not make the program fail.
const TARGET: Duration = Duration::from_millis(5);

pub(crate) fn run(options: &Options) -> bool {
    let receiver = Receiver::start();
    let url = receiver.url(ROUND_TRIP);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let reports = usize::try_from(options.reports).expect("small") / 1_000;

    let client = client();
    let bare = |id: &str| {
        let body = format!(r#"{{"id":"{id}","status":"completed","result":{PAYLOAD}}}"#);
        let post = client.post(&url).header("content-type", "application/json").body(body);
        runtime.block_on(async { drop(post.send().await.and_then(reqwest::Response::error_for_status).expect("204")) });
    };
    let mut complete = measure("bare posts", reports, &receiver, &runtime, bare);

    for (name, durability) in [("memory", None), ("full", Some(Durability::Full)), ("normal", Some(Durability::Normal))]
    {
        if !name.starts_with(&options.only) {
            continue;
        }
        let folder = folder();
        let builder = Poster::builder().trust(&url);
        let builder = match durability {
            Some(durability) => builder.sqlite(folder.path().join("reports.db")).durability(durability),
            None => builder,
        };
        let (poster, guard) = builder.start().expect("a poster");
        let post = |id: &str| poster.post(&url, &Report::completed(id, PAYLOAD).expect("JSON")).expect("there is room");
        complete &= measure(name, reports, &receiver, &runtime, post);
        drop(guard);
    }
    complete
}

/// Posts and measures the reports of one side. Returns whether all arrived.
fn measure(
    name: &str,
    reports: usize,
    receiver: &Receiver,
    runtime: &tokio::runtime::Runtime,
    post: impl Fn(&str),
) -> bool {
    let mut times = Vec::new();
    for n in 0..FIRST + reports {
        let id = format!("{name}-{n}");
        std::thread::sleep(PAUSE);
        let begun = Instant::now();
        post(&id);
        let Some(arrived) = runtime.block_on(receiver.trips.arrival(&id, PATIENCE)) else {
            println!("{name}: report {n} did not arrive");
            return false;
        };
        if n >= FIRST {
            times.push(arrived.duration_since(begun));
        }
    }
    times.sort_unstable();
    let at = |part| milliseconds(quantile(&times, part));
    println!(
        "{name:<10} of {reports} reports: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms (target: p99 under {:.0} ms at `normal`)",
        at(0.50),
        at(0.99),
        at(1.0),
        milliseconds(TARGET)
    );
    true
}
