//! The backend that stores rows in one file: SQLite in WAL mode, with one connection that writes and a few that read.
//!
//! Only the writer task uses the writing connection, so no task of this process waits for a lock of the database. An
//! error may end the transaction without the driver's knowledge. After such an error the connection is closed, and a
//! new one is opened.

mod codec;
mod connect;
#[cfg(feature = "postgres")]
pub(crate) mod copied;
mod handed_in;
mod idempotency;
pub(super) mod keys;
mod list;
mod lock;
mod ops;
mod overview;
mod owner;
mod progress;
mod read;
mod readers;
mod remote;
mod reports;
mod requests;
mod row_ids;
pub(super) mod schema;
mod series;
mod statement;
mod summary;
mod thread;
mod timeline;
mod tokens;
pub(super) mod upkeep;
mod waiting;

use rusqlite::Connection;
use std::sync::Arc;

use self::connect::{Connector, is_permanent};
use self::keys::Keys;
use self::owner::Owner;
use self::readers::Readers;
pub(crate) use self::remote::open;
#[cfg(test)]
pub(crate) use self::remote::open_tuned;
use self::requests::Texts;
use self::row_ids::RowIds;
#[cfg(test)]
pub(super) use self::statement::seen;
use self::statement::{query, query_scalar};
use crate::backend::{Cause, Failure, Left};
use crate::begun::{self, Begun};
use crate::clock::Now;
use crate::error::OpenError;
use crate::operation::Outgoing;
use crate::ops::{Kind, Op, Reply};
use crate::share::Turns;
pub(super) use crate::sql::states;
use crate::sql::states::sql;
use postback_wire::id::{NodeId, ReportId, RequestId};
use postback_wire::time::{Clock, Timestamp};

fn start(mut connector: Connector, node: NodeId, clock: &Clock) -> Result<(Sqlite, Left), OpenError> {
    let owner = Owner::take(connector.path())?;
    connector.set_path(owner.database());
    let failed = |source: rusqlite::Error| OpenError::Backend {
        path: connector.path().into(),
        source: connect::explained(source),
    };

    schema::check(&connector)?;
    let conn = connector.write().map_err(failed)?;
    schema::migrate(&conn).map_err(failed)?;
    let (start, keys) = Start::load(&conn, node, clock.now()).map_err(failed)?;
    let mut left = read::left(&conn).map_err(failed)?;
    left.id = Some(schema::store_id(&conn, node).map_err(failed)?);
    (left.backlog, left.owners) = read::backlog(&conn).map_err(failed)?;
    let not_writable = |source| OpenError::NotWritable { path: connector.path().into(), source };
    let (begun, had_begun) = Begun::open(owner.beside(BEGUN)?).map_err(not_writable)?;
    let backend = Sqlite {
        readers: Readers::new(connector.clone()),
        tidiness: upkeep::Tidiness::new(connector.is_beside_litestream()),
        connector,
        conn: Some(conn),
        start,
        request_rows: RowIds::default(),
        report_rows: RowIds::default(),
        texts: Texts::default(),
        keys,
        turns: Turns::default(),
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
    conn: Option<Connection>,
    readers: Readers,
    start: Start,
    request_rows: RowIds<RequestId>,
    report_rows: RowIds<ReportId>,
    texts: Texts,
    keys: Keys,
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
    fn load(conn: &Connection, node: NodeId, now: Timestamp) -> Result<(Self, Keys), rusqlite::Error> {
        // The new number must be greater than the numbers in all claims, because a claim may have a number whose row in
        // the table `node` is missing.
        let sql = sql!(
            "INSERT INTO node (seq, id, started) SELECT 1 + max( \
                   coalesce((SELECT max(seq) FROM node), 0), \
                   coalesce((SELECT max(node) FROM request WHERE state = {running}), 0), \
                   coalesce((SELECT max(node) FROM report WHERE state = {delivering}), 0)), ?1, ?2"
        );
        query(sql).bind(node.to_string()).bind(now.micros()).execute(conn)?;
        let node = conn.last_insert_rowid();
        let row = query(
            "SELECT commits, keys_filed, \
             (SELECT coalesce(max(seq), 0) FROM request), (SELECT coalesce(max(seq), 0) FROM report) FROM progress",
        )
        .fetch_one(conn)?;
        let start =
            Self { node, commits: row.try_get(0)?, last_request: row.try_get(2)?, last_report: row.try_get(3)? };
        let keys = Keys::load(conn, row.try_get(1)?, start.last_request)?;
        Ok((start, keys))
    }
}

/// One transaction: the operations, their answers, and the data that the operations need.
struct Batch<'a> {
    conn: &'a Connection,
    start: &'a mut Start,
    request_rows: &'a mut RowIds<RequestId>,
    report_rows: &'a mut RowIds<ReportId>,
    texts: &'a mut Texts,
    keys: &'a mut Keys,
    turns: &'a mut Turns,
    had_begun: Option<&'a begun::Left>,
    ops: &'a [Op],
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
    fn apply(&mut self, ops: &[Op], now: Now) -> Result<Vec<Reply>, Failure> {
        let transient = |error: rusqlite::Error| Failure::Transient(Arc::new(error));
        self.owner.look().map_err(|lost| Failure::Transient(Arc::new(lost)))?;
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write().map_err(transient)?,
        };
        // After this line, `self.conn` is empty until the state of the transaction is known. Then the connection is
        // stored in `self.conn` again.
        let (wall, due) = (now.wall.micros(), now.due.micros());
        let filed = self.keys.begin(self.start.last_request);
        let count = query("UPDATE progress SET commits = commits + 1, wall = ?1, due = ?2, keys_filed = ?3");
        let count = count.bind(wall).bind(due).bind(filed);
        let begun = query("BEGIN IMMEDIATE").execute(&conn).and_then(|_| count.execute(&conn));
        if let Err(error) = begun {
            discard(conn);
            return Err(transient(error));
        }
        match self.write(&conn, ops, now) {
            Ok((replies, after_commit)) => match query("COMMIT").execute(&conn) {
                Ok(_) => {
                    self.conn = Some(conn);
                    self.committed_now(ops, after_commit);
                    Ok(replies)
                }
                Err(error) => {
                    discard(conn);
                    Err(Failure::Unknown { replies, cause: Arc::new(error) })
                }
            },
            Err(error) if is_permanent(&error) => {
                match query("ROLLBACK").execute(&conn) {
                    Ok(_) => self.conn = Some(conn),
                    Err(_) => discard(conn),
                }
                Err(Failure::Permanent(Arc::new(error)))
            }
            Err(error) => {
                discard(conn);
                Err(transient(error))
            }
        }
    }

    /// Applies the operations in the transaction that is open on this connection.
    fn write(&mut self, conn: &Connection, ops: &[Op], now: Now) -> Result<(Vec<Reply>, AfterCommit), rusqlite::Error> {
        self.request_rows.failed();
        self.report_rows.failed();
        let mut batch = Batch {
            conn,
            start: &mut self.start,
            request_rows: &mut self.request_rows,
            report_rows: &mut self.report_rows,
            texts: &mut self.texts,
            keys: &mut self.keys,
            turns: &mut self.turns,
            had_begun: self.had_begun.as_ref(),
            ops,
            replies: ops.iter().map(|_| None).collect(),
            outgoing: Vec::new(),
            after_commit: AfterCommit::default(),
            now,
        };
        batch.apply()?;
        batch.keys.file(conn, batch.start.last_request)?;
        // Invariant: every operation has an answer, because every kind of operation sets the answers of its operations.
        debug_assert!(batch.replies.iter().all(Option::is_some), "an operation has no answer");
        Ok((batch.replies.into_iter().flatten().collect(), batch.after_commit))
    }

    /// Updates the data that this process keeps in memory. Called after the commit of the batch.
    fn committed_now(&mut self, ops: &[Op], after_commit: AfterCommit) {
        self.start.commits += 1;
        self.request_rows.committed();
        self.report_rows.committed();
        self.keys.committed();
        self.tidiness.wrote(ops, after_commit.purged);
        if after_commit.recovered {
            self.begun.restart();
        }
    }

    fn try_to_write(&mut self, bytes: usize) -> Result<(), Cause> {
        self.owner.look().map_err(|lost| Arc::new(lost) as Cause)?;
        let failed = |error: rusqlite::Error| Arc::new(error) as Cause;
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write().map_err(failed)?,
        };
        match upkeep::try_to_write(&conn, bytes) {
            Ok(()) => {
                self.conn = Some(conn);
                Ok(())
            }
            Err(error) => {
                discard(conn);
                Err(failed(error))
            }
        }
    }

    fn committed(&mut self) -> Result<bool, rusqlite::Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.write()?,
        };
        let commits: i64 = match query_scalar("SELECT commits FROM progress").fetch_one(&conn) {
            Ok(commits) => commits,
            Err(error) => {
                discard(conn);
                return Err(error);
            }
        };
        let committed = commits > self.start.commits;
        if committed && let Err(error) = self.tidiness.copy_log(&conn) {
            discard(conn);
            return Err(error);
        }
        self.conn = Some(conn);
        self.start.commits = commits;
        Ok(committed)
    }

    /// Returns whether the housekeeping has something to do.
    fn is_untidy(&self) -> bool {
        self.untidy.is_some() || self.tidiness.is_due()
    }

    /// Does the housekeeping. Returns the length of the WAL in bytes, if it was looked up.
    fn tidy(&mut self) -> Option<i64> {
        let tidied = self.tidiness.tidy(self.conn.as_ref()?);
        if let Err(error) = &tidied {
            let cause = error.to_string();
            if self.untidy.as_ref() != Some(&cause) {
                tracing::warn!(
                    error = cause,
                    "the housekeeping of the database failed: {cause}; it is repeated after later commits"
                );
                self.untidy = Some(cause);
            }
            if let Some(conn) = self.conn.take() {
                discard(conn);
            }
        } else if self.untidy.take().is_some() {
            tracing::info!("the housekeeping of the database works again");
        }
        tidied.ok().flatten()
    }

    /// Closes the connection that writes. The readers are closed already, so this connection is the last one. When the
    /// last connection is closed, SQLite copies the WAL into the database file and removes the WAL.
    fn close(self) {
        if let Some(conn) = self.conn {
            discard(conn);
        }
        // The file with the marks of begun runs is removed while this process still holds the lock on the database.
        if self.begun.is_over() {
            self.owner.remove_beside(BEGUN);
        }
    }
}

/// Closes a connection. Otherwise an open transaction of the connection would block the next connection.
fn discard(conn: Connection) {
    if let Err((_, error)) = conn.close() {
        tracing::debug!(%error, "a connection to the database could not be closed");
    }
}

#[cfg(test)]
pub(super) mod tests;
