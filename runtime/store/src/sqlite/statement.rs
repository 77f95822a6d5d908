//! Every SQL statement is made here. So a test sees each statement, and can ask SQLite how the statement finds its
//! rows.

use std::sync::Arc;

use sqlx::query::{Query, QueryScalar};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, Sqlite};

/// Makes a statement. The caller adds the values of the variables.
pub(super) fn query<'q>(sql: &'static str) -> Query<'q, Sqlite, SqliteArguments> {
    #[cfg(test)]
    seen::note(sql);
    sqlx::query(sql)
}

/// Makes a statement that returns only the first column of its result. The caller adds the values of the variables.
pub(super) fn query_scalar<'q, O>(sql: &'static str) -> QueryScalar<'q, Sqlite, O, SqliteArguments>
where
    (O,): for<'r> FromRow<'r, SqliteRow>,
{
    #[cfg(test)]
    seen::note(sql);
    sqlx::query_scalar(sql)
}

/// Makes a statement from a text that was built at run time, and from the values of the variables.
pub(super) fn query_with<'q>(sql: Arc<str>, arguments: SqliteArguments) -> Query<'q, Sqlite, SqliteArguments> {
    #[cfg(test)]
    seen::note(&sql);
    sqlx::query_with(AssertSqlSafe(sql), arguments)
}

/// Collects the statements that this process has made. Only tests use this module.
#[cfg(test)]
pub(crate) mod seen {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    pub(super) fn note(sql: &str) {
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(sql) {
            seen.insert(sql.to_owned());
        }
    }

    pub(crate) fn all() -> BTreeSet<String> {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
