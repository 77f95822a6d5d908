//! Reads from the database. One statement reads the whole of an answer, so the answer shows one moment.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use sqlx::PgExecutor;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use tokio::sync::Semaphore;

use super::codec::{
    blob, count, extras_with_trace, headers_from_bytes, reason_from_text, registration_from_text, report_id,
    report_state, request_state, small, storable, webhook_id,
};
use super::connect::READERS;
use super::failure::answer;
use super::ops::TRUST;
use super::statement::{query, query_scalar};
use super::{idempotency, list, progress, summary, timeline, tokens};
use crate::audit::AuditRecord;
use crate::backend::{Cause, Left, Reader};
use crate::backlog::Count;
use crate::cancel::{CancelView, Phase};
use crate::clock::{Now, Trust};
use crate::handoff::Waiting;
use crate::list::{Cursor, ListFilter, Page};
use crate::progress::Progress;
use crate::record::{
    Attempt, Counts, DeliveryRecord, DeliveryState, Disabled, NewRequest, Owner, RequestRecord, RequestState, Submitted,
};
use crate::sql::states::{ReportState, RequestState as State, sql};
use crate::summary::{Member, Summary};
use crate::timeline::Timeline;
use crate::tokens::TokenRecord;
use postback_wire::id::RequestId;
use postback_wire::report::{Json, Outcome, Status};
use postback_wire::time::Timestamp;

pub(super) struct Rows {
    pool: PgPool,
    /// The number of the row of this process in the table `node`.
    node: i64,
    /// Limits the number of readers that read pieces of large rows at the same time. A read of a piece takes long, so
    /// some readers are reserved for other reads.
    pieces: Semaphore,
}

impl Rows {
    pub(super) fn new(pool: PgPool, node: i64) -> Self {
        Self { pool, node, pieces: Semaphore::new(READERS as usize / 2) }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn node(&self) -> i64 {
        self.node
    }

    async fn piece(&self, id: &RequestId, member: Member, at: usize, len: usize) -> Result<Option<Bytes>, sqlx::Error> {
        // Invariant: the call cannot fail, because the semaphore is never closed.
        let _turn = self.pieces.acquire().await;
        summary::piece(&self.pool, id, member, at, len).await
    }

    async fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, sqlx::Error> {
        let sql = "SELECT r.route, r.state, r.finished, o.reason, o.result, o.error, o.detail, r.owner \
                   FROM request r LEFT JOIN outcome o ON o.seq = r.seq WHERE r.id = $1";
        let row = query(sql).bind(id.as_str()).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let state = request_state(&row, 1)?;
        let state = match (state, state.status()) {
            (State::Queued, _) => RequestState::Queued,
            (_, None) => RequestState::Running,
            (_, Some(status)) => RequestState::Settled(outcome(&row, status)?),
        };
        let owner = row.try_get::<&str, _>(7)?.into();
        Ok(Some(RequestRecord { id: id.clone(), route: row.try_get(0)?, owner, state }))
    }

    async fn cancel_view(&self, id: &RequestId) -> Result<Option<CancelView>, sqlx::Error> {
        let sql = "SELECT r.route, r.state, r.epoch, g.text, coalesce(octet_length(b.headers) + octet_length(b.body), 0)::bigint, \
                   r.cancel, r.owner, r.extras, b.headers \
                   FROM request r LEFT JOIN registration g ON g.seq = r.seq LEFT JOIN request_body b ON b.seq = r.seq \
                   WHERE r.id = $1";
        let row = query(sql).bind(id.as_str()).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let phase = match request_state(&row, 1)? {
            State::Queued => {
                let registration = row.try_get::<Option<&str>, _>(3)?.and_then(registration_from_text);
                let bytes = count(&row, 4)?;
                Phase::Queued { epoch: small(&row, 2)?, registration, bytes }
            }
            State::Running => Phase::Running { cancelled: row.try_get(5)? },
            State::Completed | State::Failed | State::Cancelled => Phase::Settled,
        };
        let headers = row.try_get::<Option<&[u8]>, _>(8)?.map(headers_from_bytes).unwrap_or_default();
        let (owner, extras) = (row.try_get::<&str, _>(6)?.into(), extras_with_trace(row.try_get(7)?, &headers));
        Ok(Some(CancelView { route: row.try_get(0)?, owner, extras, phase }))
    }

    async fn unregistered(&self, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, sqlx::Error> {
        let sql = sql!(
            "SELECT b.headers, b.body FROM request r JOIN request_body b ON b.seq = r.seq \
                   LEFT JOIN registration g ON g.seq = r.seq \
                   WHERE r.id = $1 AND r.route = $2 AND r.state = {queued} AND g.seq IS NULL"
        );
        let row = query(sql).bind(id.as_str()).bind(route).fetch_optional(&self.pool).await?;
        row.map(|row| Ok((headers_from_bytes(row.try_get(0)?), blob(&row, 1)?))).transpose()
    }

    async fn deliveries(&self, subject: &str) -> Result<Vec<DeliveryRecord>, sqlx::Error> {
        let sql = "SELECT r.id, b.url, r.state, r.attempt, r.due, r.refused, a.started, a.took, a.status, a.error, a.response, \
                   b.webhook_id FROM report r JOIN report_body b ON b.seq = r.seq LEFT JOIN LATERAL \
                   (SELECT * FROM attempt WHERE report = r.seq ORDER BY n DESC LIMIT 1) AS a ON true \
                   WHERE r.subject = $1 ORDER BY r.seq LIMIT 100";
        let rows = query(sql).bind(storable(subject)).fetch_all(&self.pool).await?;
        rows.iter().map(delivery).collect()
    }

    async fn parked_origins(&self) -> Result<Vec<String>, sqlx::Error> {
        // The statement uses an index to go from one origin to the next, so its cost does not depend on the number of
        // parked reports.
        let sql = sql!(
            "WITH RECURSIVE parked (origin) AS \
                   (SELECT min(origin) FROM report WHERE state = {parked} \
                    UNION ALL SELECT (SELECT min(origin) FROM report WHERE state = {parked} AND origin > parked.origin) \
                    FROM parked WHERE parked.origin IS NOT NULL) \
                   SELECT origin FROM parked WHERE origin IS NOT NULL"
        );
        query_scalar(sql).fetch_all(&self.pool).await
    }

    async fn disabled(&self) -> Result<Vec<Disabled>, sqlx::Error> {
        let sql = "SELECT url, since, reason, by_operator FROM disabled ORDER BY since, url";
        let rows = query(sql).fetch_all(&self.pool).await?;
        let one = |row: &PgRow| {
            let since = Timestamp::from_micros(row.try_get(1)?);
            Ok(Disabled { url: row.try_get(0)?, since, reason: row.try_get(2)?, by_operator: row.try_get(3)? })
        };
        rows.iter().map(one).collect()
    }

    async fn counts(&self) -> Result<Counts, sqlx::Error> {
        // Each part counts the entries of one index.
        let sql = sql!(
            "SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later GROUP BY route \
             UNION ALL SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes = 0 AND later \
             GROUP BY route \
             UNION ALL SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes > 0 GROUP BY route \
             UNION ALL SELECT 1, NULL, count(*) FROM request WHERE state = {running} \
             UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {pending} \
             UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {parked} \
             UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {held} \
             UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {delivering}"
        );
        let mut counts = Counts::default();
        for row in query(sql).fetch_all(&self.pool).await? {
            let count = count(&row, 2)?;
            match row.try_get::<i32, _>(0)? {
                0 => *counts.queued.entry(row.try_get(1)?).or_default() += count,
                1 => counts.running += count,
                _ => counts.undelivered += count,
            }
        }
        Ok(counts)
    }
}

/// Reads the data that earlier processes left in the database. If no other node lives, counts the rows that the earlier
/// processes had claimed as waiting, because the recovery makes them wait again.
pub(super) async fn left(conn: &mut PgConnection, alone: bool, wall: Timestamp) -> Result<Left, sqlx::Error> {
    let (mut waiting, mut left) = (Waiting::default(), Left::default());
    for line in waiting_lines(&mut *conn, alone).await? {
        let first = waiting.requests.entry(line.route.clone()).or_insert(line.due);
        *first = line.due.min(*first);
        line.add_to(&mut left.backlog, &mut left.owners);
    }
    let sql = sql!(
        "SELECT least((SELECT min(due) FROM report WHERE state = {pending}), \
                      (SELECT min(due) FROM report WHERE state = {delivering} AND $1))"
    );
    let due: Option<i64> = query_scalar(sql).bind(alone).fetch_one(&mut *conn).await?;
    waiting.reports = due.map(Timestamp::from_micros);
    let disabled = query("SELECT url, by_operator FROM disabled").fetch_all(&mut *conn).await?;
    let disabled = disabled.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let disabled = disabled.collect::<Result<_, sqlx::Error>>()?;
    let clocks = if alone { last_clocks(conn).await? } else { common_clocks(conn, wall).await? };
    let trust: Option<String> =
        query_scalar("SELECT value FROM meta WHERE key = $1").bind(TRUST).fetch_optional(conn).await?;
    let trust = trust.and_then(|text| Trust::from_text(&text));
    Ok(Left { waiting, disabled, clocks, trust, ..left })
}

/// How many requests of one route and one owner wait.
pub(super) struct WaitingLine {
    route: String,
    owner: Owner,
    count: Count,
    /// The first due time of these requests.
    due: Timestamp,
}

impl WaitingLine {
    pub(super) fn add_to(self, routes: &mut HashMap<String, Count>, owners: &mut HashMap<Owner, Count>) {
        for sum in [routes.entry(self.route).or_default(), owners.entry(self.owner).or_default()] {
            sum.rows += self.count.rows;
            sum.bytes += self.count.bytes;
        }
    }
}

/// Counts the waiting requests. A route and an owner may have several lines. `claimed_too` counts the claimed requests, too.
pub(super) async fn waiting_lines(db: impl PgExecutor<'_>, claimed_too: bool) -> Result<Vec<WaitingLine>, sqlx::Error> {
    // PostgreSQL knows the length of a value without reading the value.
    let sql = sql!(
        "SELECT r.route, r.owner, count(*), sum(octet_length(b.headers) + octet_length(b.body)), min(r.due) \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.state = {queued} AND r.crashes = 0 AND NOT r.later GROUP BY r.route, r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(octet_length(b.headers) + octet_length(b.body)), min(r.due) \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.state = {queued} AND r.crashes = 0 AND r.later GROUP BY r.route, r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(octet_length(b.headers) + octet_length(b.body)), min(r.due) \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.state = {queued} AND r.crashes > 0 GROUP BY r.route, r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(octet_length(b.headers) + octet_length(b.body)), min(r.due) \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.state = {running} AND $1 GROUP BY r.route, r.owner"
    );
    let one = |row: &PgRow| {
        let (route, owner) = (row.try_get(0)?, row.try_get::<&str, _>(1)?.into());
        let count = Count { rows: count(row, 2)?, bytes: count(row, 3)? };
        Ok(WaitingLine { route, owner, count, due: Timestamp::from_micros(row.try_get(4)?) })
    };
    query(sql).bind(claimed_too).fetch_all(db).await?.iter().map(one).collect()
}

/// Returns the times of both clocks at the last commit.
async fn last_clocks(conn: &mut PgConnection) -> Result<Option<Now>, sqlx::Error> {
    let sql = "SELECT wall, due FROM node WHERE wall IS NOT NULL AND due IS NOT NULL ORDER BY seq DESC LIMIT 1";
    let Some(row) = query(sql).fetch_optional(conn).await? else { return Ok(None) };
    let (wall, due) = (Timestamp::from_micros(row.try_get(0)?), Timestamp::from_micros(row.try_get(1)?));
    Ok(Some(Now { wall, due }))
}

/// Returns what the store's own time of the living nodes is now, when the wall clock of this process shows `wall`. The
/// clock of the server tells how much time has passed since the last commit of a node.
async fn common_clocks(conn: &mut PgConnection, wall: Timestamp) -> Result<Option<Now>, sqlx::Error> {
    let sql = "SELECT due + (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - seen FROM node \
               WHERE NOT is_over AND seen IS NOT NULL AND due IS NOT NULL ORDER BY seq LIMIT 1";
    let due: Option<i64> = query_scalar(sql).fetch_optional(&mut *conn).await?;
    match due {
        Some(due) => Ok(Some(Now { wall, due: Timestamp::from_micros(due) })),
        None => last_clocks(conn).await,
    }
}

fn outcome(row: &PgRow, status: Status) -> Result<Outcome, sqlx::Error> {
    let json = |column| row.try_get::<Option<Vec<u8>>, _>(column).map(|bytes| bytes.map(Json::stored));
    let (reason, tells_reason) = reason_from_text(row.try_get(3)?)?;
    Ok(Outcome {
        status,
        reason,
        tells_reason,
        result: json(4)?,
        error: json(5)?,
        detail: row.try_get(6)?,
        finished: Timestamp::from_micros(row.try_get(2)?),
    })
}

pub(super) fn delivery(row: &PgRow) -> Result<DeliveryRecord, sqlx::Error> {
    let stored = report_state(row, 2)?;
    let state = stored.shown();
    let due = Timestamp::from_micros(row.try_get(4)?);
    let last = match row.try_get::<Option<i64>, _>(6)? {
        None => None,
        Some(started) => Some(Attempt {
            started: Timestamp::from_micros(started),
            took: Duration::from_micros(u64::try_from(row.try_get::<i64, _>(7)?).unwrap_or(0)),
            status: row.try_get::<Option<i16>, _>(8)?.and_then(|status| u16::try_from(status).ok()),
            error: row.try_get(9)?,
            response: blob(row, 10)?,
        }),
    };
    let id = report_id(row, 0)?;
    Ok(DeliveryRecord {
        id,
        webhook_id: webhook_id(row, 11, id)?,
        url: row.try_get(1)?,
        state,
        attempts: small(row, 3)?,
        next_due: (state == DeliveryState::Pending && stored != ReportState::Held).then_some(due),
        last,
        refused: row.try_get(5)?,
    })
}

impl Reader for Rows {
    fn request<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestRecord>, Cause>> {
        answer(self.request(id))
    }

    fn accepted<'a>(&'a self, request: &'a NewRequest) -> BoxFuture<'a, Result<Option<Submitted>, Cause>> {
        answer(idempotency::accepted(&self.pool, request))
    }

    fn summary<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Summary>, Cause>> {
        answer(summary::summary(&self.pool, id))
    }

    fn timeline<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Timeline>, Cause>> {
        answer(timeline::timeline(&self.pool, id))
    }

    fn checkpoint<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        answer(progress::checkpoint(&self.pool, id))
    }

    fn progress<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Progress>, Cause>> {
        answer(progress::progress(&self.pool, id))
    }

    fn piece<'a>(
        &'a self,
        id: &'a RequestId,
        member: Member,
        at: usize,
        len: usize,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        answer(self.piece(id, member, at, len))
    }

    fn cancel_view<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<CancelView>, Cause>> {
        answer(self.cancel_view(id))
    }

    fn unregistered<'a>(
        &'a self,
        id: &'a RequestId,
        route: &'a str,
    ) -> BoxFuture<'a, Result<Option<(HeaderMap, Bytes)>, Cause>> {
        answer(self.unregistered(id, route))
    }

    fn deliveries<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRecord>, Cause>> {
        answer(self.deliveries(subject))
    }

    fn list<'a>(
        &'a self,
        route: &'a str,
        owner: &'a str,
        filter: &'a ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Cause>> {
        answer(list::list(&self.pool, route, owner, filter, after, limit))
    }

    fn parked_origins(&self) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        answer(self.parked_origins())
    }

    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, Cause>> {
        answer(self.disabled())
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, Cause>> {
        answer(self.counts())
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, Cause>> {
        answer(tokens::tokens(&self.pool))
    }

    fn token_uses(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        answer(tokens::token_uses(&self.pool))
    }

    fn ticks(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        answer(tokens::ticks(&self.pool))
    }

    fn audited(&self, before: i64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, Cause>> {
        answer(tokens::audited(&self.pool, before, limit))
    }
}
