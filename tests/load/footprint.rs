//! The mode `footprint`: what `--rows` requests take in PostgreSQL: the sizes of the tables and of their indexes, the
//! number of statements, and bytes of the log.
//!
//! `--in-flight` clients make round trips through one workload server until the store has that many ended requests.
//! Then the server starts again with a retention of a second, and deletes all of them. At last, `VACUUM` does at once
//! what autovacuum does in its time. The sizes are printed after each of these steps. PostgreSQL has its default
//! settings and the extension `pg_stat_statements`, which counts the statements. Without that extension, they are not
//! counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use crate::numbers::Rate;
use crate::postgres::Server as Postgres;
use crate::receiver::Receiver;
use crate::rounds::{Kind, Load};
use crate::{Options, folder, nodes, roundtrip};

const SCHEMA: &str = "footprint";
/// The deletion of a million requests takes minutes.
const PATIENCE: Duration = Duration::from_mins(60);
/// The pause between two questions whether all is deleted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the progress is printed.
const LINES: u64 = 10;
/// Smaller tables are not printed.
const SMALL: i64 = 100_000;
/// The steps after which the sizes are read.
const STEPS: [&str; 3] = ["ended", "deleted", "vacuumed"];

/// The size of a table with its TOAST table, and that of its indexes, in bytes.
type Sizes = BTreeMap<String, (i64, i64)>;

/// What PostgreSQL has done so far.
#[derive(Clone, Copy)]
struct Done {
    /// `None` without the extension that counts them.
    statements: Option<i64>,
    commits: i64,
    log: i64,
}

pub(crate) fn run(options: &Options) -> bool {
    let Some(postgres) = nodes::durable_postgres() else { return true };
    let (folder, receiver) = (folder(), Receiver::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut watch = Watch::new(&runtime, &postgres);

    let url = postgres.url(SCHEMA);
    let start = |retention: &str| {
        let variables = [("POSTBACK_STORE__URL", &*url), ("POSTBACK_STORE__RETENTION", retention)];
        roundtrip::start_server_with(folder.path(), &receiver, &options.log, &variables)
    };

    let (server, load) = start("7d");
    let before = watch.done();
    let trips = work(&runtime, options, &load);
    let left = receiver.trips.settle();
    println!("round trips: {left}");
    let worked = watch.done();
    let mut sizes = vec![watch.sizes()];
    let mut complete = roundtrip::stop(server) && left.is_complete();

    let (server, _) = start("1s");
    let begun = Instant::now();
    let restarted = watch.done();
    while watch.has_rows() {
        assert!(begun.elapsed() < PATIENCE, "the rows are not deleted: {}", server.output());
        std::thread::sleep(LOOK_EVERY);
    }
    println!("all requests were deleted in {:.0} s", begun.elapsed().as_secs_f64());
    let deleted = watch.done();
    sizes.push(watch.sizes());
    complete &= roundtrip::stop(server);
    watch.vacuum();
    sizes.push(watch.sizes());

    print_done("a round trip", trips, before, worked);
    print_done("the deletion of a request", trips, restarted, deleted);
    print_sizes(&sizes, trips);
    complete
}

/// Makes round trips until there are enough. Returns their number.
fn work(runtime: &Runtime, options: &Options, load: &Arc<Load>) -> u64 {
    let wanted = u64::from(options.rows);
    let (mut trips, mut printed, begun) = (0_u64, 0, Instant::now());
    while trips < wanted {
        let round = runtime.block_on(load.round(Kind::RoundTrip, options.in_flight.into(), options.round()));
        assert_eq!(round.errors, 0, "all round trips must succeed");
        trips += u64::try_from(round.latencies.len()).expect("bounded by the rounds");
        if trips * LINES / wanted > printed {
            printed = trips * LINES / wanted;
            println!("{trips} round trips after {:.0} s, now {}", begun.elapsed().as_secs_f64(), Rate::of(&round));
        }
    }
    trips
}

#[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
fn print_done(what: &str, trips: u64, before: Done, after: Done) {
    let each = |before: i64, after: i64| (after - before) as f64 / trips as f64;
    let statements = before.statements.zip(after.statements).map(|(before, after)| each(before, after));
    let statements = statements.map_or("statements not counted".to_owned(), |each| format!("{each:.3} statements"));
    let (commits, log) = (each(before.commits, after.commits), each(before.log, after.log));
    println!("{what}: {statements}, {commits:.3} commits, {log:.0} bytes of log");
}

#[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
fn print_sizes(steps: &[Sizes], trips: u64) {
    println!("{trips} requests; sizes in MB, of the table and of its indexes");
    let heads: String = STEPS.iter().map(|step| format!("{step:>20}")).collect();
    println!("{:<16}{heads}{:>22}", "table", "bytes a request");
    let mut sums = vec![(0, 0); steps.len()];
    let line = |name: &str, sizes: &[(i64, i64)]| {
        let megabytes: String = sizes
            .iter()
            .map(|(table, indexes)| format!("{:>11.1}{:>9.1}", *table as f64 / 1e6, *indexes as f64 / 1e6))
            .collect();
        let (table, indexes) = sizes[0];
        let each = |bytes: i64| bytes as f64 / trips as f64;
        println!("{name:<16}{megabytes}{:>13.0}{:>9.0}", each(table), each(indexes));
    };
    for name in steps[0].keys() {
        let sizes: Vec<_> = steps.iter().map(|sizes| sizes.get(name).copied().unwrap_or_default()).collect();
        for (sum, (table, indexes)) in sums.iter_mut().zip(&sizes) {
            *sum = (sum.0 + table, sum.1 + indexes);
        }
        if sizes.iter().any(|(table, indexes)| table + indexes >= SMALL) {
            line(name, &sizes);
        }
    }
    line("all", &sums);
}

/// A connection that reads the figures of the database.
struct Watch<'a> {
    runtime: &'a Runtime,
    conn: PgConnection,
    counts_statements: bool,
}

impl<'a> Watch<'a> {
    fn new(runtime: &'a Runtime, postgres: &Postgres) -> Self {
        let database = nodes::database(postgres);
        let counting = async {
            let mut conn = database.connect().await?;
            sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&mut conn).await?;
            let sql = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'";
            sqlx::raw_sql(sql).execute(&mut conn).await?;
            conn.close().await
        };
        let counting = runtime.block_on(counting);
        match &counting {
            Ok(()) => postgres.command("restart"),
            Err(error) => println!("statements are not counted: {error}"),
        }
        let conn = runtime.block_on(database.connect()).expect("the database");
        Self { runtime, conn, counts_statements: counting.is_ok() }
    }

    fn done(&mut self) -> Done {
        let sql = "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()), \
                   pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
        let (commits, log) = self.runtime.block_on(sqlx::query_as(sql).fetch_one(&mut self.conn)).expect("figures");
        let sql = "SELECT sum(calls)::bigint FROM pg_stat_statements";
        let statements = self.counts_statements.then(|| {
            self.runtime.block_on(sqlx::query_scalar(sql).fetch_one(&mut self.conn)).expect("a number of statements")
        });
        Done { statements, commits, log }
    }

    fn sizes(&mut self) -> Sizes {
        let sql = "SELECT c.relname::text, pg_table_size(c.oid), pg_indexes_size(c.oid) FROM pg_class AS c \
                   JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";
        let rows = sqlx::query_as(sql).bind(SCHEMA).fetch_all(&mut self.conn);
        let rows: Vec<(String, i64, i64)> = self.runtime.block_on(rows).expect("the sizes");
        rows.into_iter().map(|(name, table, indexes)| (name, (table, indexes))).collect()
    }

    /// Returns whether a request or a report is left.
    fn has_rows(&mut self) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM footprint.request) OR EXISTS (SELECT 1 FROM footprint.report)";
        self.runtime.block_on(sqlx::query_scalar(sql).fetch_one(&mut self.conn)).expect("an answer")
    }

    fn vacuum(&mut self) {
        self.runtime.block_on(sqlx::raw_sql("VACUUM").execute(&mut self.conn)).expect("a vacuum");
    }
}
