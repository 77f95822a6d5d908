//! The mode `roundtrip`: how many round trips a workload server makes, beside bare posts.
//!
//! - A *round trip* is a POST to the server's `/echo`, its answer with an id, and the webhook with that id arriving at the
//!   receiver. So many clients as are to be in flight each make one after another, waiting for the webhook before the
//!   next POST: there are never more, and hardly ever fewer, round trips under way.
//! - A *bare post* is a POST of such a webhook's body to the same receiver by the same HTTP client, and its answer. As
//!   many clients each make one after another.
//!
//! Server, receiver and this program are three processes on one machine, which talk over loopback and share its cores. The
//! server keeps its record in a fresh SQLite file with `durability = "full"`. A rate counts what arrived in the time of
//! its round. A short round of each goes before them and does not count.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postback_tests::{Process, client};

use crate::numbers::{Rate, median, milliseconds, quantile};
use crate::rounds::{Kind, Load, Round};
use crate::{Options, folder, program, receiver};

/// Rounds that do not count.
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

/// Starts a workload server in this folder, with a fresh database, that reports to this receiver.
pub(crate) fn start_server(folder: &Path, receiver: &receiver::Receiver, log: &str) -> (Process, Arc<Load>) {
    let workload = program().with_file_name("workload");
    assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[store]\ndurability = \"full\"\n\
         [log]\nlevel = {log:?}\n",
        receiver.url(receiver::ROUND_TRIP),
    );
    std::fs::write(folder.join("postback.toml"), settings).expect("the settings");
    let mut server = Process::start(&workload, folder, &["serve"], &[]);
    let load = Arc::new(Load {
        client: client(),
        server: format!("{}/echo", server.ready()),
        receiver: receiver.url(receiver::BARE),
        trips: Arc::clone(&receiver.trips),
        bare: Arc::clone(&receiver.bare),
    });
    (server, load)
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
