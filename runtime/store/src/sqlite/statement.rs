//! Every SQL statement is made here. So a test sees each statement, and can ask SQLite how the statement finds its
//! rows.
//!
//! The connection keeps the compiled statements, so SQLite compiles each text once.

use rusqlite::types::{ToSqlOutput, Type, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, Error};

/// Makes a statement. The caller adds the values of the variables.
pub(super) fn query<'q>(sql: &'static str) -> Query<'q> {
    #[cfg(test)]
    seen::note(sql);
    Query { sql, values: Vec::new() }
}

/// Makes a statement that returns only the first column of its result. The caller adds the values of the variables.
pub(super) fn query_scalar<'q>(sql: &'static str) -> Scalar<'q> {
    Scalar(query(sql))
}

/// Returns a compiled statement, which the caller executes for many rows.
pub(super) fn statement<'c>(conn: &'c Connection, sql: &'static str) -> Result<CachedStatement<'c>, Error> {
    #[cfg(test)]
    seen::note(sql);
    conn.prepare_cached(sql)
}

/// A statement and the values of its variables.
pub(super) struct Query<'q> {
    sql: &'static str,
    values: Vec<ToSqlOutput<'q>>,
}

impl<'q> Query<'q> {
    /// Adds the value of the next variable.
    pub(super) fn bind(mut self, value: impl Bind<'q>) -> Self {
        self.values.push(value.value());
        self
    }

    /// Executes the statement, and ignores its result. Returns the number of rows that it changed, or that an earlier
    /// statement changed if this one changes no rows by its kind.
    pub(super) fn execute(self, conn: &Connection) -> Result<usize, Error> {
        let mut statement = conn.prepare_cached(self.sql)?;
        self.bind_to(&mut statement)?;
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
        Ok(usize::try_from(conn.changes()).unwrap_or(usize::MAX))
    }

    /// Executes the statement. Returns all rows of its result.
    pub(super) fn fetch_all(self, conn: &Connection) -> Result<Vec<Row>, Error> {
        let mut statement = conn.prepare_cached(self.sql)?;
        let columns = statement.column_count();
        self.bind_to(&mut statement)?;
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Row((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?));
        }
        Ok(all)
    }

    /// Sets the variables of the compiled statement. Values for which the statement has no variable are ignored.
    fn bind_to(&self, statement: &mut CachedStatement<'_>) -> Result<(), Error> {
        let variables = 1..=statement.parameter_count();
        variables.zip(&self.values).try_for_each(|(at, value)| statement.raw_bind_parameter(at, value))
    }

    /// Executes the statement. Returns the first row of its result, if there is one.
    pub(super) fn fetch_optional(self, conn: &Connection) -> Result<Option<Row>, Error> {
        self.fetch_all(conn).map(|rows| rows.into_iter().next())
    }

    /// Executes the statement. Returns the first row of its result, and an error if there is none.
    pub(super) fn fetch_one(self, conn: &Connection) -> Result<Row, Error> {
        self.fetch_optional(conn)?.ok_or(Error::QueryReturnedNoRows)
    }
}

/// A statement whose result has one column.
pub(super) struct Scalar<'q>(Query<'q>);

impl<'q> Scalar<'q> {
    pub(super) fn bind(self, value: impl Bind<'q>) -> Self {
        Self(self.0.bind(value))
    }

    pub(super) fn fetch_all<T: for<'r> Get<'r>>(self, conn: &Connection) -> Result<Vec<T>, Error> {
        self.0.fetch_all(conn)?.iter().map(|row| row.try_get(0)).collect()
    }

    pub(super) fn fetch_optional<T: for<'r> Get<'r>>(self, conn: &Connection) -> Result<Option<T>, Error> {
        self.0.fetch_optional(conn)?.map(|row| row.try_get(0)).transpose()
    }

    pub(super) fn fetch_one<T: for<'r> Get<'r>>(self, conn: &Connection) -> Result<T, Error> {
        self.0.fetch_one(conn)?.try_get(0)
    }
}

/// A row of a result.
#[derive(Debug)]
pub(super) struct Row(Box<[Value]>);

impl Row {
    /// Reads a column. Returns an error if the column has a value of another type.
    pub(super) fn try_get<'r, T: Get<'r>>(&'r self, column: usize) -> Result<T, Error> {
        let value = self.0.get(column).ok_or(Error::InvalidColumnIndex(column))?;
        T::get(value).ok_or_else(|| Error::InvalidColumnType(column, column.to_string(), value.data_type()))
    }
}

/// A type as which a column can be read.
pub(super) trait Get<'r>: Sized {
    /// Returns `None` if the value has another type.
    fn get(value: &'r Value) -> Option<Self>;
}

/// A type that a variable of a statement can have.
pub(super) trait Bind<'q> {
    fn value(self) -> ToSqlOutput<'q>;
}

macro_rules! get {
    ($($value:pat => $read:expr, $type:ty;)+) => {
        $(impl<'r> Get<'r> for $type {
            fn get(value: &'r Value) -> Option<Self> {
                if let $value = value { $read } else { None }
            }
        })+
    };
}

get! {
    Value::Integer(number) => Some(*number), i64;
    Value::Integer(number) => i8::try_from(*number).ok(), i8;
    Value::Integer(number) => Some(*number != 0), bool;
    Value::Real(number) => Some(*number), f64;
    Value::Text(text) => Some(text), &'r str;
    Value::Text(text) => Some(text.clone()), String;
    Value::Blob(bytes) => Some(bytes), &'r [u8];
    Value::Blob(bytes) => Some(bytes.clone()), Vec<u8>;
}

impl<'r, T: Get<'r>> Get<'r> for Option<T> {
    fn get(value: &'r Value) -> Option<Self> {
        if value.data_type() == Type::Null { Some(None) } else { T::get(value).map(Some) }
    }
}

macro_rules! bind {
    ($($type:ty: $value:ident => $output:expr;)+) => {
        $(impl<'q> Bind<'q> for $type {
            fn value(self) -> ToSqlOutput<'q> {
                let $value = self;
                $output
            }
        })+
    };
}

bind! {
    i64: number => ToSqlOutput::Owned(Value::Integer(number));
    bool: truth => ToSqlOutput::Owned(Value::Integer(i64::from(truth)));
    &'q str: text => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()));
    &'q String: text => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()));
    String: text => ToSqlOutput::Owned(Value::Text(text));
    &'q [u8]: bytes => ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
}

impl<'q, T: Bind<'q>> Bind<'q> for Option<T> {
    fn value(self) -> ToSqlOutput<'q> {
        self.map_or(ToSqlOutput::Owned(Value::Null), T::value)
    }
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
