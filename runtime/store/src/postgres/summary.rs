//! Reads summaries of requests, and large results piece by piece. One statement reads the whole of an answer, so the
//! answer shows one moment.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::codec::{blob, extras_from_text, limit, reason_from_text, request_state};
use super::statement::query;
use crate::sql::states::RequestState;
use crate::summary::{AT_ONCE, EndSummary, Kept, Member, Stage, Summary};
use postback_wire::id::RequestId;
use postback_wire::report::{EndReason, Reason};
use postback_wire::time::Timestamp;

pub(super) async fn summary(pool: &PgPool, id: &RequestId) -> Result<Option<Summary>, sqlx::Error> {
    // The statement does not read a large result, because PostgreSQL knows the length of a value without reading the value.
    let sql = "SELECT r.route, r.state, r.finished, \
               octet_length(o.result), CASE WHEN octet_length(o.result) <= $2 THEN o.result END, \
               octet_length(o.error), CASE WHEN octet_length(o.error) <= $2 THEN o.error END, o.reason, r.owner, r.extras \
               FROM request r LEFT JOIN outcome o ON o.seq = r.seq WHERE r.id = $1";
    let row = query(sql).bind(id.as_str()).bind(limit(AT_ONCE)).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// Reads a summary from the first columns of a row.
pub(super) fn read(row: &PgRow) -> Result<Summary, sqlx::Error> {
    let state = request_state(row, 1)?;
    let summary = match (state, state.status()) {
        (RequestState::Queued, _) => Stage::Queued,
        (_, None) => Stage::Running,
        (_, Some(status)) => {
            let (reason, is_told) = reason_from_text(row.try_get::<Option<&str>, _>(7)?.unwrap_or("none"))?;
            Stage::Settled(EndSummary {
                status,
                reason: EndReason::of(status, reason).filter(|_| is_told),
                finished: Timestamp::from_micros(row.try_get(2)?),
                result: kept(row, 3)?,
                is_elsewhere: reason == Reason::Elsewhere,
                error: kept(row, 5)?,
            })
        }
    };
    Ok(Summary {
        route: row.try_get(0)?,
        owner: row.try_get::<&str, _>(8)?.into(),
        extras: extras_from_text(row.try_get(9)?),
        stage: summary,
    })
}

/// Reads the length of a JSON text from this column. If the text is small, also reads the text from the next column.
fn kept(row: &PgRow, column: usize) -> Result<Option<Kept>, sqlx::Error> {
    let Some(len) = row.try_get::<Option<i32>, _>(column)? else { return Ok(None) };
    let whole = row.try_get::<Option<Vec<u8>>, _>(column + 1)?.map(Bytes::from);
    Ok(Some(Kept { len: usize::try_from(len).unwrap_or(0), whole }))
}

/// Reads a piece of a result or of an error. PostgreSQL reads only the pages with the piece.
pub(super) async fn piece(
    pool: &PgPool,
    id: &RequestId,
    member: Member,
    at: usize,
    len: usize,
) -> Result<Option<Bytes>, sqlx::Error> {
    let sql = match member {
        Member::Result => {
            "SELECT substr(o.result, $2, $3) FROM request r JOIN outcome o ON o.seq = r.seq WHERE r.id = $1"
        }
        Member::Error => {
            "SELECT substr(o.error, $2, $3) FROM request r JOIN outcome o ON o.seq = r.seq WHERE r.id = $1"
        }
    };
    // SQL counts the bytes of a blob from 1, so 1 is added to `at`.
    let row =
        query(sql).bind(id.as_str()).bind(place(at.saturating_add(1))).bind(place(len)).fetch_optional(pool).await?;
    match row {
        Some(row) if row.try_get::<Option<&[u8]>, _>(0)?.is_some() => Ok(Some(blob(&row, 0)?)),
        _ => Ok(None),
    }
}

/// Converts a place in a value, or a length, to the type that `substr` expects. No value has more than 1 GiB.
fn place(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
