//! Reads all rows of a file whose process has stopped, for a copy.
//!
//! Its statements read whole tables, in the order of their keys, and are made from the list of the tables. So they are not in
//! `statement`, whose statements have to find their rows by an index.

use std::path::Path;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use tokio::sync::mpsc;

use super::connect::{Connector, explained};
use super::owner::Owner;
use super::schema;
use super::states::sql;
use crate::error::OpenError;
use crate::options::Durability;
use crate::sql::tables::{Column, Kind, Purpose, Table, Value, write};

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// About how many bytes are sent at once.
const PIECE: usize = 1 << 20;

/// A file that nobody else uses meanwhile.
pub(crate) struct Source {
    connector: Connector,
    /// What is added to times of the store's own clock, because the copy begins with the time of the wall clock.
    shift: i64,
    /// Which file this is, and what was written to it last.
    pub version: String,
    /// Whether a process ended while it had claims.
    pub has_claims: bool,
    /// The id of the store, if it has one.
    pub id: Option<Box<str>>,
    _owner: Owner,
}

/// Lines of the text format of `COPY`.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub lines: String,
    pub rows: u64,
}

impl Source {
    /// Opens the file, and brings its tables up to date. The file must exist.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let connector = Connector::new(path, Durability::Full);
        let failed = |source| OpenError::Backend { path: path.into(), source: explained(source) };
        let look = |connector: &Connector| {
            schema::migrate(&connector.write()?)?;
            let conn = connector.look()?;
            Ok((about(&conn)?, schema::known_store_id(&conn)?))
        };
        let owner = Owner::take(path)?;
        schema::check(&connector)?;
        let ((version, shift, has_claims), id) = look(&connector).map_err(failed)?;
        Ok(Self { connector, shift, version, has_claims, id, _owner: owner })
    }

    /// Sends the rows of a table in the order of their keys. `after`: only those after this key, as text.
    pub(crate) fn read(
        &self,
        table: &Table,
        after: Option<&[String]>,
        purpose: Purpose,
        to: &mpsc::Sender<Piece>,
    ) -> Result<(), Trouble> {
        let conn = self.connector.look()?;
        let mut statement = conn.prepare(&table.read(after.is_some()))?;
        let key = table.key.iter().zip(after.unwrap_or_default()).map(|((_, _, kind), text)| match kind {
            Kind::Text => Ok(rusqlite::types::Value::Text(text.clone())),
            _ => text.parse().map(rusqlite::types::Value::Integer),
        });
        let key: Vec<_> = key.collect::<Result<_, _>>()?;
        let mut rows = statement.query(params_from_iter(key))?;
        let mut piece = Piece::default();
        while let Some(row) = rows.next()? {
            self.write_row(table, row, purpose, &mut piece.lines)?;
            piece.rows += 1;
            // An error means that nobody wants the rows any more.
            if piece.lines.len() >= PIECE && to.blocking_send(std::mem::take(&mut piece)).is_err() {
                return Ok(());
            }
        }
        if piece.rows > 0 {
            let _ = to.blocking_send(piece);
        }
        Ok(())
    }

    fn write_row(&self, table: &Table, row: &Row<'_>, purpose: Purpose, lines: &mut String) -> Result<(), Trouble> {
        for (at, column) in table.all().enumerate() {
            if at > 0 {
                lines.push('\t');
            }
            write(lines, column, value(row, at, column)?, self.shift, purpose)?;
        }
        lines.push('\n');
        Ok(())
    }
}

fn value<'r>(row: &'r Row<'_>, at: usize, (name, ..): &Column) -> Result<Value<'r>, rusqlite::Error> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Blob(bytes) => Value::Bytes(bytes),
        ValueRef::Text(text) => Value::Text(
            std::str::from_utf8(text)
                .map_err(|_| rusqlite::Error::InvalidColumnType(at, (*name).to_owned(), Type::Text))?,
        ),
    })
}

/// Returns which file this is, how far its own clock is behind the wall clock, and whether there are claims.
fn about(conn: &Connection) -> Result<(String, i64, bool), rusqlite::Error> {
    let sql = "SELECT coalesce((SELECT id FROM node ORDER BY seq LIMIT 1), 'new') || ' ' || commits, \
               coalesce(wall - due, 0) FROM progress";
    let (version, shift) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = sql!(
        "SELECT EXISTS (SELECT 1 FROM request WHERE state = {running}) OR EXISTS (SELECT 1 FROM report WHERE state = {delivering})"
    );
    let has_claims: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    Ok((version, shift, has_claims == 1))
}
