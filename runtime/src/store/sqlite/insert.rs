//! Inserts of many rows by few statements.
//!
//! The driver's cost is per statement, not per row, and each text of a statement is compiled once and kept. So rows go in by
//! multi-row `VALUES` of ten fixed sizes: measured at 256 rows a commit this is 10 to 20 times as fast as row by row.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Sqlite, Type};

/// Rows in one statement: powers of two, so that any number takes few. At most 32,766 variables fit into one: 512 rows of up to 63 columns.
const CHUNKS: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// The inserts of all tables.
pub(super) struct Inserts {
    pub(super) request: Insert,
    pub(super) request_body: Insert,
    pub(super) registration: Insert,
    pub(super) outcome: Insert,
    pub(super) report: Insert,
    pub(super) report_body: Insert,
    pub(super) attempt: Insert,
}

impl Inserts {
    pub(super) fn new() -> Self {
        Self {
            request: Insert::new(
                "INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, node, created)",
                10,
                "ON CONFLICT (id) DO NOTHING",
            ),
            request_body: Insert::new("INSERT INTO request_body (seq, headers, body)", 3, ""),
            registration: Insert::new("INSERT OR REPLACE INTO registration (seq, text)", 2, ""),
            outcome: Insert::new("INSERT INTO outcome (seq, epoch, reason, result, error, detail)", 6, ""),
            report: Insert::new(
                "INSERT INTO report \
                 (seq, id, subject, state, due, epoch, attempt, node, created, finished, refused, endpoint)",
                12,
                "",
            ),
            report_body: Insert::new("INSERT INTO report_body (seq, url, headers, secret, body)", 5, ""),
            attempt: Insert::new(
                "INSERT INTO attempt (report, n, epoch, started, took, status, error, response)",
                8,
                "",
            ),
        }
    }
}

/// One insert in the four sizes.
pub(super) struct Insert {
    columns: usize,
    texts: [Arc<str>; CHUNKS.len()],
}

impl Insert {
    fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let text = |rows: usize| format!("{head} VALUES {} {tail}", vec![row.as_str(); rows].join(", ")).into();
        Self { columns, texts: CHUNKS.map(text) }
    }

    /// Inserts all rows; how many were written.
    pub(super) async fn run<T>(
        &self,
        conn: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Columns, &T) + Send,
    ) -> Result<u64, sqlx::Error>
    where
        T: Sync,
    {
        let mut written = 0;
        for (size, text) in CHUNKS.into_iter().zip(&self.texts) {
            while let Some((chunk, rest)) = rows.split_at_checked(size) {
                let mut columns = Columns { arguments: SqliteArguments::default(), failed: None };
                columns.arguments.reserve(size * self.columns, 0);
                for row in chunk {
                    bind(&mut columns, row);
                }
                if let Some(error) = columns.failed {
                    return Err(sqlx::Error::Encode(error));
                }
                let query = sqlx::query_with(AssertSqlSafe(text.clone()), columns.arguments);
                written += query.execute(&mut *conn).await?.rows_affected();
                rows = rest;
            }
        }
        Ok(written)
    }
}

/// The values of one statement, in the order of its columns.
pub(super) struct Columns {
    arguments: SqliteArguments,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Columns {
    pub(super) fn add<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(error);
        }
        self
    }
}
