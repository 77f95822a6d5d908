//! The backend that stores rows in a PostgreSQL database, in a schema of its own. Several processes may use the schema
//! together: see [`members`].
//!
//! Only the writer task uses the writing connection, and it never drops a call to the server before the call is
//! complete, except for a call that takes too long. After an error the connection is closed, and a new one is opened.
//!
//! A transaction whose outcome is unknown may still be under way on the server. Each transaction changes the row of this
//! process in the table `node`. So the next transaction waits until the outcome is known, and `commits` in this row
//! tells it.

mod bell;
mod codec;
mod connect;
#[cfg(feature = "sqlite")]
pub(crate) mod copied;
mod encryption;
mod failure;
mod handed_in;
mod idempotency;
mod list;
mod lost;
mod members;
mod news;
mod ops;
mod overview;
mod pooler;
mod progress;
mod read;
mod reports;
mod requests;
mod schema;
mod series;
mod start;
mod statement;
mod summary;
mod timeline;
mod tokens;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::Instant;

use self::bell::Bell;
use self::connect::{Connector, ServerProcess, Session};
use self::failure::{explained, is_permanent, within};
use self::lost::Watch;
use self::members::{Membership, NotMember, Others};
pub(crate) use self::start::open;
use self::start::{START, Start};
#[cfg(test)]
pub(super) use self::statement::seen;
use self::statement::{query, query_scalar};
use crate::backend::{Applied, Backend, Cause, Failure};
use crate::begun::BegunRows;
use crate::clock::Now;
use crate::operation::Outgoing;
use crate::ops::{Kind, Op, Reply};
use crate::record::RequestClaim;
use crate::share::Turns;
use crate::sql::states::sql;

/// The longest time for which the writer waits for more operations before a batch.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// The longest time that one batch takes. Each statement has a shorter limit on the server, so the server answers before
/// this time is over, unless the network is interrupted.
const BATCH: Duration = Duration::from_mins(2);

struct Postgres {
    connector: Arc<Connector>,
    /// The connection that writes. `None`: the next write must open a new connection.
    session: Option<Session>,
    watch: Watch,
    /// The server's process of a connection that was closed after an error.
    before: Option<ServerProcess>,
    pool: PgPool,
    start: Start,
    /// Whose turn it was last, among the routes and their owners.
    turns: Turns,
    /// What this process has seen of the other nodes.
    others: Others,
    /// How long the writer waits for more operations before the next batch.
    pause: Duration,
    begun: Arc<BegunRows>,
    bell: Bell,
    /// The locks of this node. They are the last field, so that they are released last.
    membership: Membership,
}

/// One transaction: the operations, their answers, and the data that the operations need.
struct Batch<'a> {
    conn: &'a mut PgConnection,
    start: &'a Start,
    turns: &'a mut Turns,
    others: &'a mut Others,
    ops: &'a [Op],
    /// The answers, in the order of the operations.
    replies: Vec<Option<Reply>>,
    /// The reports that the operations write. Each report has the index of its operation. One statement writes all
    /// reports.
    outgoing: Vec<(usize, &'a Outgoing)>,
    now: Now,
    /// When the transaction began, at the time `now`.
    begun: Instant,
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

/// The process may write nothing more: another process has taken over the store.
#[derive(Debug, thiserror::Error)]
#[error("other processes have taken over the work of this process, because it showed no sign of life for too long")]
struct TakenOver;

fn transient(error: sqlx::Error) -> Failure {
    Failure::Transient(explained(error).into())
}

impl Postgres {
    async fn apply(&mut self, ops: &[Op], now: Now) -> Result<Vec<Reply>, Failure> {
        let mut session = self.session().await?;
        // After this line, `self.session` is empty until the state of the transaction is known. Then the connection is
        // stored in `self.session` again.
        let begun = self.begun.take();
        let (watch, process) = (self.watch.clone(), session.process);
        let written = match watch.over(BATCH, process, session.begin(&self.start, now)).await {
            Ok(true) => {
                let write = self.write(&mut session.conn, ops, &begun, now);
                watch.over(BATCH, process, write).await
            }
            Ok(false) => return Err(Failure::Lost(Arc::new(TakenOver))),
            Err(error) => {
                self.begun.put_back(begun);
                self.discard(session);
                return Err(transient(error));
            }
        };
        if written.is_err() {
            self.begun.put_back(begun);
        }
        match written {
            Ok(replies) => {
                let commit = sqlx::raw_sql("COMMIT").execute(&mut session.conn);
                match watch.over(BATCH, process, commit).await {
                    Ok(_) => {
                        self.session = Some(session);
                        self.start.commits += 1;
                        self.watch.committed();
                        if self.others.are_there() {
                            self.bell.ring_for(ops);
                        }
                        Ok(replies)
                    }
                    Err(error) => {
                        self.discard(session);
                        Err(Failure::Unknown { replies, cause: explained(error).into() })
                    }
                }
            }
            Err(error) if is_permanent(&error) => {
                let end = sqlx::raw_sql("ROLLBACK").execute(&mut session.conn);
                match watch.over(BATCH, process, end).await {
                    Ok(_) => self.session = Some(session),
                    Err(_) => self.discard(session),
                }
                Err(Failure::Permanent(Arc::new(error)))
            }
            Err(error) => {
                self.discard(session);
                Err(transient(error))
            }
        }
    }

    /// Returns the connection that writes, after a check of the locks. Opens a new connection if there is none.
    async fn session(&mut self) -> Result<Session, Failure> {
        match self.membership.look(&self.connector).await {
            Ok(()) => {}
            Err(NotMember::Failed(error)) => return Err(transient(error)),
            Err(NotMember::Other(by)) => {
                let mut conn = self.connector.connect().await.map_err(transient)?;
                return Err(match within(START, members::is_over(&mut conn, self.start.node)).await {
                    Ok(true) => Failure::Lost(Arc::new(TakenOver)),
                    Ok(false) => Failure::Transient(Arc::new(std::io::Error::other(format!(
                        "this process has lost its locks on the database, and {by} uses the database alone"
                    )))),
                    Err(error) => transient(error),
                });
            }
        }
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.connector.write(self.before).await.map_err(transient),
        }
    }

    /// Closes a connection that must not be used again.
    fn discard(&mut self, Session { conn, process, .. }: Session) {
        drop(conn);
        self.before = Some(process);
        self.watch.failed();
        self.membership.doubt();
    }

    /// Applies the operations in the transaction that is open on this connection.
    async fn write(
        &mut self,
        conn: &mut PgConnection,
        ops: &[Op],
        begun: &[RequestClaim],
        now: Now,
    ) -> Result<Vec<Reply>, sqlx::Error> {
        mark_begun(conn, begun).await?;
        let mut batch = Batch {
            conn,
            start: &self.start,
            turns: &mut self.turns,
            others: &mut self.others,
            ops,
            replies: ops.iter().map(|_| None).collect(),
            outgoing: Vec::new(),
            now,
            begun: Instant::now(),
        };
        batch.apply().await?;
        // Invariant: every operation has an answer, because every kind of operation sets the answers of its operations.
        debug_assert!(batch.replies.iter().all(Option::is_some), "an operation has no answer");
        Ok(batch.replies.into_iter().flatten().collect())
    }

    /// Returns whether the last batch was committed. If its transaction is still under way, waits for its end.
    async fn committed(&mut self) -> Result<bool, sqlx::Error> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connector.write(self.before).await?,
        };
        let sql = "SELECT commits FROM node WHERE seq = $1 FOR UPDATE";
        let commits = query_scalar::<i64>(sql).bind(self.start.node).fetch_optional(&mut session.conn);
        match self.watch.over(BATCH, session.process, commits).await {
            Ok(commits) => {
                self.session = Some(session);
                // If the row of this process is gone, another process has taken over. The next batch finds that out.
                let committed = commits.is_some_and(|commits| commits > self.start.commits);
                self.start.commits = commits.unwrap_or(self.start.commits);
                Ok(committed)
            }
            Err(error) => {
                self.discard(session);
                Err(error)
            }
        }
    }

    async fn try_to_write(&mut self, bytes: usize) -> Result<(), Failure> {
        let mut session = self.session().await?;
        let written = self.watch.over(BATCH, session.process, async {
            sqlx::raw_sql("BEGIN").execute(&mut session.conn).await?;
            query("INSERT INTO probe (bytes) VALUES ($1)").bind(vec![0_u8; bytes]).execute(&mut session.conn).await?;
            query("DELETE FROM probe").execute(&mut session.conn).await?;
            sqlx::raw_sql("COMMIT").execute(&mut session.conn).await
        });
        match written.await {
            Ok(_) => {
                self.session = Some(session);
                Ok(())
            }
            Err(error) => {
                self.discard(session);
                Err(transient(error))
            }
        }
    }
}

/// Returns how long the writer waits for more operations before the next batch. For PostgreSQL, a batch of few operations
/// costs nearly as much as one of many. So nodes that share a server, and each have a part of the load, wait for half of
/// the time that the last batch took. A node with one caller at a time does not wait.
fn pause(has_others: bool, operations: usize, took: Duration) -> Duration {
    if has_others && operations > 1 { (took / 2).min(LONGEST_PAUSE) } else { Duration::ZERO }
}

/// Marks the rows of runs that have begun. The marks tell a node that takes over what had begun.
async fn mark_begun(conn: &mut PgConnection, claims: &[RequestClaim]) -> Result<(), sqlx::Error> {
    if claims.is_empty() {
        return Ok(());
    }
    let (ids, epochs): (Vec<&str>, Vec<i64>) =
        claims.iter().map(|claim| (claim.id.as_str(), i64::from(claim.epoch))).unzip();
    let sql = sql!(
        "UPDATE request AS r SET begun = r.epoch FROM unnest($1::text[], $2::bigint[]) AS i (id, epoch) \
         WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running}"
    );
    query(sql).bind(ids).bind(epochs).execute(conn).await.map(drop)
}

impl Backend for Postgres {
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied> {
        async move {
            let begun = Instant::now();
            let applied = self.apply(&ops, now).await;
            self.pause = pause(self.others.are_there(), ops.len(), begun.elapsed());
            (ops, applied)
        }
        .boxed()
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        async { self.committed().await.map_err(|error| Cause::from(explained(error))) }.boxed()
    }

    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>> {
        async move {
            self.try_to_write(bytes).await.map_err(|failure| match failure {
                Failure::Transient(cause)
                | Failure::Permanent(cause)
                | Failure::Lost(cause)
                | Failure::Unknown { cause, .. } => cause,
            })
        }
        .boxed()
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        // PostgreSQL vacuums its tables itself.
        std::future::ready(()).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.pool.close().await;
            let Self { session, membership, start, begun, .. } = *self;
            if let Some(mut session) = session {
                // The other nodes take over at once what is left.
                let left = async {
                    mark_begun(&mut session.conn, &begun.take()).await?;
                    let sql = "UPDATE node SET is_over = true WHERE seq = $1";
                    query(sql).bind(start.node).execute(&mut session.conn).await
                };
                if let Err(error) = within(Duration::from_secs(5), left).await {
                    tracing::debug!(%error, "the row of this node could not be marked as over");
                }
                close(session.conn).await;
            }
            // The locks are released last, so that the next process finds no open transaction.
            membership.release().await;
        }
        .boxed()
    }
}

/// Closes a connection, and waits until the server knows that.
async fn close(conn: PgConnection) {
    use sqlx::Connection as _;
    if let Err(error) = within(Duration::from_secs(5), conn.close()).await {
        tracing::debug!(%error, "a connection to PostgreSQL could not be closed");
    }
}

#[cfg(test)]
pub(super) mod tests;
