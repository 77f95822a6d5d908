//! Poolers between this process and PostgreSQL, such as PgBouncer. A pooler may give one session of the server to several
//! clients, each for one transaction. Locks, settings and prepared statements belong to a session, so they would be those
//! of other clients too.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

/// What an operator can do about such a pooler.
pub(super) const ADVICE: &str = "a pooler gives one session of PostgreSQL to several clients, and this program needs \
    sessions of its own; set pool_mode = session for this database in PgBouncer, or connect to PostgreSQL itself";

/// Returns whether a pooler gives the same session to both connections, which have no settings yet.
///
/// A pooler takes the session for the next transaction from either end of its list of free sessions. After `other` has
/// asked twice, one of the two has the session of the other, or a third session is the next.
pub(super) async fn shares_sessions(conn: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let own = session(conn).await?;
    for _ in 0..2 {
        if session(other).await? == own {
            return Ok(true);
        }
    }
    for _ in 0..2 {
        if session(conn).await? != own {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the number of the session. The statement has no name on the server: another session would not know it.
async fn session(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(conn).await?.try_get(0)
}
