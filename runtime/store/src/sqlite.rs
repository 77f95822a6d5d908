//! The backend that stores rows in one file: SQLite in WAL mode, with one connection that writes and a few that read.
//!
//! Only the writer task uses the writing connection, so no task of this process waits for a lock of the database. An
//! error may end the transaction without the driver's knowledge. After such an error the connection is closed, and a
//! new one is opened.

mod bulk;
mod codec;
mod connect;
mod idempotency;
mod list;
mod lock;
mod ops;
mod overview;
mod owner;
mod read;
mod reports;
mod requests;
mod row_ids;
pub(super) mod schema;
mod statement;
pub(super) mod states;
mod summary;
mod timeline;
mod tokens;
pub(super) mod upkeep;
mod waiting;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection as _, Row as _};

use self::connect::{Connector, is_permanent};
use self::owner::Owner;
use self::row_ids::RowIds;
#[cfg(test)]
pub(super) use self::statement::seen;
use self::statement::{query, query_scalar};
use self::states::sql;
use crate::backend::{Backend, Cause, Failure, Left, Opened};
use crate::begun::{self, Begun};
use crate::clock::Now;
use crate::error::OpenError;
use crate::operation::Outgoing;
use crate::ops::{Kind, Op, Reply};
use crate::options::Durability;
use crate::share::Turns;
use postback_wire::id::NodeId;
use postback_wire::time::{Clock, Timestamp};

/// Opens the database file, and creates the file if it does not exist. Only one process at a time can have the file
/// open. `litestream` says whether Litestream copies the write-ahead log (WAL) of the database.
pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    litestream: bool,
    node: NodeId,
    clock: &Clock,
) -> Result<Opened, OpenError> {
    open_with(Connector::new(path, durability).beside_litestream(litestream), node, clock).await
}

/// Opens the database file like `open`, but `tune` changes the options of the connections that write.
#[cfg(test)]
pub(super) async fn open_tuned(
    path: &Path,
    clock: &Clock,
    tune: impl Fn(sqlx::sqlite::SqliteConnectOptions) -> sqlx::sqlite::SqliteConnectOptions + Send + Sync + 'static,
) -> Result<Opened, OpenError> {
    let connector = Connector::new(path, Durability::Normal).tuned(Arc::new(tune));
    open_with(connector, NodeId::generate(), clock).await
}

async fn open_with(connector: Connector, node: NodeId, clock: &Clock) -> Result<Opened, OpenError> {
    let (backend, left) = start(connector, node, clock).await?;
    let reader = Arc::new(read::Rows::new(backend.pool.clone()));
    let begun = Some(backend.begun.clone());
    Ok(Opened { backend: Box::new(backend), reader, left, begun })
}

async fn start(mut connector: Connector, node: NodeId, clock: &Clock) -> Result<(Sqlite, Left), OpenError> {
    let owner = Owner::take(connector.path())?;
    connector.set_path(owner.database());
    let failed =
        |source: sqlx::Error| OpenError::Backend { path: connector.path().into(), source: connect::explained(source) };

    schema::check(&connector).await?;
    let mut conn = connector.write().await.map_err(failed)?;
    let started = async {
        schema::migrate(&mut conn).await?;
        Start::load(&mut conn, node, clock.now()).await
    };
    let start = started.await.map_err(failed)?;
    let mut left = read::left(&mut conn).await.map_err(failed)?;
    (left.backlog, left.owners) = read::backlog(&mut conn).await.map_err(failed)?;
    let not_writable = |source| OpenError::NotWritable { path: connector.path().into(), source };
    let (begun, had_begun) = Begun::open(owner.beside(BEGUN)?).map_err(not_writable)?;
    let pool = connector.read();
    let tidiness = upkeep::Tidiness::new(connector.is_beside_litestream());
    let backend = Sqlite {
        connector,
        conn: Some(conn),
        pool,
        start,
        row_ids: RowIds::default(),
        turns: Turns::default(),
        tidiness,
        untidy: None,
        begun: Arc::new(begun),
        had_begun,
        owner,
    };
    Ok((backend, left))
}

/// The suffix of the file that records which runs have begun. The name of the file is the name of the database with
/// this suffix.
const BEGUN: &str = ".begun";

struct Sqlite {
    connector: Connector,
    /// The connection that writes. `None`: the next write must open a new connection.
    conn: Option<SqliteConnection>,
    pool: SqlitePool,
    start: Start,
    row_ids: RowIds,
    /// Whose turn it was last, among the routes and their owners.
    turns: Turns,
    tidiness: upkeep::Tidiness,
    /// The error of the last housekeeping. `None`: the last housekeeping succeeded.
    untidy: Option<String>,
    begun: Arc<Begun>,
    /// The marks of the runs that had begun when the earlier process ended. `None`: the runs that had begun are
    /// unknown.
    had_begun: Option<begun::Left>,
    /// The owner holds the lock on the database. It is the last field, so that the lock is released last.
    owner: Owner,
}

/// Numbers that were read when the database was opened. This process continues to count from these numbers.
struct Start {
    /// The number of the row of this process in the table `node`.
    node: i64,
    /// The number of batches that were committed in the database. If the outcome of a commit is unknown, the store
    /// compares this number with the number in the database.
    commits: i64,
    last_request: i64,
    last_report: i64,
}

impl Start {
    async fn load(conn: &mut SqliteConnection, node: NodeId, now: Timestamp) -> Result<Self, sqlx::Error> {
        // The new number must be greater than the numbers in all claims, because a claim may have a number whose row in
        // the table `node` is missing.
        let sql = sql!(
            "INSERT INTO node (seq, id, started) SELECT 1 + max( \
                   coalesce((SELECT max(seq) FROM node), 0), \
                   coalesce((SELECT max(node) FROM request WHERE state = {running}), 0), \
                   coalesce((SELECT max(node) FROM report WHERE state = {delivering}), 0)), ?1, ?2"
        );
        let node = query(sql).bind(node.to_string()).bind(now.micros()).execute(&mut *conn).await?.last_insert_rowid();
        let row = query(
            "SELECT commits, \
             (SELECT coalesce(max(seq), 0) FROM request), (SELECT coalesce(max(seq), 0) FROM report) FROM progress",
        )
        .fetch_one(conn)
        .await?;
        Ok(Self { node, commits: row.try_get(0)?, last_request: row.try_get(1)?, last_report: row.try_get(2)? })
    }
}

/// One transaction: the operations, their answers, and the data that the operations need.
struct Batch<'a> {
    conn: &'a mut SqliteConnection,
    start: &'a mut Start,
    row_ids: &'a mut RowIds,
    turns: &'a mut Turns,
    had_begun: Option<&'a begun::Left>,
    ops: &'a [&'a Op],
    /// The answers, in the order of the operations.
    replies: Vec<Option<Reply>>,
    /// The reports that the operations write. Each report has the index of its operation. One statement writes all
    /// reports.
    outgoing: Vec<(usize, &'a Outgoing)>,
    after_commit: AfterCommit,
    now: Now,
}

/// The work that the writer must do after the commit of this batch.
#[derive(Clone, Copy, Default)]
struct AfterCommit {
    /// If true, rows were deleted, so the database may have empty pages to return to the file system.
    purged: bool,
    /// If true, the rows that earlier processes had claimed were recovered.
    recovered: bool,
}

impl<'a> Batch<'a> {
    /// Returns the operations of one kind. Each operation has its index in the batch.
    fn of<K: Kind + 'a>(&self) -> impl Iterator<Item = (usize, &'a K)> + use<'a, K> {
        self.ops.iter().enumerate().filter_map(|(at, op)| Some((at, K::of(op)?)))
    }

    /// Sets the answer to the operation with this index. A later answer replaces an earlier answer.
    fn answer<K: Kind>(&mut self, at: usize, answer: K::Answer) {
        if let Some(reply) = self.replies.get_mut(at) {
            *reply = Some(K::reply(answer));
        }
    }
}

impl Sqlite {
    async fn apply(&mut self, ops: &[&Op], now: Now) -> Result<Vec<Reply>, Failure> {
        let transient = |error: sqlx::Error| Failure::Transient(Arc::new(error));
        self.owner.look().map_err(|lost| Failure::Transient(Arc::new(lost)))?;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write().await.map_err(transient)?,
        };
        // After this line, `self.conn` is empty until the state of the transaction is known. Then the connection is
        // stored in `self.conn` again.
        let (wall, due) = (now.wall.micros(), now.due.micros());
        let begin = query("BEGIN IMMEDIATE; UPDATE progress SET commits = commits + 1, wall = ?, due = ?");
        if let Err(error) = begin.bind(wall).bind(due).execute(&mut conn).await {
            discard(conn).await;
            return Err(transient(error));
        }
        match self.write(&mut conn, ops, now).await {
            Ok((replies, after_commit)) => match query("COMMIT").execute(&mut conn).await {
                Ok(_) => {
                    self.conn = Some(conn);
                    self.committed_now(ops, after_commit);
                    Ok(replies)
                }
                Err(error) => {
                    discard(conn).await;
                    Err(Failure::Unknown { replies, cause: Arc::new(error) })
                }
            },
            Err(error) if is_permanent(&error) => {
                match query("ROLLBACK").execute(&mut conn).await {
                    Ok(_) => self.conn = Some(conn),
                    Err(_) => discard(conn).await,
                }
                Err(Failure::Permanent(Arc::new(error)))
            }
            Err(error) => {
                discard(conn).await;
                Err(transient(error))
            }
        }
    }

    /// Applies the operations in the transaction that is open on this connection.
    async fn write(
        &mut self,
        conn: &mut SqliteConnection,
        ops: &[&Op],
        now: Now,
    ) -> Result<(Vec<Reply>, AfterCommit), sqlx::Error> {
        self.row_ids.failed();
        let mut batch = Batch {
            conn,
            start: &mut self.start,
            row_ids: &mut self.row_ids,
            turns: &mut self.turns,
            had_begun: self.had_begun.as_ref(),
            ops,
            replies: ops.iter().map(|_| None).collect(),
            outgoing: Vec::new(),
            after_commit: AfterCommit::default(),
            now,
        };
        batch.apply().await?;
        // Invariant: every operation has an answer, because every kind of operation sets the answers of its operations.
        debug_assert!(batch.replies.iter().all(Option::is_some), "an operation has no answer");
        Ok((batch.replies.into_iter().flatten().collect(), batch.after_commit))
    }

    /// Updates the data that this process keeps in memory. Called after the commit of the batch.
    fn committed_now(&mut self, ops: &[&Op], after_commit: AfterCommit) {
        self.start.commits += 1;
        self.row_ids.committed();
        self.tidiness.wrote(ops, after_commit.purged);
        if after_commit.recovered {
            self.begun.restart();
        }
    }

    async fn try_to_write(&mut self, bytes: usize) -> Result<(), Cause> {
        self.owner.look().map_err(|lost| Arc::new(lost) as Cause)?;
        let failed = |error: sqlx::Error| Arc::new(error) as Cause;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write().await.map_err(failed)?,
        };
        match upkeep::try_to_write(&mut conn, bytes).await {
            Ok(()) => {
                self.conn = Some(conn);
                Ok(())
            }
            Err(error) => {
                discard(conn).await;
                Err(failed(error))
            }
        }
    }

    async fn committed(&mut self) -> Result<bool, sqlx::Error> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write().await?,
        };
        let commits: i64 = match query_scalar("SELECT commits FROM progress").fetch_one(&mut conn).await {
            Ok(commits) => commits,
            Err(error) => {
                discard(conn).await;
                return Err(error);
            }
        };
        let committed = commits > self.start.commits;
        if committed && let Err(error) = self.tidiness.copy_log(&mut conn).await {
            discard(conn).await;
            return Err(error);
        }
        self.conn = Some(conn);
        self.start.commits = commits;
        Ok(committed)
    }
}

/// Closes a connection that must not be used again, and waits until SQLite has closed its files. Otherwise the open
/// transaction of the connection would block the next connection.
async fn discard(conn: SqliteConnection) {
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "a connection to the database could not be closed");
    }
}

impl Backend for Sqlite {
    fn apply<'a>(&'a mut self, ops: &'a [&'a Op], now: Now) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        self.apply(ops, now).boxed()
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        async { self.committed().await.map_err(|error| Arc::new(error) as Cause) }.boxed()
    }

    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>> {
        self.try_to_write(bytes).boxed()
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        async {
            let Some(conn) = &mut self.conn else { return };
            if let Err(error) = self.tidiness.tidy(conn).await {
                let cause = error.to_string();
                if self.untidy.as_ref() != Some(&cause) {
                    tracing::warn!(
                        error = cause,
                        "the housekeeping of the database failed: {cause}; it is repeated after later commits"
                    );
                    self.untidy = Some(cause);
                }
                if let Some(conn) = self.conn.take() {
                    discard(conn).await;
                }
            } else if self.untidy.take().is_some() {
                tracing::info!("the housekeeping of the database works again");
            }
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // The readers are closed first, so that the connection that writes is the last connection. When the last
            // connection is closed, SQLite copies the WAL into the database file and removes the WAL.
            self.pool.close().await;
            if let Some(conn) = self.conn {
                discard(conn).await;
            }
            // The file with the marks of begun runs is removed while this process still holds the lock on the database.
            if self.begun.is_over() {
                self.owner.remove_beside(BEGUN);
            }
        }
        .boxed()
    }
}

#[cfg(test)]
pub(super) mod tests;
