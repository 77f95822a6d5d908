//! Lists of requests.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::{Range, end, limit, most_scanned, number, page};
use crate::checkpoint::CheckpointLine;
use crate::overview::{
    EXCERPT, Excerpt, Original, Page, RequestDetail, RequestFilter, RequestLine, RequestStatus, took,
};
use crate::postgres::codec::{
    blob, extras_with_trace, headers_from_bytes, reason_from_text, registration_from_text, request_state, small,
};
use crate::postgres::requests::priority;
use crate::postgres::statement::{query, query_scalar};
use crate::sql::states::{RequestState, sql};
use crate::terms::Terms;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

pub(super) async fn list(
    pool: &PgPool,
    filter: &RequestFilter,
    before: u64,
    most: usize,
) -> Result<Page<RequestLine>, sqlx::Error> {
    let RequestFilter { route, status, owner, since, until } = filter;
    if *status == Some(RequestStatus::Running) {
        return running(pool, filter, before, most).await;
    }
    let made = "SELECT seq, created FROM request WHERE seq <= $1 ORDER BY seq DESC LIMIT 1";
    let before = end(pool, made, before, *until).await?;
    let of = owner.as_deref().zip(route.as_deref());
    let floor = match of {
        _ if route.is_none() && status.is_none() && owner.is_none() => None,
        Some(_) if status.is_none() => None,
        Some((owner, route)) => {
            let sql = "SELECT seq FROM request WHERE owner = $3 AND route = $4 AND seq < $1 \
                       ORDER BY seq DESC LIMIT 1 OFFSET $2";
            let floor = query_scalar(sql).bind(before).bind(most_scanned() - 1).bind(owner).bind(route);
            floor.fetch_optional(pool).await?
        }
        None => {
            let sql = "SELECT seq FROM request WHERE seq < $1 ORDER BY seq DESC LIMIT 1 OFFSET $2";
            query_scalar(sql).bind(before).bind(most_scanned() - 1).fetch_optional(pool).await?
        }
    };
    let range = Range::new(before, floor).since(pool, made, *since).await?;
    let sql = match of {
        Some(_) => {
            "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
             r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
             WHERE r.owner = $8 AND r.route = $3 AND r.seq < $1 AND r.seq >= $2 AND ($4::bigint IS NULL OR r.state = $4) \
             AND ($5::bigint IS NULL OR r.created >= $5) AND ($6::bigint IS NULL OR r.created < $6) ORDER BY r.seq DESC LIMIT $7"
        }
        None => {
            "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
             r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
             WHERE r.seq < $1 AND r.seq >= $2 AND ($3::text IS NULL OR r.route = $3) AND ($4::bigint IS NULL OR r.state = $4) \
             AND ($5::bigint IS NULL OR r.created >= $5) AND ($6::bigint IS NULL OR r.created < $6) \
             AND ($8::text IS NULL OR r.owner = $8) ORDER BY r.seq DESC LIMIT $7"
        }
    };
    let rows = query(sql).bind(range.before).bind(range.floor).bind(route.as_deref());
    let rows = rows.bind(status.map(|status| state_of(status).code()));
    let rows = rows.bind(since.map(Timestamp::micros)).bind(until.map(Timestamp::micros)).bind(limit(most));
    let rows = rows.bind(owner.as_deref()).fetch_all(pool).await?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
    Ok(page(lines, most, range, |line: &RequestLine| line.seq))
}

/// Lists running requests, which have an index of their own, because they may be few among very many others.
async fn running(
    pool: &PgPool,
    filter: &RequestFilter,
    before: u64,
    most: usize,
) -> Result<Page<RequestLine>, sqlx::Error> {
    let RequestFilter { route, owner, since, until, .. } = filter;
    let range = Range::new(number(before), None);
    let sql = sql!(
        "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, NULL::text, \
         r.owner FROM request AS r WHERE r.state = {running} AND r.seq + 0 < $1 \
         AND ($2::text IS NULL OR r.route = $2) AND ($3::bigint IS NULL OR r.created >= $3) AND ($4::bigint IS NULL OR r.created < $4) \
         AND ($6::text IS NULL OR r.owner = $6) ORDER BY r.seq + 0 DESC LIMIT $5"
    );
    let rows = query(sql).bind(range.before).bind(route.as_deref());
    let rows = rows.bind(since.map(Timestamp::micros)).bind(until.map(Timestamp::micros)).bind(limit(most));
    let rows = rows.bind(owner.as_deref()).fetch_all(pool).await?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
    Ok(page(lines, most, range, |line: &RequestLine| line.seq))
}

pub(super) async fn by_id(
    pool: &PgPool,
    prefix: &str,
    after: &str,
    most: usize,
) -> Result<Vec<RequestLine>, sqlx::Error> {
    // An id has only ASCII characters, and all of them come before DEL.
    let behind = format!("{prefix}\u{7f}");
    let sql = "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
               r.owner FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
               WHERE r.id >= $1 AND r.id < $2 AND r.id > $3 ORDER BY r.id LIMIT $4";
    let rows = query(sql).bind(prefix).bind(behind).bind(after).bind(i64::try_from(most).unwrap_or(i64::MAX));
    rows.fetch_all(pool).await?.iter().map(line).collect()
}

pub(super) async fn detail(pool: &PgPool, id: &RequestId) -> Result<Option<RequestDetail>, sqlx::Error> {
    let sql = "SELECT r.seq, r.id, r.route, r.state, r.created, r.finished, r.failures, r.crashes, r.cancel, r.due, o.reason, \
               r.owner, b.headers, octet_length(b.body), substr(b.body, 1, $2), g.text, octet_length(o.result), \
               substr(o.result, 1, $2), \
               octet_length(o.error), substr(o.error, 1, $2), o.detail, r.priority, r.timeout, r.deadline, r.extras, \
               octet_length(k.value), k.saved \
               FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq LEFT JOIN request_body AS b ON b.seq = r.seq \
               LEFT JOIN registration AS g ON g.seq = r.seq LEFT JOIN checkpoint AS k ON k.request = r.seq WHERE r.id = $1";
    let row = query(sql).bind(id.as_str()).bind(excerpt_bytes()).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let headers = row.try_get::<Option<&[u8]>, _>(12)?.map(headers_from_bytes).unwrap_or_default();
    Ok(Some(RequestDetail {
        line: line(&row)?,
        terms: Terms { deadline: row.try_get::<Option<i64>, _>(23)?.map(Timestamp::from_micros), ..terms(&row, 21)? },
        extras: extras_with_trace(row.try_get(24)?, &headers),
        headers,
        payload: excerpt(&row, 13)?,
        registration: row.try_get::<Option<&str>, _>(15)?.and_then(registration_from_text),
        result: excerpt(&row, 16)?,
        error: excerpt(&row, 18)?,
        detail: row.try_get(20)?,
        checkpoint: checkpoint(&row, 25)?,
    }))
}

/// Reads the size of a checkpoint and the time when it was saved from these two columns.
fn checkpoint(row: &PgRow, column: usize) -> Result<Option<CheckpointLine>, sqlx::Error> {
    let Some(bytes) = row.try_get::<Option<i32>, _>(column)? else { return Ok(None) };
    let saved = row.try_get::<Option<i64>, _>(column + 1)?.map(Timestamp::from_micros);
    Ok(Some(CheckpointLine { bytes: u64::try_from(bytes).unwrap_or(0), saved }))
}

pub(super) async fn original(pool: &PgPool, id: &RequestId) -> Result<Option<Original>, sqlx::Error> {
    let sql = "SELECT r.route, r.state, b.headers, b.body, g.text, r.owner, r.priority, r.timeout, r.extras FROM request AS r \
               LEFT JOIN request_body AS b ON b.seq = r.seq LEFT JOIN registration AS g ON g.seq = r.seq WHERE r.id = $1";
    let row = query(sql).bind(id.as_str()).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let body = if row.try_get::<Option<&[u8]>, _>(3)?.is_some() { Some(blob(&row, 3)?) } else { None };
    let headers = row.try_get::<Option<&[u8]>, _>(2)?.map(headers_from_bytes).unwrap_or_default();
    Ok(Some(Original {
        route: row.try_get(0)?,
        status: status_of(request_state(&row, 1)?),
        owner: row.try_get::<&str, _>(5)?.into(),
        terms: terms(&row, 6)?,
        body,
        registration: row.try_get::<Option<&str>, _>(4)?.and_then(registration_from_text),
        extras: extras_with_trace(row.try_get(8)?, &headers),
        headers,
    }))
}

pub(super) fn excerpt_bytes() -> i32 {
    i32::try_from(EXCERPT).unwrap_or(i32::MAX)
}

/// Reads the length of a text from this column, and the first part of the text from the next column.
pub(super) fn excerpt(row: &PgRow, column: usize) -> Result<Option<Excerpt>, sqlx::Error> {
    let Some(len) = row.try_get::<Option<i32>, _>(column)? else { return Ok(None) };
    Ok(Some(Excerpt { len: u64::try_from(len).unwrap_or(0), start: blob(row, column + 1)? }))
}

/// Reads the terms from these two columns. The time until which the first run must begin is over or does not matter.
fn terms(row: &PgRow, column: usize) -> Result<Terms, sqlx::Error> {
    let timeout = row.try_get::<Option<i64>, _>(column + 1)?.map(took);
    Ok(Terms { priority: priority(row, column)?, timeout, ..Terms::default() })
}

fn line(row: &PgRow) -> Result<RequestLine, sqlx::Error> {
    let state = request_state(row, 3)?;
    let time = |column| row.try_get::<Option<i64>, _>(column).map(|time| time.map(Timestamp::from_micros));
    let reason = row.try_get::<Option<&str>, _>(10)?.map(reason_from_text).transpose()?;
    Ok(RequestLine {
        seq: u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0),
        id: RequestId::stored(row.try_get(1)?),
        route: row.try_get(2)?,
        status: status_of(state),
        reason: reason.map(|(reason, _)| reason),
        owner: row.try_get::<&str, _>(11)?.into(),
        created: Timestamp::from_micros(row.try_get(4)?),
        finished: time(5)?,
        due: time(9)?.filter(|_| state == RequestState::Queued),
        failures: small(row, 6)?,
        crashes: small(row, 7)?,
        cancelling: state == RequestState::Running && row.try_get(8)?,
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
