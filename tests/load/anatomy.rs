//! The mode `anatomy`: the cost of one round trip for the workload server, by group of threads.
//!
//! The mode makes the same round trips as the mode `roundtrip`. The kernel counts the figures of the server's process
//! in `/proc`. The program reads them before and after the rounds, and divides the difference by the number of round
//! trips:
//!
//! - processor time and sleeps (voluntary context switches), by group of threads. Each sleep ends with a wake-up, so
//!   the number of sleeps is also the number of wake-ups;
//! - bytes written to storage, which are the bytes of the database and its write-ahead log;
//! - commits, which the database counts. With `durability = "full"`, each commit is a sync of the write-ahead log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};

use crate::numbers::{Rate, milliseconds, quantile};
use crate::rounds::Kind;
use crate::{Options, folder, receiver, roundtrip};

/// The length of the first round, which is not counted. In it, connections are opened and SQL statements are prepared.
const WARM_UP: Duration = Duration::from_secs(1);

/// The name of each group of threads, cut to 15 characters as the kernel does, and its name in the printed table.
pub(crate) const GROUPS: [(&str, &str); 4] = [
    ("postback-contro", "API, claims, writer"),
    ("postback-sqlite", "SQLite"),
    ("postback-delive", "delivery"),
    ("postback-handle", "handlers"),
];
const OTHERS: &str = "others";

pub(crate) fn run(options: &Options) -> bool {
    let folder = folder();
    let receiver = receiver::Receiver::start();
    let (mut server, load) = roundtrip::start_server(folder.path(), &receiver, &options.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let play = |time| runtime.block_on(load.round(Kind::RoundTrip, options.in_flight.into(), time));
    let read = || Reading {
        commits: runtime.block_on(commits(&folder.path().join("workload.db"))),
        ..Reading::of(server.id())
    };

    play(WARM_UP);
    let before = read();
    let (mut trips, mut latencies) = (0, Vec::new());
    for number in 1..=options.rounds {
        let round = play(options.round());
        println!("round {number}: {}, {} errors", Rate::of(&round), round.errors);
        trips += round.latencies.len();
        latencies.extend(round.latencies);
    }
    let cost = read().since(&before);
    latencies.sort_unstable();
    cost.print(f64::from(u32::try_from(trips.max(1)).expect("bounded by the rounds")));
    let at = |part| milliseconds(quantile(&latencies, part));
    println!("round trip: p50 {:.1} ms, p99 {:.1} ms", at(0.50), at(0.99));

    server.terminate();
    let stopped = server.ended();
    let left = receiver.trips.settle();
    println!("round trips: {left}; the server ended with {stopped}");
    stopped.success() && left.is_complete()
}

/// The resources that the server had used up at one moment.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) threads: BTreeMap<&'static str, Threads>,
    /// The number of bytes that were written to storage.
    pub(crate) written: u64,
    commits: u64,
}

/// The sums over all threads of one group.
#[derive(Clone, Copy, Default)]
pub(crate) struct Threads {
    pub(crate) nanoseconds: u64,
    sleeps: u64,
}

impl Reading {
    /// Reads what the kernel counts. The number of commits is 0.
    pub(crate) fn of(process: u32) -> Self {
        let mut reading = Self::default();
        let io = fs::read_to_string(format!("/proc/{process}/io")).expect("a process on Linux");
        reading.written = field(&io, "write_bytes:");
        for task in fs::read_dir(format!("/proc/{process}/task")).expect("a process on Linux") {
            let task = task.expect("a thread").path();
            // A thread may end while its files are read. Then they count as empty.
            let text = |name| fs::read_to_string(task.join(name)).unwrap_or_default();
            let name = text("comm");
            let group = GROUPS.iter().find(|(start, _)| name.starts_with(start)).map_or(OTHERS, |(_, group)| group);
            let sum = reading.threads.entry(group).or_default();
            sum.nanoseconds += nanoseconds(&text("schedstat"));
            sum.sleeps += field(&text("status"), "voluntary_ctxt_switches:");
        }
        reading
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(group, now)| {
            let earlier = before.threads.get(group).copied().unwrap_or_default();
            let nanoseconds = now.nanoseconds.saturating_sub(earlier.nanoseconds);
            (*group, Threads { nanoseconds, sleeps: now.sleeps.saturating_sub(earlier.sleeps) })
        });
        Self {
            threads: threads.collect(),
            written: self.written.saturating_sub(before.written),
            commits: self.commits.saturating_sub(before.commits),
        }
    }

    /// Returns the sums over all threads of the process.
    pub(crate) fn all(&self) -> Threads {
        self.threads.values().fold(Threads::default(), |sum, of| Threads {
            nanoseconds: sum.nanoseconds + of.nanoseconds,
            sleeps: sum.sleeps + of.sleeps,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
    fn print(&self, trips: f64) {
        let per_trip = |count: u64| count as f64 / trips;
        println!("per round trip, of {trips}:");
        println!("{:<22} {:>8} {:>8}", "threads", "µs", "sleeps");
        let row = |name: &str, of: Threads| {
            println!("{name:<22} {:>8.1} {:>8.2}", per_trip(of.nanoseconds) / 1e3, per_trip(of.sleeps));
        };
        for group in GROUPS.iter().map(|(_, group)| *group).chain([OTHERS]) {
            row(group, self.threads.get(group).copied().unwrap_or_default());
        }
        row("all", self.all());
        println!("bytes written to storage: {:.0}", per_trip(self.written));
        println!("round trips per commit: {:.1}", trips / (self.commits.max(1) as f64));
    }
}

/// The processor time in a file `schedstat`.
pub(crate) fn nanoseconds(schedstat: &str) -> u64 {
    schedstat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The number after a name in a file of `/proc`. If the name is missing, 0.
fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// The number of commits of the database so far.
async fn commits(database: &Path) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the server's database");
    let commits: i64 =
        sqlx::query_scalar("SELECT commits FROM progress").fetch_one(&mut connection).await.expect("the commits");
    connection.close().await.expect("a connection");
    u64::try_from(commits).expect("a count")
}
