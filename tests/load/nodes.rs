//! The mode `nodes`: how many round trips 1, 2 and 4 workload servers make on one PostgreSQL, and what they cost it.
//!
//! A round trip is that of the mode `roundtrip`. The clients are spread over the servers. All processes, also PostgreSQL's,
//! share the cores of this machine. PostgreSQL has its default settings, and each commit is on the disk. The sides take
//! turns, each with a schema of its own.
//!
//! Then two servers have nothing else to do, and one client after the other posts to the first one, and asks the second
//! one with `?wait=` for the end. The time from the post to that answer is printed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postback_tests::Process;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use crate::anatomy::{Reading, nanoseconds};
use crate::numbers::{Rate, median, milliseconds, quantile};
use crate::postgres::Server as Postgres;
use crate::rounds::{Kind, Load, PAYLOAD, Round};
use crate::{Options, folder, program, receiver};

/// How many servers each side has.
const SIDES: [usize; 3] = [1, 2, 4];
const WARM_UP: Duration = Duration::from_secs(1);
/// How many posts are made for the time until another node tells the end.
const POSTS: usize = 300;

/// The servers of one side.
struct Side {
    servers: Vec<Process>,
    loads: Vec<Arc<Load>>,
    rounds: Vec<Round>,
    /// What the rounds have cost the database.
    cost: Cost,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) commits: i64,
    pub(crate) log_bytes: i64,
    /// The processor time of all processes of PostgreSQL, in nanoseconds.
    pub(crate) postgres: u64,
    /// The processor time of the servers of the side, in nanoseconds.
    servers: u64,
}

impl Cost {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            commits: self.commits - before.commits,
            log_bytes: self.log_bytes - before.log_bytes,
            postgres: self.postgres.saturating_sub(before.postgres),
            servers: self.servers.saturating_sub(before.servers),
        }
    }

    fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.log_bytes += other.log_bytes;
        self.postgres += other.postgres;
        self.servers += other.servers;
    }
}

/// Starts a PostgreSQL that has each commit on the disk. If that is not possible, prints why.
pub(crate) fn durable_postgres() -> Option<Postgres> {
    Postgres::start_with("on", None).inspect_err(|why| println!("not measured: {why}")).ok()
}

pub(crate) fn run(options: &Options) -> bool {
    let Some(postgres) = durable_postgres() else { return true };
    let folder = folder();
    let receiver = receiver::Receiver::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut watch = runtime.block_on(database(&postgres).connect()).expect("the database");
    let start = |count: usize| start(&postgres, count, folder.path(), &receiver, &options.log);
    let mut sides: Vec<Side> = SIDES.map(start).into();
    for side in &mut sides {
        side.round(&runtime, options, WARM_UP);
    }
    for _ in 0..options.rounds {
        for side in &mut sides {
            let before = side.cost(&runtime, &mut watch);
            let round = side.round(&runtime, options, options.round());
            let after = side.cost(&runtime, &mut watch);
            side.cost.add(after.since(before));
            side.rounds.push(round);
        }
    }
    let one = median(&sides[0].rounds).0;
    for side in &sides {
        side.print(one);
    }
    until_told(&runtime, &sides[1]);
    runtime.block_on(watch.close()).expect("the database");
    let mut complete = true;
    for side in &mut sides {
        side.servers.iter().for_each(Process::terminate);
        for server in &mut side.servers {
            complete &= server.ended().success();
        }
    }
    let left = receiver.trips.settle();
    println!("round trips: {left}");
    complete && left.is_complete()
}

/// The options for a connection to the database of the servers, without their schema.
pub(crate) fn database(postgres: &Postgres) -> PgConnectOptions {
    postgres.url("any").split("&search_path").next().expect("a URL").parse().expect("a URL")
}

fn start(postgres: &Postgres, count: usize, folder: &Path, receiver: &receiver::Receiver, log: &str) -> Side {
    let folder = folder.join(count.to_string());
    std::fs::create_dir(&folder).expect("a folder");
    let settings = format!(
        "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {:?}\n[log]\nlevel = {log:?}\n",
        receiver.url(receiver::ROUND_TRIP),
        postgres.url(&format!("nodes_{count}")),
    );
    std::fs::write(folder.join("postback.toml"), settings).expect("the settings");
    let workload = program().with_file_name("workload");
    assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
    let mut servers: Vec<Process> = (0..count).map(|_| Process::start(&workload, &folder, &["serve"], &[])).collect();
    let load = |server: &mut Process| Arc::new(Load::new(&server.ready(), receiver));
    let loads = servers.iter_mut().map(load).collect();
    Side { servers, loads, rounds: Vec::new(), cost: Cost::default() }
}

/// Returns how many transactions PostgreSQL has committed so far, how many bytes its log has, and its processor time.
pub(crate) async fn cost(conn: &mut PgConnection) -> Cost {
    let sql = "SELECT pid FROM pg_stat_activity";
    let processes: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&mut *conn).await.expect("the processes");
    // Each process has one thread. A process may have ended since.
    let time = |process| std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let postgres = processes.into_iter().map(|process| nanoseconds(&time(process))).sum();
    let sql = "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()), \
               pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
    let (commits, log_bytes) = sqlx::query_as(sql).fetch_one(conn).await.expect("the figures of the database");
    Cost { commits, log_bytes, postgres, servers: 0 }
}

impl Side {
    /// Returns what all work so far has cost PostgreSQL and the servers of this side.
    fn cost(&self, runtime: &Runtime, watch: &mut PgConnection) -> Cost {
        let servers = self.servers.iter().map(|server| Reading::of(server.id()).all().nanoseconds).sum();
        Cost { servers, ..runtime.block_on(cost(watch)) }
    }

    fn round(&self, runtime: &Runtime, options: &Options, time: Duration) -> Round {
        let clients = usize::from(options.in_flight).div_ceil(self.loads.len());
        let rounds =
            runtime.block_on(join_all(self.loads.iter().map(|load| load.round(Kind::RoundTrip, clients, time))));
        Round::whole(time, rounds)
    }

    fn print(&self, one: f64) {
        let mut latencies: Vec<Duration> =
            self.rounds.iter().flat_map(|round| round.latencies.iter().copied()).collect();
        latencies.sort_unstable();
        let rate: Rate = median(&self.rounds);
        let trips = latencies.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "the figures are printed with a few digits")]
        let per_trip = |n: i64| n as f64 / trips as f64;
        #[expect(clippy::cast_precision_loss, reason = "the figures are printed with a few digits")]
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1_000.0 / trips as f64;
        println!(
            "{} servers: {rate}, {:.2} of one; p50 {:.1} ms, p99 {:.1} ms; {:.3} commits, {:.1} kB of log, {:.0} µs of \
             PostgreSQL and {:.0} µs of the servers a trip; {} errors",
            self.servers.len(),
            rate.0 / one,
            milliseconds(quantile(&latencies, 0.50)),
            milliseconds(quantile(&latencies, 0.99)),
            per_trip(self.cost.commits),
            per_trip(self.cost.log_bytes) / 1_000.0,
            micros(self.cost.postgres),
            micros(self.cost.servers),
            self.rounds.iter().map(|round| round.errors).sum::<usize>(),
        );
    }
}

/// Measures the time from a post to the first server to the moment when the second server tells the end.
fn until_told(runtime: &Runtime, side: &Side) {
    let [first, second] = &side.loads[..] else { return };
    let mut times = Vec::new();
    for _ in 0..POSTS {
        let begun = Instant::now();
        let ended = runtime.block_on(async {
            let post = first.client.post(&first.server).header("content-type", "application/json").body(PAYLOAD);
            let body = post.send().await?.bytes().await?;
            let answer: Value = serde_json::from_slice(&body).expect("an answer");
            let id = answer["id"].as_str().expect("an id");
            first.trips.sent(id);
            let get = second.client.get(format!("{}/{id}?wait=30", second.server));
            let body = get.send().await?.bytes().await?;
            Ok::<Value, reqwest::Error>(serde_json::from_slice(&body).expect("a status"))
        });
        let ended = ended.expect("an answer");
        assert_eq!(ended["status"], "completed");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!(
        "idle: from a post to one of two servers until the other one tells the end: p50 {:.1} ms, p99 {:.1} ms",
        milliseconds(quantile(&times, 0.50)),
        milliseconds(quantile(&times, 0.99)),
    );
}
