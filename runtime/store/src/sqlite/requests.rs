//! What several kinds of operations do with the tables of requests.

use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::codec::{
    blob, extras_with_trace, headers_from_bytes, json, registration_from_text, registration_to_text, small,
};
use super::statement::{Row, query};
use crate::record::{ClaimedRequest, Registration, RequestClaim};
use crate::terms::Terms;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The texts of registrations that came with many requests. The webhooks of a route are often the same for all.
#[derive(Default)]
pub(super) struct Texts(Vec<(Arc<Registration>, String)>);

impl Texts {
    /// The largest number of texts that are kept.
    const MOST: usize = 32;

    /// Returns the text of a registration.
    pub(super) fn of(&mut self, registration: &Arc<Registration>) -> Result<&str, rusqlite::Error> {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, registration));
        if known.is_none() {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            self.0.push((Arc::clone(registration), registration_to_text(registration)?));
        }
        let at = known.unwrap_or(self.0.len() - 1);
        Ok(self.0.get(at).map_or("", |(_, text)| text))
    }
}

/// Writes registrations. Each pair in `texts` is the row number of a request and the text of its registration.
pub(super) fn write_registrations(conn: &Connection, texts: &[(i64, String)]) -> Result<(), rusqlite::Error> {
    for (seq, text) in texts {
        query("INSERT OR REPLACE INTO registration (seq, text) VALUES (?1, ?2)").bind(*seq).bind(text).execute(conn)?;
    }
    Ok(())
}

/// Reads the bodies of claimed rows, which an `UPDATE … RETURNING` has returned. Returns the requests in the order in
/// which they should run. The columns of `rows` are `due, seq, id, route, epoch, failures, crashes, created, cancel,
/// owner, priority, timeout, extras`, and whether the request has expired. Other columns are not read.
pub(super) fn claimed(conn: &Connection, mut rows: Vec<Row>) -> Result<Vec<ClaimedRequest>, rusqlite::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // The rows are sorted here, because `RETURNING` returns them in no particular order.
    let number = |row: &Row, column: usize| row.try_get::<i64>(column).unwrap_or(0);
    rows.sort_by_key(|row| (-number(row, 10), number(row, 0), number(row, 1)));
    let seqs = rows.iter().map(|row| row.try_get::<i64>(1)).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT b.seq, b.headers, b.body, coalesce(g.text, b.registration) FROM request_body b LEFT JOIN registration g ON g.seq = b.seq \
               WHERE b.seq IN (SELECT value FROM json_each(?1))";
    let bodies = query(sql).bind(json(&seqs)?).fetch_all(conn)?;
    let bodies = bodies.into_iter().map(|row| Ok((row.try_get::<i64>(0)?, row)));
    let bodies = bodies.collect::<Result<HashMap<_, _>, rusqlite::Error>>()?;
    let one = |row: Row| {
        let body = bodies.get(&row.try_get::<i64>(1)?).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let (headers, registration) = (headers_from_bytes(body.try_get(1)?), body.try_get::<Option<&str>>(3)?);
        let timeout = row.try_get::<Option<i64>>(11)?.and_then(|micros| u64::try_from(micros).ok());
        let terms =
            Terms { priority: row.try_get(10)?, timeout: timeout.map(Duration::from_micros), ..Terms::default() };
        Ok(ClaimedRequest {
            expired: row.try_get(13)?,
            claim: RequestClaim { id: RequestId::stored(row.try_get(2)?), epoch: small(&row, 4)? },
            route: row.try_get(3)?,
            extras: extras_with_trace(row.try_get(12)?, &headers),
            headers,
            body: blob(body, 2)?,
            created: Timestamp::from_micros(row.try_get(7)?),
            failures: small(&row, 5)?,
            crashes: small(&row, 6)?,
            cancelled: row.try_get(8)?,
            registration: registration.and_then(registration_from_text).map(Arc::new),
            owner: row.try_get::<&str>(9)?.into(),
            terms,
        })
    };
    rows.into_iter().map(one).collect()
}
