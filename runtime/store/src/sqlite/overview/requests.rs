//! Lists of requests.

use bytes::Bytes;

use super::{Range, end, limit, most_scanned, number, page};
use crate::checkpoint::CheckpointLine;
use crate::overview::{
    EXCERPT, Excerpt, Original, Page, RequestDetail, RequestFilter, RequestLine, RequestStatus, took,
};
use crate::sqlite::codec::{
    blob, extras_with_trace, headers_from_bytes, reason_from_text, registration_from_text, request_state, small,
};
use crate::sqlite::statement::{Row, query, query_scalar};
use crate::sqlite::states::{RequestState, sql};
use crate::terms::Terms;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;
use rusqlite::Connection;

pub(super) fn list(
    conn: &Connection,
    filter: &RequestFilter,
    before: u64,
    most: usize,
) -> Result<Page<RequestLine>, rusqlite::Error> {
    let RequestFilter { route, status, owner, since, until } = filter;
    if *status == Some(RequestStatus::Running) {
        return running(conn, filter, before, most);
    }
    let made = "SELECT seq, created FROM request WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
    let before = end(conn, made, before, *until)?;
    let of = owner.as_deref().zip(route.as_deref());
    let floor = match of {
        _ if route.is_none() && status.is_none() && owner.is_none() => None,
        Some(_) if status.is_none() => None,
        Some((owner, route)) => {
            let sql = "SELECT seq FROM request WHERE owner = ?3 AND route = ?4 AND seq < ?1 \
                       ORDER BY seq DESC LIMIT 1 OFFSET ?2";
            let floor = query_scalar(sql).bind(before).bind(most_scanned() - 1).bind(owner).bind(route);
            floor.fetch_optional(conn)?
        }
        None => {
            let sql = "SELECT seq FROM request WHERE seq < ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2";
            query_scalar(sql).bind(before).bind(most_scanned() - 1).fetch_optional(conn)?
        }
    };
    let range = Range::new(before, floor).since(conn, made, *since)?;
    let sql = match of {
        Some(_) => {
            "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
             r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
             WHERE r.owner = ?8 AND r.route = ?3 AND r.seq < ?1 AND r.seq >= ?2 AND (?4 IS NULL OR r.state = ?4) \
             AND (?5 IS NULL OR r.created >= ?5) AND (?6 IS NULL OR r.created < ?6) ORDER BY r.seq DESC LIMIT ?7"
        }
        None => {
            "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
             r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
             WHERE r.seq < ?1 AND r.seq >= ?2 AND (?3 IS NULL OR r.route = ?3) AND (?4 IS NULL OR r.state = ?4) \
             AND (?5 IS NULL OR r.created >= ?5) AND (?6 IS NULL OR r.created < ?6) \
             AND (?8 IS NULL OR r.owner = ?8) ORDER BY r.seq DESC LIMIT ?7"
        }
    };
    let rows = query(sql).bind(range.before).bind(range.floor).bind(route.as_deref());
    let rows = rows.bind(status.map(|status| state_of(status).code()));
    let rows = rows.bind(since.map(Timestamp::micros)).bind(until.map(Timestamp::micros)).bind(limit(most));
    let rows = rows.bind(owner.as_deref()).fetch_all(conn)?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
    Ok(page(lines, most, range, |line: &RequestLine| line.seq))
}

/// Lists running requests, which have an index of their own, because they may be few among very many others.
fn running(
    conn: &Connection,
    filter: &RequestFilter,
    before: u64,
    most: usize,
) -> Result<Page<RequestLine>, rusqlite::Error> {
    let RequestFilter { route, owner, since, until, .. } = filter;
    let range = Range::new(number(before), None);
    let sql = sql!(
        "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, NULL, \
         r.owner FROM request AS r INDEXED BY request_running WHERE r.state = {running} AND +r.seq < ?1 \
         AND (?2 IS NULL OR r.route = ?2) AND (?3 IS NULL OR r.created >= ?3) AND (?4 IS NULL OR r.created < ?4) \
         AND (?6 IS NULL OR r.owner = ?6) ORDER BY +r.seq DESC LIMIT ?5"
    );
    let rows = query(sql).bind(range.before).bind(route.as_deref());
    let rows = rows.bind(since.map(Timestamp::micros)).bind(until.map(Timestamp::micros)).bind(limit(most));
    let rows = rows.bind(owner.as_deref()).fetch_all(conn)?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
    Ok(page(lines, most, range, |line: &RequestLine| line.seq))
}

pub(super) fn by_id(
    conn: &Connection,
    prefix: &str,
    after: &str,
    most: usize,
) -> Result<Vec<RequestLine>, rusqlite::Error> {
    // An id has only ASCII characters, and all of them come before DEL.
    let behind = format!("{prefix}\u{7f}");
    let sql = "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
               r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
               WHERE r.id >= ?1 AND r.id < ?2 AND r.id > ?3 ORDER BY r.id LIMIT ?4";
    let rows = query(sql).bind(prefix).bind(behind).bind(after).bind(i64::try_from(most).unwrap_or(i64::MAX));
    rows.fetch_all(conn)?.iter().map(line).collect()
}

pub(super) fn detail(conn: &Connection, id: &RequestId) -> Result<Option<RequestDetail>, rusqlite::Error> {
    let sql = "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
               r.owner, b.headers, length(b.body), substr(b.body, 1, ?2), coalesce(g.text, b.registration), length(o.result), substr(o.result, 1, ?2), \
               length(o.error), substr(o.error, 1, ?2), o.detail, r.priority, r.timeout, r.deadline, r.extras, \
               length(k.value), k.saved \
               FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq LEFT JOIN request_body AS b ON b.seq = r.seq \
               LEFT JOIN registration AS g ON g.seq = r.seq LEFT JOIN checkpoint AS k ON k.request = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).bind(excerpt_bytes()).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let headers = row.try_get::<Option<&[u8]>>(12)?.map(headers_from_bytes).unwrap_or_default();
    Ok(Some(RequestDetail {
        line: line(&row)?,
        terms: Terms { deadline: row.try_get::<Option<i64>>(23)?.map(Timestamp::from_micros), ..terms(&row, 21)? },
        extras: extras_with_trace(row.try_get(24)?, &headers),
        headers,
        payload: excerpt(&row, 13)?,
        registration: row.try_get::<Option<&str>>(15)?.and_then(registration_from_text),
        result: excerpt(&row, 16)?,
        error: excerpt(&row, 18)?,
        detail: row.try_get(20)?,
        checkpoint: checkpoint(&row, 25)?,
    }))
}

/// Reads the size of a checkpoint and the time when it was saved from these two columns.
fn checkpoint(row: &Row, column: usize) -> Result<Option<CheckpointLine>, rusqlite::Error> {
    let Some(bytes) = row.try_get::<Option<i64>>(column)? else { return Ok(None) };
    let saved = row.try_get::<Option<i64>>(column + 1)?.map(Timestamp::from_micros);
    Ok(Some(CheckpointLine { bytes: u64::try_from(bytes).unwrap_or(0), saved }))
}

pub(super) fn original(conn: &Connection, id: &RequestId) -> Result<Option<Original>, rusqlite::Error> {
    let sql = "SELECT r.route, r.state, b.headers, b.body, coalesce(g.text, b.registration), r.owner, r.priority, r.timeout, r.extras FROM request AS r \
               LEFT JOIN request_body AS b ON b.seq = r.seq LEFT JOIN registration AS g ON g.seq = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let body = if row.try_get::<Option<&[u8]>>(3)?.is_some() { Some(blob(&row, 3)?) } else { None };
    let headers = row.try_get::<Option<&[u8]>>(2)?.map(headers_from_bytes).unwrap_or_default();
    Ok(Some(Original {
        route: row.try_get(0)?,
        status: status_of(request_state(&row, 1)?),
        owner: row.try_get::<&str>(5)?.into(),
        terms: terms(&row, 6)?,
        body,
        registration: row.try_get::<Option<&str>>(4)?.and_then(registration_from_text),
        extras: extras_with_trace(row.try_get(8)?, &headers),
        headers,
    }))
}

pub(super) fn excerpt_bytes() -> i64 {
    i64::try_from(EXCERPT).unwrap_or(i64::MAX)
}

/// Reads the length of a text from this column, and the first part of the text from the next column.
pub(super) fn excerpt(row: &Row, column: usize) -> Result<Option<Excerpt>, rusqlite::Error> {
    let Some(len) = row.try_get::<Option<i64>>(column)? else { return Ok(None) };
    // The first part of an empty text is NULL.
    let start = if len > 0 { blob(row, column + 1)? } else { Bytes::new() };
    Ok(Some(Excerpt { len: u64::try_from(len).unwrap_or(0), start }))
}

/// Reads the terms from these two columns. The time until which the first run must begin is over or does not matter.
fn terms(row: &Row, column: usize) -> Result<Terms, rusqlite::Error> {
    let timeout = row.try_get::<Option<i64>>(column + 1)?.map(took);
    Ok(Terms { priority: row.try_get(column)?, timeout, ..Terms::default() })
}

fn line(row: &Row) -> Result<RequestLine, rusqlite::Error> {
    let state = request_state(row, 3)?;
    let time = |column| row.try_get::<Option<i64>>(column).map(|time| time.map(Timestamp::from_micros));
    let reason = row.try_get::<Option<&str>>(10)?.map(reason_from_text).transpose()?;
    Ok(RequestLine {
        seq: u64::try_from(row.try_get::<i64>(0)?).unwrap_or(0),
        id: RequestId::stored(row.try_get(1)?),
        route: row.try_get(2)?,
        status: status_of(state),
        reason: reason.map(|(reason, _)| reason),
        owner: row.try_get::<&str>(11)?.into(),
        created: Timestamp::from_micros(row.try_get(4)?),
        finished: time(5)?,
        due: time(9)?.filter(|_| state == RequestState::Queued),
        failures: small(row, 6)?,
        crashes: small(row, 7)?,
        cancelling: state == RequestState::Running && row.try_get::<i64>(8)? != 0,
    })
}

fn status_of(state: RequestState) -> RequestStatus {
    match state {
        RequestState::Queued => RequestStatus::Queued,
        RequestState::Running => RequestStatus::Running,
        RequestState::Completed => RequestStatus::Completed,
        RequestState::Failed => RequestStatus::Failed,
        RequestState::Cancelled => RequestStatus::Cancelled,
    }
}

fn state_of(status: RequestStatus) -> RequestState {
    match status {
        RequestStatus::Queued => RequestState::Queued,
        RequestStatus::Running => RequestState::Running,
        RequestStatus::Completed => RequestState::Completed,
        RequestStatus::Failed => RequestState::Failed,
        RequestStatus::Cancelled => RequestState::Cancelled,
    }
}
