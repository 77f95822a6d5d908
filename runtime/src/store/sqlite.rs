//! The backend in one file: SQLite in WAL mode, one connection that writes, a few that read.
//!
//! Only the writer task reaches the writing connection, so nothing in this process ever waits for a lock. After an error that
//! may have ended the transaction by itself the connection is closed and opened anew: what the driver believes of it can no
//! longer be trusted.

mod bulk;
mod cancel;
mod claim;
mod codec;
mod connect;
mod lock;
mod owner;
mod parked;
mod read;
mod replay;
mod reports;
mod requests;
mod row_ids;
pub(super) mod schema;
mod statement;
mod summary;
pub(super) mod upkeep;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection as _, Row as _};

use self::bulk::Statements;
use self::connect::{Connector, is_permanent};
use self::owner::Owner;
use self::row_ids::RowIds;
#[cfg(test)]
pub(super) use self::statement::seen;
use self::statement::{query, query_scalar};
use super::backend::{Backend, Cause, Failure, Left, Opened};
use super::begun::{self, Begun};
use super::clock::Now;
use super::operation::{Op, Reply};
use super::{Durability, OpenError};
use crate::id::NodeId;
use crate::time::{Clock, Timestamp};

/// Opens the file, creating it if there is none, as its only owner. `litestream`: another program copies the log.
pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    litestream: bool,
    node: NodeId,
    clock: &Clock,
) -> Result<Opened, OpenError> {
    open_with(Connector::new(path, durability).beside_litestream(litestream), node, clock).await
}

/// The same with other options for the connections that write.
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
    let (statements, row_ids) = (Statements::new(), RowIds::default());
    let backend = Sqlite {
        connector,
        conn: Some(conn),
        pool,
        start,
        statements,
        row_ids,
        tidiness,
        untidy: None,
        begun: Arc::new(begun),
        had_begun,
        owner,
    };
    Ok((backend, left))
}

/// How the name of the file ends that says which runs have begun.
const BEGUN: &str = ".begun";

struct Sqlite {
    connector: Connector,
    /// `None`: it has to be opened anew.
    conn: Option<SqliteConnection>,
    pool: SqlitePool,
    start: Start,
    statements: Statements,
    row_ids: RowIds,
    tidiness: upkeep::Tidiness,
    /// Why it could not be tidied up last.
    untidy: Option<String>,
    begun: Arc<Begun>,
    /// What had begun when the last owner died, if that is known.
    had_begun: Option<begun::Left>,
    /// Let go of last.
    owner: Owner,
}

/// Where the file stood when it was opened, counted on from there.
struct Start {
    /// This process in the table `node`.
    node: i64,
    /// Batches committed, as the file counts them: so an unknown commit is looked up.
    commits: i64,
    last_request: i64,
    last_report: i64,
}

impl Start {
    async fn load(conn: &mut SqliteConnection, node: NodeId, now: Timestamp) -> Result<Self, sqlx::Error> {
        // A number that no claim carries: whoever left it is gone, even if the row that says so is, too.
        let sql = "INSERT INTO node (seq, id, started) SELECT 1 + max( \
                   coalesce((SELECT max(seq) FROM node), 0), \
                   coalesce((SELECT max(node) FROM request WHERE state = 1), 0), \
                   coalesce((SELECT max(node) FROM report WHERE state = 1), 0)), ?1, ?2";
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

/// One transaction, as the modules of the tables see it.
struct Batch<'a> {
    conn: &'a mut SqliteConnection,
    start: &'a mut Start,
    statements: &'a Statements,
    row_ids: &'a mut RowIds,
    had_begun: Option<&'a begun::Left>,
    ops: &'a [&'a Op],
    replies: Vec<Reply>,
    now: Now,
}

impl Batch<'_> {
    async fn run(mut self) -> Result<Vec<Reply>, sqlx::Error> {
        requests::submit(&mut self).await?;
        let current = requests::settle(&mut self).await?;
        requests::release(&mut self).await?;
        requests::register(&mut self).await?;
        cancel::mark(&mut self).await?;
        reports::settle(&mut self).await?;
        reports::release(&mut self).await?;
        parked::park(&mut self).await?;
        parked::hold(&mut self).await?;
        reports::write(&mut self, &current).await?;
        replay::replay(&mut self).await?;
        upkeep::recover(&mut self).await?;
        upkeep::purge(&mut self).await?;
        parked::give_up_parked(&mut self).await?;
        parked::enable(&mut self).await?;
        // Claims last: they see what the batch wrote.
        claim::claim(&mut self).await?;
        reports::claim(&mut self).await?;
        parked::claim(&mut self).await?;
        Ok(self.replies)
    }

    fn reply(&mut self, at: usize, reply: Reply) {
        if let Some(place) = self.replies.get_mut(at) {
            *place = reply;
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
        // The connection is put back only where its state is known.
        let (wall, due) = (now.wall.micros(), now.due.micros());
        let begin = query("BEGIN IMMEDIATE; UPDATE progress SET commits = commits + 1, wall = ?, due = ?");
        if let Err(error) = begin.bind(wall).bind(due).execute(&mut conn).await {
            discard(conn).await;
            return Err(transient(error));
        }
        let replies = ops.iter().map(|_| Reply::Done).collect();
        let (start, statements, row_ids) = (&mut self.start, &self.statements, &mut self.row_ids);
        row_ids.failed();
        let had_begun = self.had_begun.as_ref();
        let batch = Batch { conn: &mut conn, start, statements, row_ids, had_begun, ops, replies, now };
        match batch.run().await {
            Ok(replies) => match query("COMMIT").execute(&mut conn).await {
                Ok(_) => {
                    self.conn = Some(conn);
                    self.start.commits += 1;
                    self.row_ids.committed();
                    self.tidiness.wrote(ops);
                    if ops.iter().any(|op| matches!(op, Op::Recover { .. })) {
                        self.begun.restart();
                    }
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

/// Closes a connection that is not to be used again, and waits until the file is let go of: its open transaction would keep
/// the next one out.
async fn discard(conn: SqliteConnection) {
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "a connection to the database did not close");
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
                        "the database could not be tidied up: {cause}; it is tried after later commits"
                    );
                    self.untidy = Some(cause);
                }
                if let Some(conn) = self.conn.take() {
                    discard(conn).await;
                }
            } else if self.untidy.take().is_some() {
                tracing::info!("the database is tidied up again");
            }
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // The readers first: the last connection to close copies the log into the file and removes it.
            self.pool.close().await;
            if let Some(conn) = self.conn {
                discard(conn).await;
            }
            // Under the lock of the owner, which is let go of behind it.
            if self.begun.is_over() {
                self.owner.remove_beside(BEGUN);
            }
        }
        .boxed()
    }
}

#[cfg(test)]
pub(super) mod tests;
