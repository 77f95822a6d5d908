//! The tables, their version, and the check whether a database may be used.
//!
//! Rows that are updated are narrow. Bodies, results and attempts are in their own tables, whose rows are not updated.
//! All times are in microseconds since 1970: due times in the store's own time, all other times in the time of the wall
//! clock. The numbers of states are those of [`crate::sql::states`].

mod steps;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use self::steps::STEPS;
use super::statement::{query, query_scalar};
use crate::error::OpenError;
use crate::identity;
use postback_wire::id::NodeId;

/// The version of the schema. Each entry of [`STEPS`] raises the version by one, because an older program would misread
/// a database that an entry has changed.
#[expect(clippy::cast_possible_wrap, reason = "there are a few")]
const VERSION: i64 = STEPS.len() as i64;

/// The oldest version of PostgreSQL that this program accepts, as `server_version_num` counts.
const OLDEST: i32 = 140_000;

/// The key of the row in the table `meta` that has the version of the schema.
const SCHEMA_KEY: &str = "postback schema";

/// The key of the row in the table `meta` that says that a copy into the schema is not whole.
pub(super) const COPY_KEY: &str = "unfinished copy";

/// The reason why a database cannot be used.
#[derive(Debug)]
pub(super) enum Refused {
    Newer {
        found: i64,
    },
    /// The text says what is wrong, and what to do.
    Wrong(String),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl Refused {
    pub(super) fn into_error(self, at: &str) -> OpenError {
        let at = at.to_owned();
        match self {
            Self::Newer { found } => OpenError::DatabaseNewer { at, found, known: VERSION },
            Self::Wrong(what) => OpenError::Database { at, source: what.into() },
            Self::Failed(error) => OpenError::Database { at, source: super::failure::explained(error) },
        }
    }
}

/// Checks whether this program may use the schema, and changes the schema to the current version. The schema may be
/// missing, empty, or of an older version. One transaction makes all changes. The caller holds the lock of the schema, `alone` or
/// together with other nodes. Only a process that is alone changes the schema. Then no process of an older version can write any more.
pub(super) async fn prepare(conn: &mut PgConnection, schema: &str, alone: bool) -> Result<(), Refused> {
    check_server(conn).await?;
    let sql = "SELECT count(*), count(*) FILTER (WHERE c.relname = 'meta') FROM pg_class AS c \
               JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')";
    let row = query(sql).bind(schema).fetch_one(&mut *conn).await?;
    let (tables, meta): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let found = if meta == 1 { version(conn).await? } else { None };
    match found {
        Some(found) if found > VERSION => return Err(Refused::Newer { found }),
        None if tables > 0 => {
            return Err(Refused::Wrong(format!(
                "the schema {schema} has tables of another program; name another schema: ?search_path=NAME"
            )));
        }
        _ => {}
    }
    let done = found.map_or(0, |found| usize::try_from(found).unwrap_or(usize::MAX));
    if done >= STEPS.len() {
        return Ok(());
    }
    if !alone {
        return Err(Refused::Wrong(format!(
            "processes of an older version of the program use the schema {schema}; stop them all, and start this program again"
        )));
    }
    sqlx::raw_sql("BEGIN; SET LOCAL statement_timeout = 0").execute(&mut *conn).await?;
    // The name was checked when the URL was read: it has only letters, digits and `_`.
    let exists: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *conn)
        .await?;
    if !exists {
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""))).execute(&mut *conn).await?;
    }
    for step in STEPS.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *conn).await?;
    }
    let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    query(sql).bind(SCHEMA_KEY).bind(VERSION.to_string()).execute(&mut *conn).await?;
    query("UPDATE node SET is_over = true WHERE NOT is_over").execute(&mut *conn).await?;
    sqlx::raw_sql("COMMIT").execute(conn).await?;
    Ok(())
}

/// Refuses a schema into which another store is being copied.
pub(super) async fn check_whole(conn: &mut PgConnection) -> Result<(), Refused> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = $1)";
    if query_scalar(sql).bind(COPY_KEY).fetch_one(conn).await? {
        let what = "it has an unfinished copy of another store; run `store copy` again with the same arguments";
        return Err(Refused::Wrong(what.to_owned()));
    }
    Ok(())
}

async fn check_server(conn: &mut PgConnection) -> Result<(), Refused> {
    let sql = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'), \
               current_setting('server_encoding'), pg_is_in_recovery()";
    let row = query(sql).fetch_one(conn).await?;
    let (number, version, encoding): (i32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if number < OLDEST {
        return Err(Refused::Wrong(format!("the server is PostgreSQL {version}, and 14 or newer is needed")));
    }
    if encoding != "UTF8" {
        return Err(Refused::Wrong(format!(
            "the encoding of the database is {encoding}; create a database with the encoding UTF8"
        )));
    }
    if row.try_get(3)? {
        return Err(Refused::Wrong("the server is a read-only standby; point store.url to the primary server".into()));
    }
    Ok(())
}

async fn version(conn: &mut PgConnection) -> Result<Option<i64>, Refused> {
    let sql = "SELECT value FROM meta WHERE key = $1";
    let text: Option<String> = query_scalar(sql).bind(SCHEMA_KEY).fetch_optional(conn).await?;
    let number =
        |text: String| text.parse().map_err(|_| Refused::Wrong("the version of its schema is no number".into()));
    text.map(number).transpose()
}

/// Returns the id of the store. If it has none, it gets that of this process, unless another node is faster.
pub(super) async fn store_id(conn: &mut PgConnection, node: NodeId) -> Result<Box<str>, sqlx::Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    query(sql).bind(identity::KEY).bind(node.to_string()).execute(&mut *conn).await?;
    let id: String = query_scalar("SELECT value FROM meta WHERE key = $1").bind(identity::KEY).fetch_one(conn).await?;
    Ok(id.into())
}
