//! The mode `features`: what tokens, idempotency keys and traces cost a round trip.
//!
//! There are two servers. One has no token, so it asks for none. The other one has a token: it finds the token of each
//! call, and each request belongs to the token. The sides of the comparison are clients that bring nothing, and clients
//! that bring a token, an idempotency key, a trace, or all of them. The sides take turns of a quarter of a second, because
//! other load on the machine changes the figures from one second to the next by more than a feature costs. The processor
//! time of the server is compared, because it depends on other load less than the rate does.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::anatomy::{GROUPS, Reading};
use crate::numbers::{Rate, Spread};
use crate::rounds::{Brings, Kind, Load};
use crate::{Options, folder, program, receiver, roundtrip};

const WARM_UP: Duration = Duration::from_secs(1);

/// The number of turns into which a round is divided.
const TURNS: u16 = 4;

/// The figures of one side.
struct Side {
    name: &'static str,
    load: Arc<Load>,
    process: u32,
    turns: Vec<Turn>,
}

/// The figures of one turn, for one round trip each.
struct Turn {
    /// The processor time of the server, in µs.
    cost: f64,
    /// The processor time of each group of threads, in the order of [`GROUPS`], in µs.
    groups: [f64; GROUPS.len()],
    /// The number of bytes written to storage.
    written: f64,
    rate: f64,
}

impl Turn {
    #[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
    fn of(used: &Reading, trips: usize, rate: f64) -> Self {
        let per_trip = |count: u64| count as f64 / trips.max(1) as f64;
        let group = |(_, name): (&str, &str)| used.threads.get(name).copied().unwrap_or_default().nanoseconds;
        Self {
            cost: per_trip(used.all().nanoseconds) / 1e3,
            groups: GROUPS.map(|of| per_trip(group(of)) / 1e3),
            written: per_trip(used.written),
            rate,
        }
    }
}

pub(crate) fn run(options: &Options) -> bool {
    let (open, closed) = (folder(), folder());
    let receiver = receiver::Receiver::start();
    let token = new_token(closed.path());
    let (mut without, plain) = roundtrip::start_server(open.path(), &receiver, &options.log);
    let (mut with, secured) = roundtrip::start_server(closed.path(), &receiver, &options.log);
    let side = |name, token: Option<&str>, key, trace| {
        let (load, process) = if token.is_some() { (&secured, with.id()) } else { (&plain, without.id()) };
        let brings = Brings { token: token.map(str::to_owned), key, trace, ..Brings::default() };
        Side { name, load: Arc::new(load.bringing(brings)), process, turns: Vec::new() }
    };
    let mut sides = vec![
        side("nothing", None, false, false),
        side("a token", Some(&token), false, false),
        side("an idempotency key", None, true, false),
        side("a trace", None, false, true),
        side("all of them", Some(&token), true, true),
    ];
    sides.retain(|side| side.name == "nothing" || side.name.starts_with(&options.only));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let play = |load: &Arc<Load>, time| runtime.block_on(load.round(Kind::RoundTrip, options.in_flight.into(), time));
    sides.iter().for_each(|side| drop(play(&side.load, WARM_UP)));
    let number = sides.len();
    for turn in 0..usize::from(options.rounds * TURNS) {
        // Each side is the first one of some turns, so that no side always runs beside the same other load.
        for at in 0..number {
            let side = &mut sides[(turn + at) % number];
            let before = Reading::of(side.process);
            let round = play(&side.load, options.round() / TURNS.into());
            let used = Reading::of(side.process).since(&before);
            side.turns.push(Turn::of(&used, round.latencies.len(), Rate::of(&round).0));
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
    let groups = GROUPS.map(|(_, name)| name.split([' ', ',']).next().unwrap_or(name)).join(" ");
    println!("medians of {} turns; µs of the server, and of the threads of {groups}", sides[0].turns.len());
    println!("{:<20} {:>8} {:>8} {:>8} {:>8}  of the threads", "the client brings", "µs", "ratio", "trips/s", "bytes");
    for side in sides {
        let median = |figure: &dyn Fn(&Turn) -> f64| Spread::of(side.turns.iter().map(figure)).median;
        // The sides of one turn ran one after the other, so their ratio is less noisy than that of the medians.
        let ratios = side.turns.iter().zip(&sides[0].turns).map(|(turn, plain)| turn.cost / plain.cost);
        let groups: Vec<_> = (0..GROUPS.len()).map(|at| format!("{:.1}", median(&|turn| turn.groups[at]))).collect();
        println!(
            "{:<20} {:>8.1} {:>8.3} {:>8.0} {:>8.0}  {}",
            side.name,
            median(&|turn| turn.cost),
            Spread::of(ratios).median,
            median(&|turn| turn.rate),
            median(&|turn| turn.written),
            groups.join(" "),
        );
    }
}
