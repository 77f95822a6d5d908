//! Who may use the schema: one process at a time. The process holds an advisory lock of PostgreSQL on a connection of its
//! own, so the server frees the lock when the process ends.
//!
//! The lock keeps a second process from starting. It does not stop a process that has lost its lock without knowing that:
//! the row of the process in the table `node` does. The next owner marks that row as over, and each transaction of the
//! writer checks it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::connect::Connector;
use super::failure::within;
use super::statement::{query, query_scalar};

/// How often the writer asks whether the connection with the lock still works.
const LOOK: Duration = Duration::from_secs(5);
/// The longest time that an answer about the lock takes. The lock itself is waited for, for [`PATIENCE`], because the
/// server may take a moment to notice that the earlier process has ended.
const ANSWER: Duration = Duration::from_secs(10);
const PATIENCE: &str = "SET lock_timeout = '2s'";
/// The SQLSTATE code of a lock that was not free in time.
const NOT_FREE: &str = "55P03";

pub(super) struct Owner {
    /// The connection that holds the lock. `None`: the lock was lost, and has to be taken again.
    conn: Option<PgConnection>,
    looked: Instant,
    key: i64,
}

/// The reason why this process does not hold the lock.
#[derive(Debug)]
pub(super) enum NotOwner {
    /// Another process holds the lock. The text says which.
    Other(String),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for NotOwner {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl Owner {
    /// Takes the lock of the schema.
    pub(super) async fn take(connector: &Connector) -> Result<Self, NotOwner> {
        let key = key(connector.schema());
        let conn = lock(connector, key).await?;
        Ok(Self { conn: Some(conn), looked: Instant::now(), key })
    }

    /// Checks whether this process still holds the lock. If the connection is lost, takes the lock again.
    pub(super) async fn look(&mut self, connector: &Connector) -> Result<(), NotOwner> {
        if self.conn.is_some() && self.looked.elapsed() < LOOK {
            return Ok(());
        }
        if let Some(mut conn) = self.conn.take()
            && within(ANSWER, query("SELECT 1").execute(&mut conn)).await.is_ok()
        {
            self.conn = Some(conn);
        }
        if self.conn.is_none() {
            tracing::debug!("the connection with the lock of the store is lost; taking the lock again");
            self.conn = Some(lock(connector, self.key).await?);
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// Looks again before the next batch, because another connection to the server was lost.
    pub(super) fn doubt(&mut self) {
        if let Some(long_ago) = Instant::now().checked_sub(LOOK) {
            self.looked = long_ago;
        }
    }

    /// Releases the lock.
    pub(super) async fn release(self) {
        if let Some(conn) = self.conn {
            super::close(conn).await;
        }
    }
}

/// Opens a connection, and takes the lock on it.
async fn lock(connector: &Connector, key: i64) -> Result<PgConnection, NotOwner> {
    let mut conn = connector.connect().await?;
    let taken = within(ANSWER, async {
        sqlx::raw_sql(PATIENCE).execute(&mut conn).await?;
        query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut conn).await
    });
    match taken.await {
        Ok(_) => Ok(conn),
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(NOT_FREE)) => {
            Err(NotOwner::Other(within(ANSWER, holder(&mut conn, key)).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a text about the session that holds the lock.
async fn holder(conn: &mut PgConnection, key: i64) -> Result<String, sqlx::Error> {
    // PostgreSQL shows the two halves of the key.
    let sql = "SELECT a.application_name, coalesce(host(a.client_addr), 'the same machine as the server'), \
               to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS'), a.pid \
               FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid \
               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
               AND (l.classid::bigint << 32 | l.objid::bigint) = $1 \
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let Some(row) = query(sql).bind(key).fetch_optional(&mut *conn).await? else {
        return Ok("another session, which has just ended".to_owned());
    };
    let [name, at, since]: [String; 3] =
        [row.try_get(0)?, row.try_get(1)?, row.try_get::<Option<_>, _>(2)?.unwrap_or_default()];
    let pid: i32 = row.try_get(3)?;
    Ok(format!("\"{name}\" on {at}, connected since {since} UTC (session {pid} of the server)"))
}

/// Returns the key of the lock. A key counts in one database, so it is made from the name of the schema.
pub(super) fn key(schema: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(format!("postback store {schema}")).into();
    let (first, _) = digest.as_chunks::<8>();
    first.first().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Returns whether the row of this process is marked as over, so that this process can commit nothing more.
pub(super) async fn is_over(conn: &mut PgConnection, node: i64) -> Result<bool, sqlx::Error> {
    let over: Option<bool> =
        query_scalar("SELECT is_over FROM node WHERE seq = $1").bind(node).fetch_optional(conn).await?;
    Ok(over.unwrap_or(true))
}
