//! The backend that stores rows in one file: SQLite in WAL mode, with one connection that writes and a few that read.
//!
//! Only the writer task uses the writing connection, so no task of this process waits for a lock of the database. An
//! error may end the transaction without the driver's knowledge. After such an error the connection is closed, and a
//! new one is opened.

mod bulk;
mod codec;
mod connect;
mod lock;
mod ops;
mod owner;
mod read;
mod reports;
mod requests;
mod row_ids;
pub(super) mod schema;
mod statement;
pub(super) mod states;
mod summary;
pub(super) mod upkeep;

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
use postback_wire::id::NodeId;
use postback_wire::time::{Clock, Timestamp};

/// Opens the database file, and creates it if it does not exist. Only one process can have the file open. `litestream`
/// says whether Litestream copies the database's write-ahead log (WAL).
pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    litestream: bool,
    node: NodeId,
    clock: &Clock,
) -> Result<Opened, OpenError> {
    open_with(Connector::new(path, durability).beside_litestream(litestream), node, clock).await
}

/// Opens the database file as `open` does, but `tune` changes the options of the connections that write.
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
    left.backlog = read::backlog(&mut conn).await.map_err(failed)?;
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
        tidiness,
        untidy: None,
        begun: Arc::new(begun),
        had_begun,
        owner,
    };
    Ok((backend, left))
}

/// The suffix of the file that records which runs have begun. The file's name is the database's name with this suffix.
const BEGUN: &str = ".begun";

struct Sqlite {
    connector: Connector,
    /// The connection that writes. `None`: the next write opens a new connection.
    conn: Option<SqliteConnection>,
    pool: SqlitePool,
    start: Start,
    row_ids: RowIds,
    tidiness: upkeep::Tidiness,
    /// The error of the last housekeeping. `None`: it succeeded.
    untidy: Option<String>,
    begun: Arc<Begun>,
    /// The runs that had begun when the earlier process ended. `None`: the file does not say which runs had begun.
    had_begun: Option<begun::Left>,
    /// The owner is the last field, and is dropped last, because it holds the lock on the database.
    owner: Owner,
}

/// Numbers that were read when the database was opened. The process continues to count from them.
struct Start {
    /// The number of this process's row in the table `node`.
    node: i64,
    /// The number of batches that are committed in the database. If the outcome of a commit is unknown, this number is
    /// compared with the number in the database.
    commits: i64,
    last_request: i64,
    last_report: i64,
}

impl Start {
    async fn load(conn: &mut SqliteConnection, node: NodeId, now: Timestamp) -> Result<Self, sqlx::Error> {
        // The new number must be greater than the number in every claim, because a claim may have a number whose row in
        // `node` is missing.
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

/// One transaction: the operations that it applies, their answers, and what the operations need.
struct Batch<'a> {
    conn: &'a mut SqliteConnection,
    start: &'a mut Start,
    row_ids: &'a mut RowIds,
    had_begun: Option<&'a begun::Left>,
    ops: &'a [&'a Op],
    /// The answers, in the order of the operations.
    replies: Vec<Option<Reply>>,
    /// The reports that the operations write, each with the index of its operation. One statement writes all these
    /// reports.
    outgoing: Vec<(usize, &'a Outgoing)>,
    after_commit: AfterCommit,
    now: Now,
}

/// What the writer must do after the commit, because of what the batch did.
#[derive(Clone, Copy, Default)]
struct AfterCommit {
    /// Rows were deleted, so the database may have empty pages to return to the file system.
    purged: bool,
    /// The rows that earlier processes had claimed were recovered.
    recovered: bool,
}

impl<'a> Batch<'a> {
    /// Returns the operations of one kind, each with its index in the batch.
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
        // From here on, `self.conn` is empty. The connection is stored there again only if the state of its transaction
        // is known.
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

    /// Applies the operations in the open transaction of this connection.
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
            had_begun: self.had_begun.as_ref(),
            ops,
            replies: ops.iter().map(|_| None).collect(),
            outgoing: Vec::new(),
            after_commit: AfterCommit::default(),
            now,
        };
        batch.apply().await?;
        // Invariant: every kind of operation answers each of its operations.
        debug_assert!(batch.replies.iter().all(Option::is_some), "an operation has no answer");
        Ok((batch.replies.into_iter().flatten().collect(), batch.after_commit))
    }

    /// Updates what this process keeps in memory. Called after the batch is committed.
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

/// Closes a connection that must not be used again, and waits until its file is closed. Otherwise the connection's open
/// transaction would block the next connection.
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
            // The readers are closed first. SQLite copies the WAL into the database file and removes the WAL when the
            // last connection is closed, and that must be the connection that writes.
            self.pool.close().await;
            if let Some(conn) = self.conn {
                discard(conn).await;
            }
            // The file with the begun runs is removed while this process still holds the lock.
            if self.begun.is_over() {
                self.owner.remove_beside(BEGUN);
            }
        }
        .boxed()
    }
}

#[cfg(test)]
pub(super) mod tests;
