//! The mode `roundtrip`: how many round trips a workload server makes, compared with bare posts.
//!
//! - A *round trip* is a POST to the server's `/echo`, the answer with an id, and the arrival of the webhook with that
//!   id at the receiver. `--in-flight` clients each make one round trip after the other. A client waits for its webhook
//!   before its next POST. So there are never more round trips in progress, and rarely fewer.
//! - A *bare post* is a POST of such a webhook's body to the same receiver with the same HTTP client, and its answer.
//!   The same number of clients each make one bare post after the other.
//!
//! The server, the receiver and this program are three processes on one machine. They use the loopback address and
//! share the cores. The server uses a new SQLite file with `durability = "full"`. A rate counts the operations that
//! ended within the time of a round. A short warm-up round of each kind comes first and does not count.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postback_tests::Process;

use crate::numbers::{Rate, median, milliseconds, quantile};
use crate::rounds::{Kind, Load, Round};
use crate::{Options, folder, program, receiver};

/// The length of the first round of each kind, which does not count.
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &Options) -> bool {
    let folder = folder();
    let receiver = receiver::Receiver::start();
    let (mut server, load) = start_server(folder.path(), &receiver, &options.log);
    let (bare, trips) = take_turns(options, &load);

    server.terminate();
    let stopped = server.ended();
    let (trips_left, bare_left) = (receiver.trips.settle(), receiver.bare.settle());
    let (bare_rate, trip_rate) = (median(&bare), median(&trips));
    println!("median: bare posts {bare_rate}, round trips {trip_rate}: a ratio of {:.3}", trip_rate.0 / bare_rate.0);
    let mut latencies: Vec<Duration> = trips.iter().flat_map(|round| round.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    println!(
        "round trip: p50 {:.1} ms, p99 {:.1} ms",
        milliseconds(quantile(&latencies, 0.50)),
        milliseconds(quantile(&latencies, 0.99))
    );
    println!("round trips: {trips_left}");
    println!("bare posts: {bare_left}");
    println!("the server ended with {stopped}");
    if !stopped.success() {
        println!("{}", server.output());
    }
    stopped.success() && trips_left.is_complete() && bare_left.is_complete()
}

/// Starts a workload server in this folder, with a new database. It reports to this receiver.
pub(crate) fn start_server(folder: &Path, receiver: &receiver::Receiver, log: &str) -> (Process, Arc<Load>) {
    start_server_with(folder, receiver, log, &[])
}

/// Starts a workload server as [`start_server`] does, with these variables of the environment.
pub(crate) fn start_server_with(
    folder: &Path,
    receiver: &receiver::Receiver,
    log: &str,
    variables: &[(&str, &str)],
) -> (Process, Arc<Load>) {
    start_server_adding(folder, receiver, log, variables, "")
}

/// Starts a workload server as [`start_server_with`] does, with these settings beside the usual ones.
pub(crate) fn start_server_adding(
    folder: &Path,
    receiver: &receiver::Receiver,
    log: &str,
    variables: &[(&str, &str)],
    more: &str,
) -> (Process, Arc<Load>) {
    let workload = program().with_file_name("workload");
    assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[store]\ndurability = \"full\"\n\
         [log]\nlevel = {log:?}\n{more}",
        receiver.url(receiver::ROUND_TRIP),
    );
    std::fs::write(folder.join("postback.toml"), settings).expect("the settings");
    let mut server = Process::start(&workload, folder, &["serve"], variables);
    let load = Arc::new(Load::new(&server.ready(), receiver));
    (server, load)
}

/// Stops a server. Returns whether it has ended as it should.
pub(crate) fn stop(mut server: Process) -> bool {
    server.terminate();
    let ended = server.ended();
    if !ended.success() {
        println!("the server ended with {ended}\n{}", server.output());
    }
    ended.success()
}

fn take_turns(options: &Options, load: &Arc<Load>) -> (Vec<Round>, Vec<Round>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let play = |kind, time| runtime.block_on(load.round(kind, options.in_flight.into(), time));
    play(Kind::BarePost, WARM_UP);
    play(Kind::RoundTrip, WARM_UP);
    let (mut bare, mut trips) = (Vec::new(), Vec::new());
    for number in 1..=options.rounds {
        let round = play(Kind::BarePost, options.round());
        println!("round {number}: bare posts  {}, {} errors", Rate::of(&round), round.errors);
        bare.push(round);
        let round = play(Kind::RoundTrip, options.round());
        println!("round {number}: round trips {}, {} errors", Rate::of(&round), round.errors);
        trips.push(round);
    }
    (bare, trips)
}
