//! Every statement that is sent is made here: so a test sees each of them, and asks SQLite how it finds its rows.

use std::sync::Arc;

use sqlx::query::{Query, QueryScalar};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, Sqlite};

/// A statement without values yet.
pub(super) fn query<'q>(sql: &'static str) -> Query<'q, Sqlite, SqliteArguments> {
    #[cfg(test)]
    seen::note(sql);
    sqlx::query(sql)
}

/// The same, of which the first column is wanted.
pub(super) fn query_scalar<'q, O>(sql: &'static str) -> QueryScalar<'q, Sqlite, O, SqliteArguments>
where
    (O,): for<'r> FromRow<'r, SqliteRow>,
{
    #[cfg(test)]
    seen::note(sql);
    sqlx::query_scalar(sql)
}

/// A statement that was put together, with its values.
pub(super) fn query_with<'q>(sql: Arc<str>, arguments: SqliteArguments) -> Query<'q, Sqlite, SqliteArguments> {
    #[cfg(test)]
    seen::note(&sql);
    sqlx::query_with(AssertSqlSafe(sql), arguments)
}

/// The statements that this process has made.
#[cfg(test)]
pub(in crate::store) mod seen {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    pub(super) fn note(sql: &str) {
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(sql) {
            seen.insert(sql.to_owned());
        }
    }

    pub(in crate::store) fn all() -> BTreeSet<String> {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
