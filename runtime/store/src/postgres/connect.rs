//! Opens connections to PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::failure::within;
use super::start::Start;
use super::statement::{noted, query};
use super::{encryption, pooler};
use crate::clock::Now;
use crate::options::DatabaseUrl;

/// The number of connections that read.
pub(super) const READERS: u32 = 4;
/// The longest time that a read waits for a connection.
const BUSY: Duration = Duration::from_secs(5);
/// The longest time that an answer takes on a connection that works. It is less than [`BUSY`], so that there is time to
/// open another connection.
pub(super) const PING: Duration = Duration::from_secs(2);
/// The longest time that opening a connection takes.
const CONNECT: Duration = Duration::from_secs(10);

/// The settings of the connections that write and that hold the lock. They are set by statements, because a pooler accepts
/// no settings with the connection.
///
/// - An idle connection is kept. If the machine of this process is lost, the server notices that within half a minute.
/// - A transaction in which nothing happens is ended when the lease of its node is over: a process that was stopped or cut
///   off must not keep the others from taking over its rows.
/// - Each statement is planned once for each connection, and not for each value: planning would cost more than all the
///   rest. A plan does not read a whole table, however small the table was when the plan was made. A test holds each
///   statement to that.
/// - No statement waits for long: the writer repeats a batch that failed.
const SETTINGS: &str = "
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '25s'; SET idle_session_timeout = 0; SET idle_in_transaction_session_timeout = '15s';
    SET statement_timeout = '60s'; SET lock_timeout = '30s'; SET transaction_isolation = 'read committed';
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// The settings of the connections that read.
const READER_SETTINGS: &str = "
    SET default_transaction_read_only = on; SET statement_timeout = '30s'; SET plan_cache_mode = force_custom_plan;
    SET enable_seqscan = off; SET jit = off;
";

/// Counts a batch in the row of the node `$1`, which has committed `$2` batches, at the times `$3` and `$4`. Each
/// transaction of the writer begins with this statement. It has a name on the server, so that a call without values, and
/// with `BEGIN` before it, can execute it.
const BEGIN_BATCH: &str = "UPDATE node SET commits = commits + 1, wall = $3, due = $4, \
    seen = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE seq = $1 AND commits = $2 AND NOT is_over";

#[derive(Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    schema: String,
    shown: String,
}

/// A process of the server. The server may use the number of a process again later, but not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerProcess {
    pub pid: i32,
    pub started: i64,
}

impl ServerProcess {
    /// Returns the process of this connection.
    pub(super) async fn of(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let sql = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity \
                   WHERE pid = pg_backend_pid()";
        let row = query(sql).fetch_one(conn).await?;
        Ok(Self { pid: row.try_get(0)?, started: row.try_get(1)? })
    }

    /// Ends the process, which may not know that its connection is lost. A pooler may have given it to a client with
    /// another name.
    pub(super) async fn end(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2 \
                   AND application_name = left(current_setting('application_name'), 63)";
        query(sql).bind(self.pid).bind(self.started).execute(conn).await.map(drop)
    }
}

/// A connection that writes.
pub(super) struct Session {
    pub conn: PgConnection,
    pub process: ServerProcess,
    /// Whether the server knows [`BEGIN_BATCH`] under its name.
    is_prepared: bool,
}

impl Session {
    /// Begins a transaction, and counts it in the row of this process. Returns whether this process may write. If the
    /// answer is no, the transaction is still open.
    pub(super) async fn begin(&mut self, start: &Start, now: Now) -> Result<bool, sqlx::Error> {
        if !self.is_prepared {
            let prepare = format!("PREPARE begin_batch (bigint, bigint, bigint, bigint) AS {}", noted(BEGIN_BATCH));
            sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut self.conn).await?;
            self.is_prepared = true;
        }
        let (node, commits, wall, due) = (start.node, start.commits, now.wall.micros(), now.due.micros());
        // One call to the server instead of two. All values are numbers.
        let sql = format!("BEGIN; EXECUTE begin_batch ({node}, {commits}, {wall}, {due})");
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.conn).await?.rows_affected() == 1)
    }
}

impl Connector {
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.reveal().parse()?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(&format!("postback (process {})", std::process::id())),
        };
        for (parameter, value) in url.files() {
            encryption::check_file(parameter, value).map_err(|what| sqlx::Error::Configuration(what.into()))?;
        }
        // PostgreSQL writes all digits of numbers by itself.
        let options = options.extra_float_digits(None).statement_cache_capacity(200);
        Ok(Self {
            options: options.disable_statement_logging(),
            schema: url.schema().to_owned(),
            shown: url.to_string(),
        })
    }

    /// Returns the URL of the database for a message.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// Opens a connection that can write.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        within(CONNECT, async { self.set(self.options.connect().await?).await }).await
    }

    /// Opens the first connection of a process, which can write. Refuses a pooler that gives one session of the server to
    /// several clients, before anything is changed in a session.
    pub(super) async fn connect_first(&self) -> Result<PgConnection, sqlx::Error> {
        within(CONNECT, async {
            let (mut conn, mut other) = (self.options.connect().await?, self.options.connect().await?);
            if pooler::shares_sessions(&mut conn, &mut other).await? {
                return Err(sqlx::Error::Configuration(pooler::ADVICE.into()));
            }
            other.close().await?;
            self.set(conn).await
        })
        .await
    }

    /// Gives a new connection its settings.
    async fn set(&self, mut conn: PgConnection) -> Result<PgConnection, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.settings(SETTINGS))).execute(&mut conn).await?;
        Ok(conn)
    }

    /// Returns the statements for these settings, and for the schema.
    fn settings(&self, settings: &str) -> String {
        // The name was checked when the URL was read: it has only letters, digits and `_`.
        format!("SET search_path = \"{}\"; {settings}", self.schema)
    }

    /// Opens the connection of the writer. Ends the process `before` of the server, which an earlier connection of the
    /// writer may have left with an open transaction.
    pub(super) async fn write(&self, before: Option<ServerProcess>) -> Result<Session, sqlx::Error> {
        let mut conn = self.connect().await?;
        let process = within(CONNECT, async {
            if let Some(before) = before {
                before.end(&mut conn).await?;
            }
            ServerProcess::of(&mut conn).await
        });
        let process = process.await?;
        Ok(Session { conn, process, is_prepared: false })
    }

    /// Returns the pool for the connection that listens. A connection that does not answer is not kept.
    pub(super) fn listen(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT)
            .after_release(|conn, _| works(conn).map(Ok).boxed())
            .connect_lazy_with(self.options.clone())
    }

    /// Returns the pool of connections that read. The pool opens connections only when they are needed. Before a read and
    /// after it, the pool asks whether the connection still works. A connection that the network has lost does not answer,
    /// so another one is opened.
    pub(super) fn read(&self) -> PgPool {
        let settings: Arc<str> = self.settings(READER_SETTINGS).into();
        PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            // A read that waits for long is the business of its caller.
            .acquire_slow_threshold(BUSY)
            .after_connect(move |conn, _| {
                let settings = Arc::clone(&settings);
                async move { sqlx::raw_sql(AssertSqlSafe(settings)).execute(conn).await.map(drop) }.boxed()
            })
            .test_before_acquire(false)
            .before_acquire(|conn, _| works(conn).map(Ok).boxed())
            .after_release(|conn, _| works(conn).map(Ok).boxed())
            .connect_lazy_with(self.options.clone())
    }
}

/// Returns whether the server answers on this connection.
async fn works(conn: &mut PgConnection) -> bool {
    within(PING, conn.ping()).await.is_ok()
}
