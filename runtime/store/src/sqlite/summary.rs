//! Reads summaries of requests, and large results piece by piece. One statement reads the whole of an answer, so the
//! answer shows one moment.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::codec::{extras_from_text, reason_from_text, request_state};
use super::statement::{Row, query, statement};
use super::states::RequestState;
use crate::summary::{AT_ONCE, EndSummary, Kept, Member, Stage, Summary};
use postback_wire::id::RequestId;
use postback_wire::report::{EndReason, Reason};
use postback_wire::time::Timestamp;

pub(super) fn summary(conn: &Connection, id: &RequestId) -> Result<Option<Summary>, rusqlite::Error> {
    // The statement does not read a large result, because SQLite knows the length of a blob without reading the blob.
    let sql = "SELECT r.route, r.state, r.finished, \
               length(o.result), CASE WHEN length(o.result) <= ?2 THEN o.result END, \
               length(o.error), CASE WHEN length(o.error) <= ?2 THEN o.error END, o.reason, r.owner, r.extras \
               FROM request r LEFT JOIN outcome o ON o.seq = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).bind(number(AT_ONCE)).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let state = request_state(&row, 1)?;
    let summary = match (state, state.status()) {
        (RequestState::Queued, _) => Stage::Queued,
        (_, None) => Stage::Running,
        (_, Some(status)) => {
            let (reason, is_told) = reason_from_text(row.try_get::<Option<&str>>(7)?.unwrap_or("none"))?;
            Stage::Settled(EndSummary {
                status,
                reason: EndReason::of(status, reason).filter(|_| is_told),
                finished: Timestamp::from_micros(row.try_get(2)?),
                result: kept(&row, 3)?,
                is_elsewhere: reason == Reason::Elsewhere,
                error: kept(&row, 5)?,
            })
        }
    };
    Ok(Some(Summary {
        route: row.try_get(0)?,
        owner: row.try_get::<&str>(8)?.into(),
        extras: extras_from_text(row.try_get(9)?),
        stage: summary,
    }))
}

/// Reads the length of a JSON text from this column. If the text is small, also reads the text from the next column.
fn kept(row: &Row, column: usize) -> Result<Option<Kept>, rusqlite::Error> {
    let Some(len) = row.try_get::<Option<i64>>(column)? else { return Ok(None) };
    let whole = row.try_get::<Option<Vec<u8>>>(column + 1)?.map(Bytes::from);
    Ok(Some(Kept { len: usize::try_from(len).unwrap_or(0), whole }))
}

/// Reads a piece of a result or of an error. Pieces should not be small, because SQLite reads the whole row for each
/// piece.
pub(super) fn piece(
    conn: &Connection,
    id: &RequestId,
    member: Member,
    at: usize,
    len: usize,
) -> Result<Option<Bytes>, rusqlite::Error> {
    let sql = match member {
        Member::Result => {
            "SELECT substr(o.result, ?2, ?3) FROM request r JOIN outcome o ON o.seq = r.seq WHERE r.id = ?1"
        }
        Member::Error => {
            "SELECT substr(o.error, ?2, ?3) FROM request r JOIN outcome o ON o.seq = r.seq WHERE r.id = ?1"
        }
    };
    // SQL counts the bytes of a blob from 1, so 1 is added to `at`. The piece is copied once.
    let piece = statement(conn, sql)?
        .query_row(params![id.as_str(), number(at + 1), number(len)], |row| row.get::<_, Option<Vec<u8>>>(0));
    Ok(piece.optional()?.flatten().map(Bytes::from))
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
