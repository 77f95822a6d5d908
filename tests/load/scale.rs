//! The mode `scale`: what a round trip costs under other loads, and whether a full store makes it dearer.
//!
//! Each load of [`shapes`] goes to two workload servers, in turns of `--seconds`. The store of one of them is new. That
//! of the other one has `--rows` ended requests with their deliveries, and [`WAITING`] requests that wait, because
//! their route is full. The figures of a turn are those of the server for each round trip; with `--postgres`, they
//! include PostgreSQL. The table has the medians, and below them the median ratio of two turns that follow each other:
//! the full store to the new one. The ratios of the p99s are only printed. All other figures may be at most [`ASKED`]
//! times as bad.
//!
//! Callers that bring the URL of their webhook are compared with each other: with one origin, and with a thousand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postback_tests::Process;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use crate::anatomy::Reading;
use crate::numbers::{Rate, Spread, milliseconds, quantile};
use crate::postgres::Server as Postgres;
use crate::receiver::{ROUND_TRIP, Receiver};
use crate::rounds::{Brings, Kind, Load, Round};
use crate::{Options, folder, nodes, operations, pages, roundtrip};

/// The number of waiting requests in the full store.
const WAITING: u32 = 100_000;
/// How many times as bad a figure of the full store may be.
const ASKED: f64 = 1.2;
const WARM_UP: Duration = Duration::from_secs(1);
/// The server gives up the run that makes its route full, because that run does not end.
const SETTINGS: &str = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n[route.\"/guarded\"]\nconcurrency = 1\n\
                        [shutdown]\ngrace = \"1s\"\n";
/// The route that reports to the URL which a caller brings.
const TO_CALLER: &str = "/echo_to";

/// A figure of the table.
struct Column {
    name: &'static str,
    /// The digits after the point.
    digits: usize,
    asked: Asked,
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Low,
    High,
    Nothing,
}

const fn column(name: &'static str, digits: usize, asked: Asked) -> Column {
    Column { name, digits, asked }
}

const COLUMNS: [Column; 8] = [
    column("µs", 0, Asked::Low),
    column("database", 0, Asked::Nothing),
    column("trips/s", 0, Asked::High),
    column("submit", 1, Asked::Low),
    column("p99", 1, Asked::Nothing),
    column("trip", 1, Asked::Low),
    column("p99", 1, Asked::Nothing),
    column("bytes", 0, Asked::Low),
];

/// The figures of one turn, in the order of [`COLUMNS`].
type Turn = [f64; COLUMNS.len()];

/// A load that is measured.
struct Shape {
    name: String,
    clients: usize,
    payload: Option<Bytes>,
    hooks: Vec<String>,
}

fn shapes(options: &Options, receiver: &Receiver) -> Vec<Shape> {
    let of = |name: &str, clients| Shape { name: name.to_owned(), clients, payload: None, hooks: Vec::new() };
    let many = usize::from(options.in_flight);
    let shapes = vec![
        of("1 in flight", 1),
        of("8 in flight", 8),
        of(&format!("{many} in flight"), many),
        of("512 in flight", 512),
        Shape { hooks: vec![receiver.url(ROUND_TRIP)], ..of("one origin of callers", many) },
        Shape { hooks: receiver.origins(), ..of("1,000 origins of callers", many) },
        Shape { payload: Some(payload(16 << 10)), ..of("bodies of 16 KiB", many) },
        Shape { payload: Some(payload(256 << 10)), ..of("bodies of 256 KiB", many) },
    ];
    shapes.into_iter().filter(|shape| shape.name.starts_with(&*options.only)).collect()
}

/// A JSON payload of this many bytes. Its digits are random, so that no database makes it much smaller.
fn payload(bytes: usize) -> Bytes {
    const FRAME: &str = r#"{"image":""}"#;
    let digits: String = (0..bytes / 16).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    format!(r#"{{"image":"{}"}}"#, &digits[..bytes - FRAME.len()]).into()
}

/// A server with a store.
struct Side {
    server: Process,
    load: Arc<Load>,
    _folder: tempfile::TempDir,
}

struct Bench<'a> {
    runtime: Runtime,
    options: &'a Options,
    receiver: Receiver,
    postgres: Option<(Postgres, PgConnection)>,
}

pub(crate) fn run(options: &Options) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut bench = Bench { runtime, options, receiver: Receiver::start_with_origins(), postgres: None };
    if options.postgres {
        let Some(postgres) = nodes::durable_postgres() else { return true };
        let watch = bench.runtime.block_on(nodes::database(&postgres).connect()).expect("the database");
        bench.postgres = Some((postgres, watch));
    }
    let full = bench.start_full();
    println!(
        "\"µs\": processor time of the server a trip, with \"database\" of it; \"submit\" and \"trip\": p50 in ms"
    );
    let names: String = COLUMNS.iter().map(|column| format!("{:>10}", column.name)).collect();
    println!("{:<25} {:<6}{names}", "", "store");
    let mut held = true;
    for (number, shape) in shapes(options, &bench.receiver).iter().enumerate() {
        let empty = bench.start(&format!("empty_{number}"));
        let pairs = bench.pairs(shape, &[&empty, &full]);
        held &= print(&shape.name, &pairs);
        held &= roundtrip::stop(empty.server);
    }
    held &= roundtrip::stop(full.server);
    let left = bench.receiver.trips.settle();
    println!("round trips: {left}");
    held && left.is_complete()
}

impl Bench<'_> {
    /// Starts a server with a new store.
    fn start(&self, name: &str) -> Side {
        self.start_in(folder(), name)
    }

    fn start_in(&self, folder: tempfile::TempDir, name: &str) -> Side {
        let url = self.postgres.as_ref().map(|(postgres, _)| postgres.url(name));
        let variables: Vec<_> = url.iter().map(|url| ("POSTBACK_STORE__URL", &**url)).collect();
        let (receiver, log) = (&self.receiver, &self.options.log);
        let (server, load) = roundtrip::start_server_adding(folder.path(), receiver, log, &variables, SETTINGS);
        Side { server, load, _folder: folder }
    }

    /// Starts a server with a full store.
    fn start_full(&self) -> Side {
        const NAME: &str = "full";
        let Side { server, _folder: folder, .. } = self.start(NAME);
        assert!(roundtrip::stop(server), "the server must make its tables");
        let (begun, file) = (Instant::now(), folder.path().join("workload.db"));
        self.runtime.block_on(self.fill(NAME, &file)).expect("a store filled");
        let time = begun.elapsed().as_secs_f64();
        println!(
            "the full store has {} ended and {WAITING} waiting requests, filled in {time:.0} s",
            self.options.rows
        );
        self.start_in(folder, NAME)
    }

    async fn fill(&self, name: &str, file: &std::path::Path) -> Result<(), sqlx::Error> {
        let values = [("queued", WAITING.to_string()), ("now", operations::now().to_string())];
        let Some((postgres, _)) = &self.postgres else {
            pages::fill("sqlite:", file, self.options.rows).await?;
            operations::fill(file, &operations::filled(include_str!("queued.sql"), &values)).await?;
            // Otherwise the system writes the file to the disk during the first turns.
            return Ok(std::fs::File::open(file)?.sync_all()?);
        };
        pages::fill(&postgres.url(name), file, self.options.rows).await?;
        let mut conn = nodes::database(postgres).options([("search_path", name)]).connect().await?;
        let sql = operations::filled(include_str!("queued_postgres.sql"), &values);
        // PostgreSQL refuses `VACUUM` beside other statements.
        for statements in sql.split_inclusive("COMMIT;") {
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut conn).await?;
        }
        sqlx::raw_sql("CHECKPOINT").execute(&mut conn).await?;
        conn.close().await
    }

    /// Takes turns with a load. Each pair has the figures of the new store and of the full one.
    fn pairs(&mut self, shape: &Shape, sides: &[&Side; 2]) -> Vec<[Turn; 2]> {
        let loads = sides.map(|side| {
            let on = if shape.hooks.is_empty() { (*side.load).clone() } else { side.load.on(TO_CALLER) };
            let on = on.bringing(Brings { hooks: shape.hooks.clone(), ..Brings::default() });
            let payload = shape.payload.clone().unwrap_or(on.payload.clone());
            (Arc::new(Load { payload, ..on }), side.server.id())
        });
        for (load, _) in &loads {
            self.runtime.block_on(load.round(Kind::RoundTrip, shape.clients, WARM_UP));
        }
        let mut pairs = Vec::new();
        for number in 0..self.options.rounds {
            let mut pair = [Turn::default(); 2];
            // The first of a pair is not always the same side.
            for at in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
                pair[at] = self.turn(&loads[at].0, loads[at].1, shape.clients);
            }
            pairs.push(pair);
        }
        pairs
    }

    fn turn(&mut self, load: &Arc<Load>, server: u32, clients: usize) -> Turn {
        let before = self.used(server);
        let round = self.runtime.block_on(load.round(Kind::RoundTrip, clients, self.options.round()));
        let used = self.used(server).since(before);
        assert_eq!(round.errors, 0, "all round trips must succeed");
        figures(used, round)
    }

    /// Reads what the server and its database have used so far.
    fn used(&mut self, server: u32) -> Used {
        let reading = Reading::of(server);
        let all = reading.all().nanoseconds;
        let Some((_, watch)) = &mut self.postgres else {
            let database = reading.threads.get("SQLite").map_or(0, |threads| threads.nanoseconds);
            return Used { all, database, written: reading.written };
        };
        let cost = self.runtime.block_on(nodes::cost(watch));
        let written = u64::try_from(cost.log_bytes).expect("a position in the log");
        Used { all: all + cost.postgres, database: cost.postgres, written }
    }
}

/// What a server and its database have used.
#[derive(Clone, Copy)]
struct Used {
    /// Processor time, in nanoseconds.
    all: u64,
    /// The part of the thread of SQLite, or of the processes of PostgreSQL.
    database: u64,
    /// The bytes written to storage, or to the log of PostgreSQL.
    written: u64,
}

impl Used {
    fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            database: self.database.saturating_sub(before.database),
            written: self.written.saturating_sub(before.written),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
fn figures(used: Used, mut round: Round) -> Turn {
    let per_trip = |count: u64| count as f64 / round.latencies.len().max(1) as f64;
    let (all, database, written) = (per_trip(used.all) / 1e3, per_trip(used.database) / 1e3, per_trip(used.written));
    let rate = Rate::of(&round).0;
    round.submits.sort_unstable();
    round.latencies.sort_unstable();
    let at = |times: &[Duration], part| milliseconds(quantile(times, part));
    let (submits, trips) = (&round.submits, &round.latencies);
    [all, database, rate, at(submits, 0.50), at(submits, 0.99), at(trips, 0.50), at(trips, 0.99), written]
}

/// Prints the figures of a load. Returns whether the full store is good enough.
fn print(name: &str, pairs: &[[Turn; 2]]) -> bool {
    for (at, store) in ["new", "full"].into_iter().enumerate() {
        let median = |column: usize| Spread::of(pairs.iter().map(|pair| pair[at][column])).median;
        let figures = COLUMNS.iter().enumerate().map(|(n, column)| format!("{:>10.*}", column.digits, median(n)));
        println!("{:<25} {store:<6}{}", if at == 0 { name } else { "" }, figures.collect::<String>());
    }
    let mut missed = Vec::new();
    let mut ratios = String::new();
    for (n, column) in COLUMNS.iter().enumerate() {
        let ratio = Spread::of(pairs.iter().map(|[new, full]| full[n] / new[n])).median;
        let is_held = match column.asked {
            Asked::Low => ratio <= ASKED,
            Asked::High => ratio >= 1.0 / ASKED,
            Asked::Nothing => true,
        };
        if !is_held {
            missed.push(column.name);
        }
        ratios += &format!("{ratio:>10.2}");
    }
    let verdict = if missed.is_empty() { "held".to_owned() } else { format!("MISSED: {}", missed.join(", ")) };
    println!("{:<25} {:<6}{ratios}  {verdict}", "", "ratio");
    missed.is_empty()
}
