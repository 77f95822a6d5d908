//! Lists of deliveries, and the counts of reports that are parked or held.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::requests::{excerpt, excerpt_bytes};
use super::{Range, end, limit, most_scanned, number, page};
use crate::overview::{
    DeliveryDetail, DeliveryFilter, DeliveryLine, DeliveryStatus, FirstDue, MOST_ATTEMPTS, MOST_COUNTED, Page, took,
};
use crate::postgres::codec::{blob, report_state, small, uuid};
use crate::postgres::read::delivery;
use crate::postgres::statement::{query, query_scalar};
use crate::record::Attempt;
use crate::sql::states::{ReportState, sql};
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

pub(super) async fn list(
    pool: &PgPool,
    filter: &DeliveryFilter,
    before: u64,
    most: usize,
) -> Result<Page<DeliveryLine>, sqlx::Error> {
    let DeliveryFilter { status, url, subject, since, until } = filter;
    let made = "SELECT seq, created FROM report WHERE seq <= $1 ORDER BY seq DESC LIMIT 1";
    let before = end(pool, made, before, *until).await?;
    let floor = match subject {
        _ if status.is_none() && url.is_none() => None,
        Some(subject) => {
            let sql = "SELECT seq FROM report WHERE subject = $3 AND seq < $1 ORDER BY seq DESC LIMIT 1 OFFSET $2";
            query_scalar(sql).bind(before).bind(most_scanned() - 1).bind(subject).fetch_optional(pool).await?
        }
        None => {
            let sql = "SELECT seq FROM report WHERE seq < $1 ORDER BY seq DESC LIMIT 1 OFFSET $2";
            query_scalar(sql).bind(before).bind(most_scanned() - 1).fetch_optional(pool).await?
        }
    };
    let range = Range::new(before, floor).since(pool, made, *since).await?;
    let sql = match subject {
        Some(_) => {
            "SELECT r.id, b.url, r.state, r.attempt, r.due, r.refused, a.started, a.took, a.status, a.error, a.response, \
             b.webhook_id, r.seq, r.subject, r.created, r.finished FROM report AS r \
             LEFT JOIN report_body AS b ON b.seq = r.seq LEFT JOIN LATERAL \
             (SELECT * FROM attempt WHERE report = r.seq ORDER BY n DESC LIMIT 1) AS a ON true \
             WHERE r.subject = $9 AND r.seq < $1 AND r.seq >= $2 AND ($3::bigint IS NULL OR r.state BETWEEN $3 AND $4) \
             AND ($5::text IS NULL OR starts_with(b.url, $5)) \
             AND ($6::bigint IS NULL OR r.created >= $6) AND ($7::bigint IS NULL OR r.created < $7) ORDER BY r.seq DESC LIMIT $8"
        }
        None => {
            "SELECT r.id, b.url, r.state, r.attempt, r.due, r.refused, a.started, a.took, a.status, a.error, a.response, \
             b.webhook_id, r.seq, r.subject, r.created, r.finished FROM report AS r \
             LEFT JOIN report_body AS b ON b.seq = r.seq LEFT JOIN LATERAL \
             (SELECT * FROM attempt WHERE report = r.seq ORDER BY n DESC LIMIT 1) AS a ON true \
             WHERE $9::text IS NULL AND r.seq < $1 AND r.seq >= $2 AND ($3::bigint IS NULL OR r.state BETWEEN $3 AND $4) \
             AND ($5::text IS NULL OR starts_with(b.url, $5)) \
             AND ($6::bigint IS NULL OR r.created >= $6) AND ($7::bigint IS NULL OR r.created < $7) ORDER BY r.seq DESC LIMIT $8"
        }
    };
    let (from, to) = status.map(codes).unzip();
    let rows = query(sql).bind(range.before).bind(range.floor).bind(from).bind(to).bind(url.as_deref());
    let rows = rows.bind(since.map(Timestamp::micros)).bind(until.map(Timestamp::micros)).bind(limit(most));
    let rows = rows.bind(subject.as_deref()).fetch_all(pool).await?;
    let lines = rows.iter().map(line).collect::<Result<_, _>>()?;
    Ok(page(lines, most, range, |line: &DeliveryLine| line.seq))
}

pub(super) async fn detail(pool: &PgPool, id: ReportId) -> Result<Option<DeliveryDetail>, sqlx::Error> {
    let sql = "SELECT r.id, b.url, r.state, r.attempt, r.due, r.refused, a.started, a.took, a.status, a.error, a.response, \
               b.webhook_id, r.seq, r.subject, r.created, r.finished, octet_length(b.body), substr(b.body, 1, $2) \
               FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq LEFT JOIN LATERAL \
               (SELECT * FROM attempt WHERE report = r.seq ORDER BY n DESC LIMIT 1) AS a ON true WHERE r.id = $1";
    let row = query(sql).bind(uuid(id)).bind(excerpt_bytes()).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let line = line(&row)?;
    let sql =
        "SELECT n, started, took, status, error, response FROM attempt WHERE report = $1 ORDER BY n DESC LIMIT $2";
    let most = i64::try_from(MOST_ATTEMPTS).unwrap_or(i64::MAX);
    let rows = query(sql).bind(number(line.seq)).bind(most).fetch_all(pool).await?;
    let attempts = rows.iter().rev().map(attempt).collect::<Result<_, _>>()?;
    Ok(Some(DeliveryDetail { line, body: excerpt(&row, 16)?, attempts }))
}

pub(super) async fn parked_counts(pool: &PgPool, after: &str, most: usize) -> Result<Vec<(String, u64)>, sqlx::Error> {
    // As in `parked_origins`, an index leads from one name to the next.
    let sql = sql!(
        "WITH RECURSIVE parked (origin) AS \
               (SELECT min(origin) FROM report WHERE state = {parked} AND origin > $1 \
                UNION ALL SELECT (SELECT min(origin) FROM report WHERE state = {parked} AND origin > parked.origin) \
                FROM parked WHERE parked.origin IS NOT NULL) \
               SELECT origin, (SELECT count(*) FROM (SELECT 1 FROM report AS r WHERE r.state = {parked} \
               AND r.origin = parked.origin LIMIT $3) AS x) FROM parked WHERE origin IS NOT NULL LIMIT $2"
    );
    let rows = query(sql).bind(after).bind(i64::try_from(most).unwrap_or(i64::MAX)).bind(number(MOST_COUNTED));
    let rows = rows.fetch_all(pool).await?;
    let one = |row: &PgRow| Ok((row.try_get(0)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)));
    rows.iter().map(one).collect()
}

pub(super) async fn held_count(pool: &PgPool, url: &str) -> Result<u64, sqlx::Error> {
    let sql = sql!(
        "SELECT count(*) FROM (SELECT 1 FROM report WHERE state = {held} \
         AND held = (SELECT seq FROM disabled WHERE url = $1) LIMIT $2) AS x"
    );
    let count: i64 = query_scalar(sql).bind(url).bind(number(MOST_COUNTED)).fetch_one(pool).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns what waits, and since when.
pub(super) async fn first_due(pool: &PgPool) -> Result<FirstDue, sqlx::Error> {
    // Each part reads one index, which has the rows that wait and nothing else.
    let sql = sql!(
        "SELECT 0, route, min(due) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later GROUP BY route \
         UNION ALL SELECT 0, route, min(due) FROM request WHERE state = {queued} AND crashes = 0 AND later GROUP BY route \
         UNION ALL SELECT 0, route, min(due) FROM request WHERE state = {queued} AND crashes > 0 GROUP BY route \
         UNION ALL SELECT 1, NULL, min(due) FROM report WHERE state = {pending} \
         UNION ALL SELECT 1, NULL, min(due) FROM report WHERE state = {delivering} \
         UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {parked} \
         UNION ALL SELECT 3, NULL, count(*) FROM report WHERE state = {held}"
    );
    let mut first = FirstDue::default();
    for row in query(sql).fetch_all(pool).await? {
        first.add(row.try_get::<i32, _>(0)?.into(), row.try_get(1)?, row.try_get(2)?);
    }
    Ok(first)
}

/// Returns the least and the greatest code of the states that a filter selects.
fn codes(status: DeliveryStatus) -> (i64, i64) {
    let (first, last) = match status {
        DeliveryStatus::Pending => (ReportState::Held, ReportState::Pending),
        DeliveryStatus::Parked => (ReportState::Parked, ReportState::Parked),
        DeliveryStatus::Held => (ReportState::Held, ReportState::Held),
        DeliveryStatus::Delivering => (ReportState::Delivering, ReportState::Delivering),
        DeliveryStatus::Delivered => (ReportState::Delivered, ReportState::Delivered),
        DeliveryStatus::Dead => (ReportState::Dead, ReportState::Dead),
        DeliveryStatus::Refused => (ReportState::Refused, ReportState::Refused),
        DeliveryStatus::Gone => (ReportState::Gone, ReportState::Gone),
    };
    (first.code(), last.code())
}

/// Reads a line. The first columns are those of [`delivery`]. Then come `seq, subject, created, finished`.
fn line(row: &PgRow) -> Result<DeliveryLine, sqlx::Error> {
    let status = match report_state(row, 2)? {
        ReportState::Held => DeliveryStatus::Held,
        ReportState::Parked => DeliveryStatus::Parked,
        ReportState::Pending => DeliveryStatus::Pending,
        ReportState::Delivering => DeliveryStatus::Delivering,
        ReportState::Delivered => DeliveryStatus::Delivered,
        ReportState::Dead => DeliveryStatus::Dead,
        ReportState::Refused => DeliveryStatus::Refused,
        ReportState::Gone => DeliveryStatus::Gone,
    };
    Ok(DeliveryLine {
        seq: u64::try_from(row.try_get::<i64, _>(12)?).unwrap_or(0),
        subject: row.try_get(13)?,
        status,
        created: Timestamp::from_micros(row.try_get(14)?),
        finished: row.try_get::<Option<i64>, _>(15)?.map(Timestamp::from_micros),
        record: delivery(row)?,
    })
}

fn attempt(row: &PgRow) -> Result<(u32, Attempt), sqlx::Error> {
    let attempt = Attempt {
        started: Timestamp::from_micros(row.try_get(1)?),
        took: took(row.try_get(2)?),
        status: row.try_get::<Option<i16>, _>(3)?.and_then(|status| u16::try_from(status).ok()),
        error: row.try_get(4)?,
        response: blob(row, 5)?,
    };
    Ok((small(row, 0)?, attempt))
}
