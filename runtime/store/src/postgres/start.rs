//! The start of a node: opens the database, prepares its tables, and becomes one of the nodes that use it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::bell::Bell;
use super::connect::Connector;
use super::failure::{explained, is_interruption, is_unreachable, within};
use super::lost::Watch;
use super::members::{self, Joining, NotMember, Others};
use super::schema::{self, Refused};
use super::statement::query;
use super::{Postgres, read};
use crate::backend::{Left, Opened, Peers};
use crate::backoff::Backoff;
use crate::begun::Record;
use crate::error::OpenError;
use crate::options::DatabaseUrl;
use crate::share::Turns;
use postback_wire::id::NodeId;
use postback_wire::line::Causes;
use postback_wire::time::{Clock, Timestamp};

/// The longest time that the start takes, without a change of the schema.
pub(super) const START: Duration = Duration::from_mins(1);
/// How often a start that the server interrupts is tried again, and the pauses before that.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many rows of earlier processes the table `node` keeps.
const NODES: i64 = 1_000;

/// Opens the store in this database, and creates its tables if they do not exist.
pub(crate) async fn open(url: &DatabaseUrl, node: NodeId, clock: &Clock) -> Result<Opened, OpenError> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let (mut tries, mut worst) = (TRIES, Trouble::Interrupted);
    let (backend, left) = loop {
        match start(url, node, clock).await {
            Ok(started) => break started,
            Err(NotStarted { error, trouble }) if tries > 0 && trouble >= worst => {
                // A server that starts again cannot be reached for a moment.
                worst = Trouble::Unreachable;
                tries -= 1;
                tracing::warn!(error = %Causes(&error), "the start was interrupted, trying again: {}", Causes(&error));
                tokio::time::sleep(backoff.pause()).await;
            }
            Err(NotStarted { error, .. }) => return Err(error),
        }
    };
    let reader = Arc::new(read::Rows::new(backend.pool.clone(), backend.start.node));
    let peers = Some(Peers { lease: members::LEASE, heard: backend.bell.heard(), bell: backend.bell.run() });
    let begun = Some(Record::Rows(backend.begun.clone()));
    Ok(Opened { backend: Box::new(backend), reader, left, begun, peers })
}

/// The reason why the start has failed.
#[derive(Debug)]
pub(super) struct NotStarted {
    error: OpenError,
    trouble: Trouble,
}

/// How likely it is that the next try succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// Something is wrong.
    Other,
    /// There is no server.
    Unreachable,
    /// The server has interrupted the start.
    Interrupted,
}

pub(super) async fn start(url: &DatabaseUrl, node: NodeId, clock: &Clock) -> Result<(Postgres, Left), NotStarted> {
    let failed = |error: sqlx::Error| {
        let trouble = match &error {
            error if is_interruption(error) => Trouble::Interrupted,
            error if is_unreachable(error) => Trouble::Unreachable,
            _ => Trouble::Other,
        };
        NotStarted { error: OpenError::Database { at: url.to_string(), source: explained(error) }, trouble }
    };
    let refused = |error| match error {
        NotMember::Other(by) => {
            NotStarted { error: OpenError::DatabaseInUse { at: url.to_string(), by }, trouble: Trouble::Other }
        }
        NotMember::Failed(error) => failed(error),
    };
    let connector = Arc::new(Connector::new(url).map_err(failed)?);
    let mut joining = Joining::begin(&connector).await.map_err(refused)?;
    let mut session = connector.write(None).await.map_err(failed)?;
    let conn = &mut session.conn;
    let prepared = match schema::prepare(conn, connector.schema(), joining.alone).await {
        Ok(()) => schema::check_whole(conn).await,
        refused => refused,
    };
    prepared.map_err(|why| match why {
        Refused::Failed(error) => failed(error),
        why => NotStarted { error: why.into_error(connector.shown()), trouble: Trouble::Other },
    })?;
    joining.share().await.map_err(refused)?;
    let started = within(START, async {
        let number = joining.number(connector.schema()).await?;
        let alone = joining.alone && members::end_all(conn, connector.schema()).await?;
        let id = Some(schema::store_id(conn, node).await?);
        let left = Left { id, ..read::left(conn, alone, clock.now()).await? };
        Ok((Start::load(conn, number, node, clock.now()).await?, left))
    });
    let (start, left) = started.await.map_err(failed)?;
    let membership = joining.finish(connector.schema(), start.node);
    let pool = connector.read();
    let bell = Bell::new(&connector);
    let others = Others::new(connector.schema());
    let (session, watch) = (Some(session), Watch::new(&connector));
    let turns = Turns::default();
    let begun = Arc::default();
    let (before, pause) = (None, Duration::ZERO);
    let backend =
        Postgres { connector, session, watch, before, pool, start, turns, others, pause, begun, bell, membership };
    Ok((backend, left))
}

/// Numbers of this process.
pub(super) struct Start {
    /// The number of the row of this process in the table `node`.
    pub node: i64,
    /// The number of batches that this process has committed. If the outcome of a commit is unknown, the store compares
    /// this number with the number in the database.
    pub commits: i64,
}

impl Start {
    /// Writes the row of this process.
    async fn load(conn: &mut PgConnection, number: i64, node: NodeId, now: Timestamp) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
        let sql = "INSERT INTO node (seq, id, name, version, started, seen) \
                   VALUES ($1, $2, $3, $4, $5, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";
        let insert =
            query(sql).bind(number).bind(node.to_string()).bind(this_process()).bind(env!("CARGO_PKG_VERSION"));
        insert.bind(now.micros()).execute(&mut *conn).await?;
        query("DELETE FROM node WHERE seq < $1 AND is_empty").bind(number - NODES).execute(&mut *conn).await?;
        sqlx::raw_sql("COMMIT").execute(conn).await?;
        Ok(Self { node: number, commits: 0 })
    }
}

/// Returns the name of this process, for operators: the machine and the number of the process.
fn this_process() -> String {
    // A machine without a readable name is shown without one.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    let host = if host.is_empty() { "unknown host" } else { &host };
    format!("process {} on {host}", std::process::id())
}
