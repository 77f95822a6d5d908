//! Reads how far a run has come, and what it has left for the next run.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::codec::{blob, count, small};
use super::statement::{query, query_scalar};
use crate::progress::{Progress, Told};
use postback_wire::id::RequestId;
use postback_wire::report::Json;
use postback_wire::time::Timestamp;

pub(super) async fn progress(pool: &PgPool, id: &RequestId) -> Result<Option<Progress>, sqlx::Error> {
    let sql = "SELECT p.epoch, p.sequence, p.fraction, p.message, p.detail, p.at FROM request AS r \
               JOIN run_progress AS p ON p.request = r.seq WHERE r.id = $1 AND p.epoch = r.epoch";
    let row = query(sql).bind(id.as_str()).fetch_optional(pool).await?;
    row.map(|row| read(&row, 0)).transpose().map(Option::flatten)
}

/// Reads a progress from six columns, of which `first` is the first: `epoch, sequence, fraction, message, detail, at`.
/// Returns `None` if the columns are NULL.
pub(super) fn read(row: &PgRow, first: usize) -> Result<Option<Progress>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>(first)?.is_none() {
        return Ok(None);
    }
    let has_detail = row.try_get::<Option<&[u8]>, _>(first + 4)?.is_some();
    let told = Told {
        fraction: row.try_get(first + 2)?,
        message: row.try_get(first + 3)?,
        detail: if has_detail { Some(Json::stored(blob(row, first + 4)?)) } else { None },
        at: Timestamp::from_micros(row.try_get(first + 5)?),
    };
    Ok(Some(Progress { epoch: small(row, first)?, sequence: count(row, first + 1)?, told }))
}

pub(super) async fn checkpoint(pool: &PgPool, id: &RequestId) -> Result<Option<Bytes>, sqlx::Error> {
    let sql = "SELECT c.value FROM request AS r JOIN checkpoint AS c ON c.request = r.seq WHERE r.id = $1";
    let value: Option<Vec<u8>> = query_scalar(sql).bind(id.as_str()).fetch_optional(pool).await?;
    Ok(value.map(Bytes::from))
}
