//! Opens connections to PostgreSQL.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

use super::failure::within;
use super::statement::query;
use crate::options::DatabaseUrl;

/// The number of connections that read.
pub(super) const READERS: u32 = 4;
/// The longest time that a read waits for a connection.
const BUSY: Duration = Duration::from_secs(5);
/// The longest time that opening a connection takes.
const CONNECT: Duration = Duration::from_secs(10);

/// The settings of the connections that write and that hold the lock.
///
/// - An idle connection is kept. If the machine of this process is lost, the server notices that within half a minute.
/// - A transaction in which nothing happens is ended: a process that was stopped must not keep the others from taking
///   over its rows.
/// - Each statement is planned once for each connection, and not for each value: planning would cost more than all the
///   rest. A plan does not read a whole table, however small the table was when the plan was made. A test holds each
///   statement to that.
/// - No statement waits for long: the writer repeats a batch that failed.
const SETTINGS: &str = "
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '25s'; SET idle_session_timeout = 0; SET idle_in_transaction_session_timeout = '20s';
    SET statement_timeout = '60s'; SET lock_timeout = '30s'; SET transaction_isolation = 'read committed';
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

#[derive(Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    schema: String,
    shown: String,
}

/// A process of the server. The server may use the number of a process again later, but not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerProcess {
    pid: i32,
    started: i64,
}

/// A connection that writes.
pub(super) struct Session {
    pub conn: PgConnection,
    pub process: ServerProcess,
}

impl Connector {
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.reveal().parse()?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(&format!("postback (process {})", std::process::id())),
        };
        let options = options.options([("search_path", url.schema())]).statement_cache_capacity(200);
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
        within(CONNECT, async {
            let mut conn = self.options.connect().await?;
            sqlx::raw_sql(SETTINGS).execute(&mut conn).await?;
            Ok(conn)
        })
        .await
    }

    /// Opens the connection of the writer. Ends the process `before` of the server, which an earlier connection of the
    /// writer may have left with an open transaction.
    pub(super) async fn write(&self, before: Option<ServerProcess>) -> Result<Session, sqlx::Error> {
        let mut conn = self.connect().await?;
        let process = within(CONNECT, async {
            if let Some(ServerProcess { pid, started }) = before {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2";
                query(sql).bind(pid).bind(started).execute(&mut conn).await?;
            }
            let sql = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity \
                       WHERE pid = pg_backend_pid()";
            let row = query(sql).fetch_one(&mut conn).await?;
            Ok(ServerProcess { pid: row.try_get(0)?, started: row.try_get(1)? })
        });
        let process = process.await?;
        Ok(Session { conn, process })
    }

    /// Returns the pool for the connection that listens.
    pub(super) fn listen(&self) -> PgPool {
        PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).connect_lazy_with(self.options.clone())
    }

    /// Returns the pool of connections that read. The pool opens connections only when they are needed.
    pub(super) fn read(&self) -> PgPool {
        let options = self.options.clone().options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "30s"),
            ("plan_cache_mode", "force_custom_plan"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        PgPoolOptions::new().max_connections(READERS).acquire_timeout(BUSY).connect_lazy_with(options)
    }
}
