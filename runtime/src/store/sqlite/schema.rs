//! The tables, their version, and whether a file is ours to use.
//!
//! Rows that are rewritten are narrow; bodies, results and attempts are in tables that are only inserted into. All times are
//! microseconds since 1970. States are those of [`super::form`].

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _};

use super::connect::Connector;
use crate::store::OpenError;

/// Grows with every change that an older program would misread.
const VERSION: i64 = 1;

/// Older ones can corrupt a database in WAL mode when a second connection checkpoints during a commit.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- One row, rewritten by every batch: tells whether a batch was committed.
CREATE TABLE progress (commits INTEGER NOT NULL);
-- One row per start of a process.
CREATE TABLE node (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started INTEGER NOT NULL);

CREATE TABLE request (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, route TEXT NOT NULL, state INTEGER NOT NULL, due INTEGER NOT NULL,
    epoch INTEGER NOT NULL, failures INTEGER NOT NULL, crashes INTEGER NOT NULL, node INTEGER, created INTEGER NOT NULL,
    finished INTEGER,
    CHECK ((state = 1) = (node IS NOT NULL)), CHECK ((state >= 2) = (finished IS NOT NULL))
);
CREATE INDEX request_due ON request (due, seq, route) WHERE state = 0;
CREATE INDEX request_running ON request (node) WHERE state = 1;
CREATE INDEX request_finished ON request (finished) WHERE state >= 2;
CREATE TABLE request_body (seq INTEGER PRIMARY KEY, headers BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE registration (seq INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE outcome (seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, reason TEXT NOT NULL, result BLOB, error BLOB, detail TEXT);

CREATE TABLE report (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, subject TEXT NOT NULL, state INTEGER NOT NULL, due INTEGER NOT NULL,
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, node INTEGER, created INTEGER NOT NULL, finished INTEGER, refused TEXT,
    CHECK ((state = 1) = (node IS NOT NULL)), CHECK ((state >= 2) = (finished IS NOT NULL))
);
CREATE INDEX report_due ON report (due, seq) WHERE state = 0;
CREATE INDEX report_delivering ON report (node) WHERE state = 1;
CREATE INDEX report_finished ON report (finished) WHERE state >= 2;
CREATE INDEX report_subject ON report (subject, seq);
CREATE TABLE report_body (seq INTEGER PRIMARY KEY, url TEXT NOT NULL, headers BLOB NOT NULL, secret TEXT, body BLOB NOT NULL);
CREATE TABLE attempt (
    report INTEGER NOT NULL, n INTEGER NOT NULL, epoch INTEGER NOT NULL, started INTEGER NOT NULL, took INTEGER NOT NULL,
    status INTEGER, error TEXT, response BLOB NOT NULL
);
CREATE UNIQUE INDEX attempt_of ON attempt (report, n);

INSERT INTO progress (commits) VALUES (0);
";

/// Looks whether the file may be used, without changing it.
pub(super) async fn check(connector: &Connector) -> Result<(), OpenError> {
    let path = connector.path();
    let refused = |source| OpenError::Backend { path: path.into(), source };
    let found = async {
        let mut conn = connector.look().await?;
        let found = look(&mut conn).await;
        conn.close().await?;
        found
    };
    let Found { sqlite, tables, version } = found.await.map_err(|error| refused(error.into()))?;
    if parse_version(&sqlite).is_none_or(|version| version < OLDEST_SQLITE) {
        let oldest = <[u32; 3]>::from(OLDEST_SQLITE).map(|part| part.to_string()).join(".");
        return Err(refused(format!("SQLite {sqlite} is linked, and {oldest} or newer is needed").into()));
    }
    match version {
        Some(found) if found > VERSION => Err(OpenError::Newer { path: path.into(), found, known: VERSION }),
        None if tables > 0 => Err(refused("it is the database of another program".into())),
        _ => Ok(()),
    }
}

struct Found {
    sqlite: String,
    tables: i64,
    version: Option<i64>,
}

async fn look(conn: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let about =
        "SELECT sqlite_version(), count(*), coalesce(sum(name = 'meta'), 0) FROM sqlite_schema WHERE type = 'table'";
    let row = sqlx::query(about).fetch_one(&mut *conn).await?;
    let has_meta: i64 = row.try_get(2)?;
    let version = if has_meta == 1 { version(conn).await? } else { None };
    Ok(Found { sqlite: row.try_get(0)?, tables: row.try_get(1)?, version })
}

async fn version(conn: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT value FROM meta WHERE key = 'postback schema'").fetch_optional(conn).await
}

/// Creates the tables in an empty file. All of them or none.
pub(super) async fn create(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *conn).await?;
    if tables > 0 {
        return Ok(());
    }
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    let insert = sqlx::query("INSERT INTO meta (key, value) VALUES ('postback schema', ?1)").bind(VERSION);
    insert.execute(&mut *transaction).await?;
    transaction.commit().await
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}
