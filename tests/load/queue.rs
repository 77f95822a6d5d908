//! The mode `queue`: what a plain queue of jobs does on the PostgreSQL that round trips of one workload server use.
//!
//! The plain queue is what many programs have: one table, one `INSERT` for each job, and `FOR UPDATE SKIP LOCKED`. Its
//! columns and indexes are some of those of River. It runs in this process: it has neither HTTP API nor webhook nor
//! retention, and a run does nothing. There are two kinds of it, and the same number of jobs is in flight as of round
//! trips:
//!
//! - *one by one*: each of the `--in-flight` workers inserts a job, claims one, and completes it;
//! - *in batches*: the workers insert a job each and wait. One task claims as many jobs as there are, and another one
//!   completes as many as were claimed, as River does. River also waits between two batches; these do not.
//!
//! A commit is on the disk before it returns, on all sides. The sides take turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgExecutor};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::nodes::{self, Cost};
use crate::numbers::{median, milliseconds, quantile};
use crate::postgres::Server as Postgres;
use crate::receiver::Receiver;
use crate::rounds::{Kind, Load, PAYLOAD, Round};
use crate::{Options, folder, roundtrip};

const TABLES: &str = "
    CREATE SCHEMA plain;
    CREATE TABLE plain.job (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL DEFAULT 'available',
        attempt smallint NOT NULL DEFAULT 0, max_attempts smallint NOT NULL DEFAULT 25, attempted_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(), finalized_at timestamptz,
        scheduled_at timestamptz NOT NULL DEFAULT now(), priority smallint NOT NULL DEFAULT 1, args jsonb NOT NULL,
        kind text NOT NULL, queue text NOT NULL DEFAULT 'default'
    );
    CREATE INDEX ON plain.job (kind);
    CREATE INDEX ON plain.job (state, finalized_at) WHERE finalized_at IS NOT NULL;
    CREATE INDEX ON plain.job (state, queue, priority, scheduled_at, id);
";
const INSERT: &str = "INSERT INTO plain.job (kind, args) VALUES ('echo', $1::jsonb) RETURNING id";
const CLAIM: &str = "
    WITH locked AS (
        SELECT id FROM plain.job WHERE state = 'available' AND queue = 'default' AND scheduled_at <= now()
        ORDER BY priority, scheduled_at, id LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE plain.job AS j SET state = 'running', attempt = attempt + 1, attempted_at = now() FROM locked
    WHERE j.id = locked.id RETURNING j.id, j.args::text
";
const COMPLETE: &str =
    "UPDATE plain.job SET state = 'completed', finalized_at = now() WHERE id = ANY ($1) AND state = 'running'";
/// The connections of the workers together.
const CONNECTIONS: u32 = 16;
/// The most jobs of a batch.
const BATCH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &Options) -> bool {
    let Some(postgres) = nodes::durable_postgres() else { return true };
    let (folder, receiver, url) = (folder(), Receiver::start(), postgres.url("queue"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut watch = runtime.block_on(nodes::database(&postgres).connect()).expect("the database");
    let queue = runtime.block_on(Queue::start(&postgres)).expect("the tables");
    let variables = [("POSTBACK_STORE__URL", &*url)];
    let (server, load) = roundtrip::start_server_with(folder.path(), &receiver, &options.log, &variables);
    let sides = [
        Side { name: "round trips", of: Of::Server(load) },
        Side { name: "one by one", of: Of::OneByOne(Arc::clone(&queue)) },
        Side { name: "in batches", of: Of::Batches(queue) },
    ];
    for side in &sides {
        side.round(&runtime, options.in_flight.into(), WARM_UP);
    }
    let mut turns: Vec<Vec<(Round, Cost)>> = sides.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (side, turns) in sides.iter().zip(&mut turns) {
            let before = runtime.block_on(nodes::cost(&mut watch));
            let round = side.round(&runtime, options.in_flight.into(), options.round());
            let after = runtime.block_on(nodes::cost(&mut watch));
            turns.push((round, after.since(before)));
        }
    }
    let errors: usize = turns.iter().flatten().map(|(round, _)| round.errors).sum();
    for (side, turns) in sides.iter().zip(turns) {
        print(side.name, turns);
    }
    println!("{errors} errors");
    runtime.block_on(watch.close()).expect("the database");
    let left = receiver.trips.settle();
    println!("round trips: {left}");
    roundtrip::stop(server) && left.is_complete() && errors == 0
}

struct Side {
    name: &'static str,
    of: Of,
}

#[derive(Clone)]
enum Of {
    Server(Arc<Load>),
    OneByOne(Arc<Queue>),
    Batches(Arc<Queue>),
}

impl Side {
    fn round(&self, runtime: &Runtime, clients: usize, time: Duration) -> Round {
        let of = self.of.clone();
        runtime.block_on(async {
            let queue = match of {
                Of::Server(load) => return load.round(Kind::RoundTrip, clients, time).await,
                Of::OneByOne(queue) => (queue, false),
                Of::Batches(queue) => (queue, true),
            };
            let end = Instant::now() + time;
            let mut set = JoinSet::new();
            for _ in 0..clients {
                let (queue, in_batches) = (Arc::clone(&queue.0), queue.1);
                set.spawn(async move {
                    let mut round = Round::new(time);
                    while Instant::now() < end {
                        let begun = Instant::now();
                        let done = if in_batches { queue.wait_for_one().await } else { queue.one_by_one().await };
                        match done {
                            Ok(()) => {
                                round.in_time += usize::from(Instant::now() <= end);
                                round.latencies.push(begun.elapsed());
                            }
                            Err(error) => {
                                eprintln!("{error}");
                                round.errors += 1;
                            }
                        }
                    }
                    round
                });
            }
            Round::whole(time, set.join_all().await)
        })
    }
}

/// The plain queue.
struct Queue {
    pool: PgPool,
    /// There may be a job for the task that claims.
    work: Notify,
    /// The jobs that are completed.
    ended: Ledger,
}

impl Queue {
    /// Makes the table, and starts the two tasks that work in batches.
    async fn start(postgres: &Postgres) -> Result<Arc<Self>, sqlx::Error> {
        let database = nodes::database(postgres);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(database.clone()).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        let queue = Arc::new(Self { pool, work: Notify::new(), ended: Ledger::default() });
        let (claimed, jobs) = mpsc::unbounded_channel();
        tokio::spawn(Arc::clone(&queue).claim_batches(database.connect().await?, claimed));
        tokio::spawn(Arc::clone(&queue).complete_batches(database.connect().await?, jobs));
        Ok(queue)
    }

    async fn insert(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(INSERT).bind(PAYLOAD).fetch_one(&self.pool).await
    }

    /// Inserts a job, and does one job, which may be another one.
    async fn one_by_one(&self) -> Result<(), sqlx::Error> {
        self.insert().await?;
        let claimed = claim(&self.pool, 1).await?;
        complete(&self.pool, &claimed).await
    }

    /// Inserts a job, and waits until it is completed.
    async fn wait_for_one(&self) -> Result<(), sqlx::Error> {
        let id = self.insert().await?.to_string();
        self.work.notify_one();
        self.ended.arrival(&id, PATIENCE).await.map(drop).ok_or(sqlx::Error::RowNotFound)
    }

    async fn claim_batches(self: Arc<Self>, mut conn: PgConnection, claimed: mpsc::UnboundedSender<i64>) {
        loop {
            self.work.notified().await;
            loop {
                let ids = claim(&mut conn, i64::try_from(BATCH).expect("small")).await.expect("claimed jobs");
                if ids.is_empty() {
                    break;
                }
                for id in ids {
                    if claimed.send(id).is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn complete_batches(self: Arc<Self>, mut conn: PgConnection, mut jobs: mpsc::UnboundedReceiver<i64>) {
        let mut ids = Vec::new();
        while jobs.recv_many(&mut ids, BATCH).await > 0 {
            complete(&mut conn, &ids).await.expect("completed jobs");
            ids.drain(..).for_each(|id| self.ended.arrived(&id.to_string()));
        }
    }
}

/// Claims at most this many jobs. Their payloads are read, as a worker needs them.
async fn claim(conn: impl PgExecutor<'_>, most: i64) -> Result<Vec<i64>, sqlx::Error> {
    let rows: Vec<(i64, String)> = sqlx::query_as(CLAIM).bind(most).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(id, _)| id).collect())
}

async fn complete(conn: impl PgExecutor<'_>, ids: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(COMPLETE).bind(ids).execute(conn).await.map(drop)
}

#[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
fn print(name: &str, turns: Vec<(Round, Cost)>) {
    let (rounds, costs): (Vec<Round>, Vec<Cost>) = turns.into_iter().unzip();
    let mut latencies: Vec<Duration> = rounds.iter().flat_map(|round| round.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    let each = |figure: fn(&Cost) -> f64| costs.iter().map(figure).sum::<f64>() / latencies.len().max(1) as f64;
    println!(
        "{name:<12} {}; p50 {:.1} ms, p99 {:.1} ms; {:.3} commits, {:.1} kB of log and {:.0} µs of PostgreSQL each",
        median(&rounds),
        milliseconds(quantile(&latencies, 0.50)),
        milliseconds(quantile(&latencies, 0.99)),
        each(|cost| cost.commits as f64),
        each(|cost| cost.log_bytes as f64 / 1e3),
        each(|cost| cost.postgres as f64 / 1e3),
    );
}
