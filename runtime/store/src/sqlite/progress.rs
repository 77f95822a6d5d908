//! Reads how far a run has come, and what it has left for the next run.

use bytes::Bytes;
use rusqlite::Connection;

use super::codec::{blob, small};
use super::statement::{Row, query, query_scalar};
use crate::progress::{Progress, Told};
use postback_wire::id::RequestId;
use postback_wire::report::Json;
use postback_wire::time::Timestamp;

pub(super) fn progress(conn: &Connection, id: &RequestId) -> Result<Option<Progress>, rusqlite::Error> {
    let sql = "SELECT p.epoch, p.sequence, p.fraction, p.message, p.detail, p.at FROM request AS r \
               JOIN run_progress AS p ON p.request = r.seq WHERE r.id = ?1 AND p.epoch = r.epoch";
    let row = query(sql).bind(id.as_str()).fetch_optional(conn)?;
    row.map(|row| read(&row, 0)).transpose().map(Option::flatten)
}

/// Reads a progress from six columns, of which `first` is the first: `epoch, sequence, fraction, message, detail, at`.
/// Returns `None` if the columns are NULL.
pub(super) fn read(row: &Row, first: usize) -> Result<Option<Progress>, rusqlite::Error> {
    if row.try_get::<Option<i64>>(first)?.is_none() {
        return Ok(None);
    }
    let has_detail = row.try_get::<Option<&[u8]>>(first + 4)?.is_some();
    let told = Told {
        fraction: row.try_get(first + 2)?,
        message: row.try_get(first + 3)?,
        detail: if has_detail { Some(Json::stored(blob(row, first + 4)?)) } else { None },
        at: Timestamp::from_micros(row.try_get(first + 5)?),
    };
    let sequence = u64::try_from(row.try_get::<i64>(first + 1)?).unwrap_or(0);
    Ok(Some(Progress { epoch: small(row, first)?, sequence, told }))
}

pub(super) fn checkpoint(conn: &Connection, id: &RequestId) -> Result<Option<Bytes>, rusqlite::Error> {
    let sql = "SELECT c.value FROM request AS r JOIN checkpoint AS c ON c.request = r.seq WHERE r.id = ?1";
    let value: Option<Vec<u8>> = query_scalar(sql).bind(id.as_str()).fetch_optional(conn)?;
    Ok(value.map(Bytes::from))
}
