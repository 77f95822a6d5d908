//! Every SQL statement is made here. So a test sees each statement, and can ask PostgreSQL how the statement finds its
//! rows.
//!
//! A statement that looks for rows by their ids writes `state + 0 = …`. Otherwise PostgreSQL may read the whole index of
//! the rows with this state, because there were few when it made its plan.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{FromRow, Postgres};

/// Makes a statement. The caller adds the values of the variables.
pub(super) fn query<'q>(sql: &'static str) -> Query<'q, Postgres, PgArguments> {
    #[cfg(test)]
    seen::note(sql);
    sqlx::query(sql)
}

/// Returns the text of a statement that the server keeps under a name.
pub(super) fn noted(sql: &'static str) -> &'static str {
    #[cfg(test)]
    seen::note(sql);
    sql
}

/// Makes a statement that returns only the first column of its result. The caller adds the values of the variables.
pub(super) fn query_scalar<'q, O>(sql: &'static str) -> QueryScalar<'q, Postgres, O, PgArguments>
where
    (O,): for<'r> FromRow<'r, PgRow>,
{
    #[cfg(test)]
    seen::note(sql);
    sqlx::query_scalar(sql)
}

/// Collects the statements that this process has made. Only tests use this module.
#[cfg(test)]
pub(crate) mod seen {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    static SEEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    pub(super) fn note(sql: &'static str) {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(sql);
    }

    pub(crate) fn all() -> BTreeSet<&'static str> {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
