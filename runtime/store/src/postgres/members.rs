//! Which processes use the schema together. Such a process is a *node*. It has a row in the table `node`, and each
//! transaction of its writer changes this row. So the row shows that the node lives, and a node whose row is marked as
//! over can commit nothing more.
//!
//! A node also holds two advisory locks, on a connection of its own. All nodes share the lock of the schema: a process
//! that gets this lock alone knows that no other node lives. The second lock is the node's own. The server frees both
//! when the connection ends, so the other nodes learn early that a process was killed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::Batch;
use super::connect::{Connector, PING, ServerProcess};
use super::failure::within;
use super::statement::{query, query_scalar};

/// A node that commits nothing for this long is over. The others then take its claims over. The time is measured by each
/// of the others, with the clock that does not jump.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// The same for a node that does not hold its own lock: its process has ended, or has lost the connection and takes the
/// lock again within [`LOOK`].
const GONE: Duration = Duration::from_secs(8);
/// How often the writer asks whether the connection with the locks still works.
const LOOK: Duration = Duration::from_secs(5);
/// The longest time that an answer about the locks takes.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a start waits for another process that is just starting, and may be changing the schema.
const PATIENCE: &str = "SET lock_timeout = '5s'";
/// How often, and with which pauses, a start tries to be alone: the server may take a moment to notice that an earlier
/// process has ended.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// A node that has written within this time may live. If it does, it writes again within [`MOMENT`]: a node beats every
/// second.
const LATELY: Duration = Duration::from_secs(3);
const MOMENT: Duration = Duration::from_millis(2_500);
/// The SQLSTATE code of a lock that was not free in time.
const NOT_FREE: &str = "55P03";

/// The reason why this process does not hold its locks.
#[derive(Debug)]
pub(super) enum NotMember {
    /// Another process uses the schema alone. The text says which.
    Other(String),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for NotMember {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// A process that is about to become a node.
pub(super) struct Joining {
    conn: PgConnection,
    process: ServerProcess,
    key: i64,
    /// Whether no other process holds the lock of the schema.
    pub alone: bool,
}

impl Joining {
    /// Takes the lock of the schema, alone if no other process holds it.
    pub(super) async fn begin(connector: &Connector) -> Result<Self, NotMember> {
        let key = key(connector.schema());
        let mut conn = connector.connect_first().await?;
        let process = within(ANSWER, ServerProcess::of(&mut conn)).await?;
        for again in (0..TRIES).rev() {
            let sql = "SELECT pg_try_advisory_lock($1)";
            if within(ANSWER, query_scalar(sql).bind(key).fetch_one(&mut conn)).await? {
                return Ok(Self { conn, process, key, alone: true });
            }
            if again > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        share(&mut conn, key).await?;
        Ok(Self { conn, process, key, alone: false })
    }

    /// Lets others share the lock of the schema.
    pub(super) async fn share(&mut self) -> Result<(), NotMember> {
        if self.alone {
            share(&mut self.conn, self.key).await?;
            let unlock = query("SELECT pg_advisory_unlock($1)").bind(self.key).execute(&mut self.conn);
            within(ANSWER, unlock).await?;
        }
        Ok(())
    }

    /// Takes a number for the new node, and its lock. So the lock is held before others can see the node.
    pub(super) async fn number(&mut self, schema: &str) -> Result<i64, sqlx::Error> {
        let sql = "SELECT nextval(pg_get_serial_sequence('node', 'seq'))";
        let node = within(ANSWER, query_scalar(sql).fetch_one(&mut self.conn)).await?;
        let lock = query("SELECT pg_advisory_lock($1)").bind(own_key(schema, node)).execute(&mut self.conn);
        within(ANSWER, lock).await?;
        Ok(node)
    }

    /// The node is made.
    pub(super) fn finish(self, schema: &str, node: i64) -> Membership {
        let Self { conn, process, key, .. } = self;
        Membership { conn: Some(conn), process, looked: Instant::now(), key, own: own_key(schema, node) }
    }
}

/// Marks the nodes as over that were left when nobody held the lock of the schema. A node that has just written may
/// live, and may have lost its connections together with its locks, for example because the server has started again. So
/// such a node gets a moment to write again. Returns whether all nodes are over now.
pub(super) async fn end_all(conn: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    let first = left(conn).await?;
    let begun = Instant::now();
    loop {
        let held = held(conn).await?;
        if first.iter().any(|(node, ..)| held.contains(&own_key(schema, *node))) {
            return Ok(false);
        }
        let may_live = first.iter().any(|(_, _, lately)| *lately);
        if !may_live || begun.elapsed() >= MOMENT {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    // A node that has written meanwhile lives.
    let (nodes, commits): (Vec<i64>, Vec<i64>) = first.iter().map(|(node, commits, _)| (*node, *commits)).unzip();
    let sql = "UPDATE node AS n SET is_over = true FROM unnest($1::bigint[], $2::bigint[]) AS i (seq, commits) \
               WHERE n.seq = i.seq AND n.commits = i.commits AND NOT n.is_over";
    let ended = query(sql).bind(nodes).bind(commits).execute(conn).await?.rows_affected();
    Ok(usize::try_from(ended) == Ok(first.len()))
}

/// Returns the nodes that are not over: the number of the row, the number of batches, and whether the node has written
/// within the time [`LATELY`].
async fn left(conn: &mut PgConnection) -> Result<Vec<(i64, i64, bool)>, sqlx::Error> {
    let sql = "SELECT seq, commits, coalesce(seen > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1, true) \
               FROM node WHERE NOT is_over ORDER BY seq";
    let lately = i64::try_from(LATELY.as_micros()).unwrap_or(i64::MAX);
    let rows = query(sql).bind(lately).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// The locks of this node.
pub(super) struct Membership {
    /// The connection that holds the locks. `None`: the locks were lost, and have to be taken again.
    conn: Option<PgConnection>,
    /// The server's process of the last connection that has held the locks.
    process: ServerProcess,
    looked: Instant,
    key: i64,
    own: i64,
}

impl Membership {
    /// Checks whether this process still holds the locks. If the connection is lost, takes the locks again.
    pub(super) async fn look(&mut self, connector: &Connector) -> Result<(), NotMember> {
        if self.conn.is_some() && self.looked.elapsed() < LOOK {
            return Ok(());
        }
        if let Some(mut conn) = self.conn.take()
            && within(PING, query("SELECT 1").execute(&mut conn)).await.is_ok()
        {
            self.conn = Some(conn);
        }
        if self.conn.is_none() {
            tracing::debug!("the connection with the locks of the store is lost; taking the locks again");
            let mut conn = connector.connect().await?;
            // If the server does not know that the connection is lost, its process still has the locks.
            within(ANSWER, self.process.end(&mut conn)).await?;
            let process = within(ANSWER, ServerProcess::of(&mut conn)).await?;
            share(&mut conn, self.key).await?;
            within(ANSWER, query("SELECT pg_advisory_lock($1)").bind(self.own).execute(&mut conn)).await?;
            (self.conn, self.process) = (Some(conn), process);
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

    /// Releases the locks.
    pub(super) async fn release(self) {
        if let Some(conn) = self.conn {
            super::close(conn).await;
        }
    }
}

/// Takes the lock of the schema together with the other nodes.
async fn share(conn: &mut PgConnection, key: i64) -> Result<(), NotMember> {
    let taken = within(ANSWER, async {
        sqlx::raw_sql(PATIENCE).execute(&mut *conn).await?;
        query("SELECT pg_advisory_lock_shared($1)").bind(key).execute(&mut *conn).await
    });
    match taken.await {
        Ok(_) => Ok(()),
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(NOT_FREE)) => {
            Err(NotMember::Other(within(ANSWER, holder(conn, key)).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a text about a session that holds the lock of the schema.
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

/// Returns the key of the lock that all nodes share. A key counts in one database, so it is made from the name of the
/// schema.
pub(super) fn key(schema: &str) -> i64 {
    hashed(&format!("postback store {schema}"))
}

fn own_key(schema: &str, node: i64) -> i64 {
    hashed(&format!("postback node {node} of {schema}"))
}

/// Returns the key of the lock for the node that deletes old rows.
pub(super) fn purge_key(schema: &str) -> i64 {
    hashed(&format!("postback purge {schema}"))
}

fn hashed(text: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let (first, _) = digest.as_chunks::<8>();
    first.first().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Returns whether the row of this process is marked as over, so that this process can commit nothing more.
pub(super) async fn is_over(conn: &mut PgConnection, node: i64) -> Result<bool, sqlx::Error> {
    let over: Option<bool> =
        query_scalar("SELECT is_over FROM node WHERE seq = $1").bind(node).fetch_optional(conn).await?;
    Ok(over.unwrap_or(true))
}

/// What this process has seen of the other nodes.
pub(super) struct Others {
    schema: String,
    /// The nodes that were not over when this process looked last.
    seen: HashMap<i64, Seen>,
}

/// The number of batches of a node, and since when this process has seen this number.
#[derive(Clone, Copy)]
struct Seen {
    commits: i64,
    since: Instant,
}

/// What [`look_around`] has found.
pub(super) struct Around {
    /// The number of other nodes that live.
    pub others: usize,
    /// By how much the store's own time of this node is behind the time of the node that has started first, in µs. `None`: this node
    /// has started first.
    pub behind: Option<i64>,
}

impl Others {
    pub(super) fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned(), seen: HashMap::new() }
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether other nodes lived when this process looked last.
    pub(super) fn are_there(&self) -> bool {
        !self.seen.is_empty()
    }
}

/// Looks at the other nodes, and marks those as over that have shown no sign of life for too long.
pub(super) async fn look_around(batch: &mut Batch<'_>) -> Result<Around, sqlx::Error> {
    let sql = "SELECT seq, commits, due + (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - seen FROM node \
               WHERE NOT is_over AND seq <> $1 ORDER BY seq";
    let rows = query(sql).bind(batch.start.node).fetch_all(&mut *batch.conn).await?;
    let due = batch.now.due.saturating_add(batch.begun.elapsed()).micros();
    let mut around = Around { others: rows.len(), behind: None };
    let (mut seen, now) = (HashMap::new(), Instant::now());
    for row in &rows {
        let (node, commits, time): (i64, i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if node < batch.start.node && around.behind.is_none() {
            around.behind = time.map(|time| time.saturating_sub(due));
        }
        let known = batch.others.seen.get(&node).filter(|known| known.commits == commits);
        seen.insert(node, known.copied().unwrap_or(Seen { commits, since: now }));
    }
    batch.others.seen = seen;
    let silent = |after: Duration| {
        let silent = move |(_, seen): &(&i64, &Seen)| seen.since + after <= now;
        batch.others.seen.iter().filter(silent).map(|(node, seen)| (*node, seen.commits)).collect::<Vec<_>>()
    };
    let mut over = silent(LEASE);
    let suspects = silent(GONE);
    if suspects.len() > over.len() {
        let held = held(batch.conn).await?;
        let schema = &batch.others.schema;
        over.extend(suspects.into_iter().filter(|(node, _)| !held.contains(&own_key(schema, *node))));
    }
    around.others -= end(batch, over).await?;
    Ok(around)
}

/// Returns the keys of all advisory locks that somebody holds in this database.
async fn held(conn: &mut PgConnection) -> Result<HashSet<i64>, sqlx::Error> {
    let sql = "SELECT l.classid::bigint << 32 | l.objid::bigint FROM pg_locks AS l WHERE l.locktype = 'advisory' \
               AND l.granted AND l.objsubid = 1 \
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    Ok(query_scalar(sql).fetch_all(conn).await?.into_iter().collect())
}

/// Marks these nodes as over, each with the number of batches that this process has seen. A node that has committed
/// another batch meanwhile lives. Returns how many nodes were marked.
async fn end(batch: &mut Batch<'_>, nodes: Vec<(i64, i64)>) -> Result<usize, sqlx::Error> {
    if nodes.is_empty() {
        return Ok(0);
    }
    let (seqs, commits): (Vec<i64>, Vec<i64>) = nodes.into_iter().unzip();
    // A node that is in a transaction holds the lock of its row. It is looked at again later: the server ends a
    // transaction in which nothing happens for some time.
    let sql = "UPDATE node SET is_over = true WHERE seq IN (SELECT n.seq FROM node AS n \
               JOIN unnest($1::bigint[], $2::bigint[]) AS i (seq, commits) ON i.seq = n.seq AND i.commits = n.commits \
               WHERE NOT n.is_over FOR UPDATE OF n SKIP LOCKED) RETURNING seq, id, name";
    let rows = query(sql).bind(seqs).bind(commits).fetch_all(&mut *batch.conn).await?;
    for row in &rows {
        let (node, id, name): (i64, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        batch.others.seen.remove(&node);
        tracing::warn!("the node {id} ({name}) shows no sign of life; its requests and reports are taken over");
    }
    Ok(rows.len())
}

/// Returns the nodes that are over and may still have claims. The claims of these nodes are this transaction's to end.
pub(super) async fn left_behind(batch: &mut Batch<'_>) -> Result<Vec<i64>, sqlx::Error> {
    let sql = "SELECT seq FROM node WHERE is_over AND NOT is_empty AND seq <> $1 ORDER BY seq FOR UPDATE SKIP LOCKED";
    query_scalar(sql).bind(batch.start.node).fetch_all(&mut *batch.conn).await
}

/// Records that these nodes, which are over, have no claims any more.
pub(super) async fn emptied(batch: &mut Batch<'_>, nodes: &[i64]) -> Result<(), sqlx::Error> {
    let sql = "UPDATE node SET is_empty = true WHERE seq = ANY($1)";
    query(sql).bind(nodes).execute(&mut *batch.conn).await.map(drop)
}
