//! The mode `features`: what tokens, idempotency keys and traces cost a round trip.
//!
//! There are two servers. One has no token, so it asks for none. The other one has a token: it finds the token of each
//! call, and each request belongs to the token. The sides of the comparison are clients that bring nothing, and clients
//! that bring a token, an idempotency key, a trace, or all of them. The sides take turns, several times, because other
//! load on the machine changes the figures of a round by more than a feature costs. The processor time of the server
//! is compared, because it depends on other load less than the rate does.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::anatomy::processor_time;
use crate::numbers::{Rate, Spread};
use crate::rounds::{Brings, Kind, Load};
use crate::{Options, folder, program, receiver, roundtrip};

const WARM_UP: Duration = Duration::from_secs(1);

/// The figures of one side.
struct Side {
    name: &'static str,
    load: Arc<Load>,
    process: u32,
    /// The processor time of the server for a round trip, in µs, one figure for each round.
    costs: Vec<f64>,
    rates: Vec<f64>,
}

pub(crate) fn run(options: &Options) -> bool {
    let (open, closed) = (folder(), folder());
    let receiver = receiver::Receiver::start();
    let token = new_token(closed.path());
    let (mut without, plain) = roundtrip::start_server(open.path(), &receiver, &options.log);
    let (mut with, secured) = roundtrip::start_server(closed.path(), &receiver, &options.log);
    let side = |name, token: Option<&str>, key, trace| {
        let (load, process) = if token.is_some() { (&secured, with.id()) } else { (&plain, without.id()) };
        let brings = Brings { token: token.map(str::to_owned), key, trace };
        Side { name, load: Arc::new(load.bringing(brings)), process, costs: Vec::new(), rates: Vec::new() }
    };
    let mut sides = [
        side("nothing", None, false, false),
        side("a token", Some(&token), false, false),
        side("an idempotency key", None, true, false),
        side("a trace", None, false, true),
        side("all of them", Some(&token), true, true),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let play = |load: &Arc<Load>, time| runtime.block_on(load.round(Kind::RoundTrip, options.in_flight.into(), time));
    play(&sides[0].load, WARM_UP);
    play(&sides[4].load, WARM_UP);
    let number = sides.len();
    for turn in 0..usize::from(options.rounds) {
        // Each side is the first one of some turns, so that no side always runs beside the same other load.
        for at in 0..number {
            let side = &mut sides[(turn + at) % number];
            let before = processor_time(side.process);
            let round = play(&side.load, options.round());
            let used = processor_time(side.process).saturating_sub(before);
            let trips = u32::try_from(round.latencies.len().max(1)).expect("bounded by the rounds");
            side.costs.push(used.as_secs_f64() * 1e6 / f64::from(trips));
            side.rates.push(Rate::of(&round).0);
        }
    }
    print(&sides);

    without.terminate();
    with.terminate();
    let stopped = [without.ended(), with.ended()];
    let left = receiver.trips.settle();
    println!("round trips: {left}; the servers ended with {stopped:?}");
    stopped.iter().all(std::process::ExitStatus::success) && left.is_complete()
}

/// Makes a token in the database that the server in this folder will open.
fn new_token(folder: &std::path::Path) -> String {
    let made = Command::new(program().with_file_name("workload"))
        .args(["tokens", "new", "load"])
        .current_dir(folder)
        .output()
        .expect("the workload server");
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let token = text.split_whitespace().find(|word| word.starts_with("pbk_"));
    token.unwrap_or_else(|| panic!("no token in {text:?}: {}", String::from_utf8_lossy(&made.stderr))).to_owned()
}

fn print(sides: &[Side]) {
    println!("{:<20} {:>12} {:>8} {:>8}", "the client brings", "µs (median)", "ratio", "trips/s");
    for side in sides {
        // The sides of one turn ran one after the other, so their ratio is less noisy than that of the medians.
        let ratios = side.costs.iter().zip(&sides[0].costs).map(|(cost, plain)| cost / plain);
        let (cost, ratio) = (Spread::of(side.costs.iter().copied()), Spread::of(ratios));
        let rate = Spread::of(side.rates.iter().copied());
        println!("{:<20} {:>12.1} {:>8.3} {:>8.0}", side.name, cost.median, ratio.median, rate.median);
    }
}
