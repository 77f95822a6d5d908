//! What several kinds of operations do with the tables of requests.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::bulk::{Bind, Many};
use super::codec::{blob, extras_from_text, headers_from_bytes, json, registration_from_text, small};
use super::statement::query;
use crate::record::{ClaimedRequest, RequestClaim};
use crate::terms::Terms;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

static REGISTRATIONS: LazyLock<Many<1>> = LazyLock::new(|| {
    Many::new([("INSERT OR REPLACE INTO registration (seq, text) SELECT * FROM $rows WHERE column1 IS NOT NULL", 2)])
});

/// Writes registrations. Each pair in `texts` is the row number of a request and the text of its registration.
pub(super) async fn write_registrations(
    conn: &mut SqliteConnection,
    texts: &[(i64, String)],
) -> Result<(), sqlx::Error> {
    let text: Bind<'_, (i64, String)> = &|columns, (seq, text)| {
        columns.add(*seq).add(text.as_str());
    };
    REGISTRATIONS.run(conn, texts, [text]).await.map(drop)
}

/// Reads the bodies of claimed rows, which an `UPDATE … RETURNING` has returned. Returns the requests in the order in
/// which they should run. The columns of `rows` are `due, seq, id, route, epoch, failures, crashes, created, cancel,
/// owner, priority, timeout, extras`, and whether the request has expired. Other columns are not read.
pub(super) async fn claimed(
    conn: &mut SqliteConnection,
    mut rows: Vec<SqliteRow>,
) -> Result<Vec<ClaimedRequest>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // The rows are sorted here, because `RETURNING` returns them in no particular order.
    let number = |row: &SqliteRow, column: usize| row.try_get::<i64, _>(column).unwrap_or(0);
    rows.sort_by_key(|row| (-number(row, 10), number(row, 0), number(row, 1)));
    let seqs = rows.iter().map(|row| row.try_get::<i64, _>(1)).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT b.seq, b.headers, b.body, g.text FROM request_body b LEFT JOIN registration g ON g.seq = b.seq \
               WHERE b.seq IN (SELECT value FROM json_each(?1))";
    let bodies = query(sql).bind(json(&seqs)?).fetch_all(conn).await?;
    let bodies = bodies.into_iter().map(|row| Ok((row.try_get::<i64, _>(0)?, row)));
    let bodies = bodies.collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let one = |row: SqliteRow| {
        let body = bodies.get(&row.try_get::<i64, _>(1)?).ok_or(sqlx::Error::RowNotFound)?;
        let registration: Option<&str> = body.try_get(3)?;
        let timeout = row.try_get::<Option<i64>, _>(11)?.and_then(|micros| u64::try_from(micros).ok());
        let terms =
            Terms { priority: row.try_get(10)?, timeout: timeout.map(Duration::from_micros), ..Terms::default() };
        Ok(ClaimedRequest {
            expired: row.try_get(13)?,
            claim: RequestClaim { id: RequestId::stored(row.try_get(2)?), epoch: small(&row, 4)? },
            route: row.try_get(3)?,
            headers: headers_from_bytes(body.try_get(1)?),
            body: blob(body, 2)?,
            created: Timestamp::from_micros(row.try_get(7)?),
            failures: small(&row, 5)?,
            crashes: small(&row, 6)?,
            cancelled: row.try_get(8)?,
            registration: registration.and_then(registration_from_text),
            owner: row.try_get::<&str, _>(9)?.into(),
            terms,
            extras: extras_from_text(row.try_get(12)?),
        })
    };
    rows.into_iter().map(one).collect()
}
