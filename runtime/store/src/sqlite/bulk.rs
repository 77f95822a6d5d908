//! Statements over many rows.
//!
//! Most of a statement's cost is the way to the driver's thread and back, not its rows. SQLite compiles each text once
//! and keeps the compiled statement. So all rows go into one statement, for which there are texts in ten sizes, and
//! several statements over the same rows go into one text. Measured at 256 rows a commit, this is 10 to 20 times as
//! fast as one statement for each row.

use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, Encode, Sqlite, Type};

use super::statement::query_with;

/// The numbers of rows for which each statement has a text. SQLite allows at most 32,766 variables in one statement,
/// which is enough for 512 rows with up to 63 columns.
const SIZES: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const LARGEST: usize = 512;

/// The placeholder in a statement, which is replaced by the list of rows. If this list is longer than the number of
/// rows that are written, the remaining rows have only NULL values. So each statement must skip rows whose first column
/// is NULL.
const ROWS: &str = "$rows";

/// `N` statements that write or read the same rows, as one text. There is one such text for each number in [`SIZES`].
pub(super) struct Many<const N: usize> {
    columns: [usize; N],
    texts: [Arc<str>; SIZES.len()],
}

/// A function that adds the values of one row to a statement.
pub(super) type Bind<'b, T> = &'b (dyn Fn(&mut Columns, &T) + Sync);

impl<const N: usize> Many<N> {
    /// Makes the SQL texts, one for each number of rows in [`SIZES`]. `statements` has the SQL and the number of
    /// columns of each of the `N` statements.
    pub(super) fn new(statements: [(&str, usize); N]) -> Self {
        let text = |rows: usize| {
            let one = |(sql, columns): (&str, usize)| {
                let row = format!("({})", vec!["?"; columns].join(", "));
                sql.replace(ROWS, &format!("(VALUES {})", vec![row; rows].join(", ")))
            };
            statements.map(one).join("; ").into()
        };
        Self { columns: statements.map(|(_, columns)| columns), texts: SIZES.map(text) }
    }

    /// Runs the statements for all rows. Returns the number of rows that the statements wrote.
    pub(super) async fn run<T: Sync>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        bind: [Bind<'_, T>; N],
    ) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        for chunk in rows.chunks(LARGEST) {
            written += self.query(chunk, bind)?.execute(&mut *conn).await?.rows_affected();
        }
        Ok(written)
    }

    /// Runs the statements for all rows. Returns the rows that the statements returned.
    pub(super) async fn fetch<T: Sync>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        bind: [Bind<'_, T>; N],
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut returned = Vec::new();
        for chunk in rows.chunks(LARGEST) {
            returned.extend(self.query(chunk, bind)?.fetch_all(&mut *conn).await?);
        }
        Ok(returned)
    }

    fn query<T>(
        &self,
        rows: &[T],
        bind: [Bind<'_, T>; N],
    ) -> Result<Query<'static, Sqlite, SqliteArguments>, sqlx::Error> {
        let sizes = SIZES.into_iter().zip(&self.texts);
        let fits = sizes.into_iter().find(|(size, _)| *size >= rows.len());
        let (size, text) = fits.ok_or_else(|| sqlx::Error::Encode("too many rows for one statement".into()))?;
        let mut columns = Columns { arguments: SqliteArguments::default(), failed: None };
        columns.arguments.reserve(size * self.columns.iter().sum::<usize>(), 0);
        for (of_row, bind) in self.columns.iter().zip(bind) {
            for row in rows {
                bind(&mut columns, row);
            }
            for _ in 0..(size - rows.len()) * of_row {
                columns.add(None::<i64>);
            }
        }
        match columns.failed {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok(query_with(text.clone(), columns.arguments)),
        }
    }
}

/// The values of the variables of one statement, in the order of the variables.
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
