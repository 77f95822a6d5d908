//! Takes all rows of another store into an empty schema.
//!
//! As long as the copy is not whole, a mark in the table `meta` keeps other programs from using the schema.

use bytes::Bytes;
use futures_util::StreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::connect::{Connector, Session};
use super::failure::explained;
use super::members::{Joining, NotMember};
use super::schema::{self, COPY_KEY, Refused};
use super::statement::{query, query_scalar};
use crate::error::OpenError;
use crate::identity;
use crate::options::DatabaseUrl;
use crate::sql::tables::{Kind, TABLES, Table};

/// A schema that nobody else uses meanwhile.
pub(crate) struct Target {
    conn: PgConnection,
    /// Holds the lock of the schema.
    _joining: Joining,
}

impl Target {
    /// Opens the schema, and makes its tables if they do not exist. `from` says which rows are copied. A schema that has
    /// other rows is refused.
    pub(crate) async fn open(url: &DatabaseUrl, from: &str) -> Result<Self, OpenError> {
        let at = url.to_string();
        let failed = |error: sqlx::Error| OpenError::Database { at: at.clone(), source: explained(error) };
        let wrong = |what: &str| OpenError::Database { at: at.clone(), source: what.into() };
        let connector = Connector::new(url).map_err(failed)?;
        let joining = Joining::begin(&connector).await.map_err(|error| match error {
            NotMember::Other(by) => OpenError::DatabaseInUse { at: at.clone(), by },
            NotMember::Failed(error) => failed(error),
        })?;
        if !joining.alone {
            return Err(wrong("other processes use the schema; stop them, or name another schema: ?search_path=NAME"));
        }
        let Session { mut conn, .. } = connector.write(None).await.map_err(failed)?;
        schema::prepare(&mut conn, connector.schema(), true).await.map_err(|why| match why {
            Refused::Failed(error) => failed(error),
            why => why.into_error(connector.shown()),
        })?;
        sqlx::raw_sql("SET statement_timeout = 0").execute(&mut conn).await.map_err(failed)?;
        let mark: Option<String> = query_scalar("SELECT value FROM meta WHERE key = $1")
            .bind(COPY_KEY)
            .fetch_optional(&mut conn)
            .await
            .map_err(failed)?;
        let mut target = Self { conn, _joining: joining };
        match mark {
            Some(of) if of == from => {}
            Some(_) => {
                return Err(wrong(
                    "it has an unfinished copy of another store, or the store has changed since; drop the schema, and copy again",
                ));
            }
            None => target
                .mark(from)
                .await
                .map_err(failed)?
                .then_some(())
                .ok_or_else(|| wrong("it has rows already; copy into an empty schema: ?search_path=NAME"))?,
        }
        Ok(target)
    }

    /// Marks the schema as a copy that is not whole. Returns `false` if there are rows already.
    async fn mark(&mut self, from: &str) -> Result<bool, sqlx::Error> {
        for table in TABLES {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name);
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.conn).await? {
                return Ok(false);
            }
        }
        let mark = query("INSERT INTO meta (key, value) VALUES ($1, $2)").bind(COPY_KEY).bind(from);
        mark.execute(&mut self.conn).await?;
        Ok(true)
    }

    /// Returns the key of the last row of a table, as text. `None`: the table is empty.
    pub(crate) async fn last(&mut self, table: &Table) -> Result<Option<Vec<String>>, sqlx::Error> {
        let list = |end: &str| table.key.iter().map(|(name, ..)| format!("{name}{end}")).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {} FROM {} ORDER BY {} LIMIT 1", list("::text"), table.name, list(" DESC"));
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_optional(&mut self.conn).await?;
        row.map(|row| (0..table.key.len()).map(|at| row.try_get(at)).collect()).transpose()
    }

    /// Writes these pieces of lines in one transaction.
    pub(crate) async fn write(&mut self, table: &Table, pieces: &[String]) -> Result<(), sqlx::Error> {
        let columns: Vec<_> = table.all().map(|(name, ..)| *name).collect();
        let sql = format!("COPY {} ({}) FROM STDIN", table.name, columns.join(", "));
        let mut copy = self.conn.copy_in_raw(&sql).await?;
        for piece in pieces {
            copy.send(piece.as_bytes()).await?;
        }
        copy.finish().await.map(drop)
    }

    /// Gives all rows of a table, as lines, to `each`. Their order is that of the keys.
    pub(crate) async fn read(&mut self, table: &Table, mut each: impl FnMut(&Bytes)) -> Result<(), sqlx::Error> {
        let column = |(name, _, kind): &(&str, &str, Kind)| match kind {
            Kind::Real => format!("encode(float8send({name}), 'hex')"),
            _ => (*name).to_owned(),
        };
        let columns: Vec<_> = table.all().map(column).collect();
        let key: Vec<_> = table.key.iter().map(|(name, ..)| *name).collect();
        let (columns, key, name) = (columns.join(", "), key.join(", "), table.name);
        let sql = format!("COPY (SELECT {columns} FROM {name} ORDER BY {key}) TO STDOUT");
        let mut lines = self.conn.copy_out_raw(&sql).await?;
        while let Some(some) = lines.next().await {
            each(&some?);
        }
        Ok(())
    }

    /// Lets programs use the schema. `detail` says in the audit what was copied. The copy has the id of the original, so
    /// that the large results, which are elsewhere, stay its own.
    pub(crate) async fn finish(
        &mut self,
        (at, from, detail): (i64, &str, &str),
        id: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("BEGIN").execute(&mut self.conn).await?;
        if let Some(id) = id {
            let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) \
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            query(sql).bind(identity::KEY).bind(id).execute(&mut self.conn).await?;
        }
        for table in TABLES.iter().filter(|table| table.counted) {
            let name = table.name;
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{name}', 'seq'), coalesce(max(seq), 0) + 1, false) FROM {name}"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.conn).await?;
        }
        let audit =
            "INSERT INTO audit (at, who, what, subject, detail) VALUES ($1, 'command line', 'store.copy', $2, $3)";
        query(audit).bind(at).bind(from).bind(detail).execute(&mut self.conn).await?;
        query("DELETE FROM meta WHERE key = $1").bind(COPY_KEY).execute(&mut self.conn).await?;
        sqlx::raw_sql("COMMIT").execute(&mut self.conn).await?;
        // Without statistics, the first plans would be bad.
        let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {}", names.join(", ")))).execute(&mut self.conn).await.map(drop)
    }
}
