//! Reads from the database. One statement reads the whole of an answer, so the answer shows one moment.

use rusqlite::Connection;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::Semaphore;

use super::codec::{
    blob, extras_with_trace, headers_from_bytes, reason_from_text, registration_from_text, report_id, report_state,
    request_state, small, webhook_id,
};
use super::connect::READERS;
use super::keys::Fresh;
use super::ops::TRUST;
use super::readers::Readers;
use super::statement::{Row, query, query_scalar};
use super::states::{ReportState, RequestState as State, sql};
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
use crate::summary::{Member, Summary};
use crate::timeline::Timeline;
use crate::tokens::TokenRecord;
use postback_wire::id::RequestId;
use postback_wire::report::{Json, Outcome, Status};
use postback_wire::time::Timestamp;

/// Reads of committed rows.
pub(super) struct Rows {
    readers: Readers,
    /// Limits the number of readers that read pieces of large rows at the same time. A read of a piece takes long, so
    /// some readers are reserved for other reads.
    pieces: Semaphore,
    keys: Fresh,
}

impl Rows {
    pub(super) fn new(readers: Readers, keys: Fresh) -> Self {
        Self { readers, pieces: Semaphore::new(READERS / 2), keys }
    }

    /// Runs a read on a connection that reads.
    pub(super) fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Cause>> {
        self.readers.run(read).boxed()
    }
}

fn request(conn: &Connection, id: &RequestId) -> Result<Option<RequestRecord>, rusqlite::Error> {
    let sql = "SELECT r.route, r.state, r.finished, o.reason, o.result, o.error, o.detail, r.owner \
               FROM request r LEFT JOIN outcome o ON o.seq = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let state = request_state(&row, 1)?;
    let state = match (state, state.status()) {
        (State::Queued, _) => RequestState::Queued,
        (_, None) => RequestState::Running,
        (_, Some(status)) => RequestState::Settled(outcome(&row, status)?),
    };
    let owner = row.try_get::<&str>(7)?.into();
    Ok(Some(RequestRecord { id: id.clone(), route: row.try_get(0)?, owner, state }))
}

fn cancel_view(conn: &Connection, id: &RequestId) -> Result<Option<CancelView>, rusqlite::Error> {
    let sql = "SELECT r.route, r.state, r.epoch, coalesce(g.text, b.registration), coalesce(length(b.headers) + length(b.body), 0), \
               r.cancel, r.owner, r.extras, b.headers \
               FROM request r LEFT JOIN registration g ON g.seq = r.seq LEFT JOIN request_body b ON b.seq = r.seq \
               WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let phase = match request_state(&row, 1)? {
        State::Queued => {
            let registration = row.try_get::<Option<&str>>(3)?.and_then(registration_from_text);
            let bytes = u64::try_from(row.try_get::<i64>(4)?).unwrap_or(0);
            Phase::Queued { epoch: small(&row, 2)?, registration, bytes }
        }
        State::Running => Phase::Running { cancelled: row.try_get::<i64>(5)? != 0 },
        State::Completed | State::Failed | State::Cancelled => Phase::Settled,
    };
    let headers = row.try_get::<Option<&[u8]>>(8)?.map(headers_from_bytes).unwrap_or_default();
    let (owner, extras) = (row.try_get::<&str>(6)?.into(), extras_with_trace(row.try_get(7)?, &headers));
    Ok(Some(CancelView { route: row.try_get(0)?, owner, extras, phase }))
}

fn unregistered(conn: &Connection, id: &RequestId, route: &str) -> Result<Option<(HeaderMap, Bytes)>, rusqlite::Error> {
    let sql = sql!(
        "SELECT b.headers, b.body FROM request r JOIN request_body b ON b.seq = r.seq \
               LEFT JOIN registration g ON g.seq = r.seq \
               WHERE r.id = ?1 AND r.route = ?2 AND r.state = {queued} AND coalesce(g.text, b.registration) IS NULL"
    );
    let row = query(sql).bind(id.as_str()).bind(route).fetch_optional(conn)?;
    row.map(|row| Ok((headers_from_bytes(row.try_get(0)?), blob(&row, 1)?))).transpose()
}

fn deliveries(conn: &Connection, subject: &str) -> Result<Vec<DeliveryRecord>, rusqlite::Error> {
    let sql = "SELECT r.id, b.url, r.state, r.attempt, r.due, r.refused, a.started, a.took, a.status, a.error, a.response, \
               b.webhook_id FROM report r JOIN report_body b ON b.seq = r.seq LEFT JOIN attempt a \
               ON a.report = r.seq AND a.n = (SELECT max(n) FROM attempt WHERE report = r.seq) \
               WHERE r.subject = ?1 ORDER BY r.seq LIMIT 100";
    let rows = query(sql).bind(subject).fetch_all(conn)?;
    rows.iter().map(delivery).collect()
}

fn parked_origins(conn: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    // The statement uses an index to go from one origin to the next, so its cost does not depend on the number of
    // parked reports.
    let sql = sql!(
        "WITH RECURSIVE parked (origin) AS \
               (SELECT min(origin) FROM report WHERE state = {parked} \
                UNION ALL SELECT (SELECT min(origin) FROM report WHERE state = {parked} AND origin > parked.origin) \
                FROM parked WHERE parked.origin IS NOT NULL) \
               SELECT origin FROM parked WHERE origin IS NOT NULL"
    );
    query_scalar(sql).fetch_all(conn)
}

fn disabled(conn: &Connection) -> Result<Vec<Disabled>, rusqlite::Error> {
    let sql = "SELECT url, since, reason, by_operator FROM disabled ORDER BY since, url";
    let rows = query(sql).fetch_all(conn)?;
    let one = |row: &Row| {
        let since = Timestamp::from_micros(row.try_get(1)?);
        Ok(Disabled { url: row.try_get(0)?, since, reason: row.try_get(2)?, by_operator: row.try_get(3)? })
    };
    rows.iter().map(one).collect()
}

fn counts(conn: &Connection) -> Result<Counts, rusqlite::Error> {
    // Indexes have the rows that wait and nothing else, so they are counted there.
    let sql = sql!(
        "SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 GROUP BY route \
         UNION ALL SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes = 0 AND later = 1 GROUP BY route \
         UNION ALL SELECT 0, route, count(*) FROM request WHERE state = {queued} AND crashes > 0 GROUP BY route \
         UNION ALL SELECT 1, NULL, count(*) FROM request WHERE state = {running} \
         UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {pending} \
         UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {parked} \
         UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {held} \
         UNION ALL SELECT 2, NULL, count(*) FROM report WHERE state = {delivering}"
    );
    let mut counts = Counts::default();
    for row in query(sql).fetch_all(conn)? {
        let count = u64::try_from(row.try_get::<i64>(2)?).unwrap_or(0);
        match row.try_get::<i64>(0)? {
            0 => *counts.queued.entry(row.try_get(1)?).or_default() += count,
            1 => counts.running += count,
            _ => counts.undelivered += count,
        }
    }
    Ok(counts)
}

/// Reads the data that an earlier process left in the database. Counts the rows that the earlier process had claimed as
/// waiting, because the recovery makes them wait again.
pub(super) fn left(conn: &Connection) -> Result<Left, rusqlite::Error> {
    // The statement has a part for each index of waiting requests, and reads those indexes alone.
    let sql = sql!(
        "SELECT route, min(due) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 GROUP BY route \
         UNION ALL SELECT route, min(due) FROM request WHERE state = {queued} AND crashes = 0 AND later = 1 GROUP BY route \
         UNION ALL SELECT route, min(due) FROM request WHERE state = {queued} AND crashes > 0 GROUP BY route \
         UNION ALL SELECT route, min(due) FROM request WHERE state = {running} GROUP BY route"
    );
    let mut waiting = Waiting::default();
    for row in query(sql).fetch_all(conn)? {
        let due = Timestamp::from_micros(row.try_get(1)?);
        let first = waiting.requests.entry(row.try_get(0)?).or_insert(due);
        *first = due.min(*first);
    }
    let sql = sql!(
        "SELECT min(due) FROM (SELECT min(due) AS due FROM report WHERE state = {pending} \
               UNION ALL SELECT min(due) AS due FROM report WHERE state = {delivering})"
    );
    let due: Option<i64> = query_scalar(sql).fetch_one(conn)?;
    waiting.reports = due.map(Timestamp::from_micros);
    let disabled = query("SELECT url, by_operator FROM disabled").fetch_all(conn)?;
    let disabled = disabled.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let disabled = disabled.collect::<Result<_, rusqlite::Error>>()?;
    let row = query("SELECT wall, due FROM progress").fetch_one(conn)?;
    let clocks = row.try_get::<Option<i64>>(0)?.zip(row.try_get(1)?);
    let now = |(wall, due)| Now { wall: Timestamp::from_micros(wall), due: Timestamp::from_micros(due) };
    let trust: Option<String> =
        query_scalar("SELECT value FROM meta WHERE key = ?1").bind(TRUST).fetch_optional(conn)?;
    let trust = trust.and_then(|text| Trust::from_text(&text));
    Ok(Left { waiting, disabled, clocks: clocks.map(now), trust, ..Left::default() })
}

/// What waits, by route and by owner.
type Backlogs = (HashMap<String, Count>, HashMap<Owner, Count>);

/// Returns the number of waiting requests of each route, and of each owner. Counts the requests that the earlier process
/// was running as waiting, because the recovery makes them wait again.
pub(super) fn backlog(conn: &Connection) -> Result<Backlogs, rusqlite::Error> {
    // The statement computes sizes cheaply, because SQLite knows the length of a blob without reading the blob. The plus
    // signs keep SQLite from grouping by an index of all requests.
    let sql = sql!(
        "SELECT r.route, r.owner, count(*), sum(length(b.headers) + length(b.body)) \
               FROM request AS r CROSS JOIN request_body AS b \
               WHERE b.seq = r.seq AND r.state = {queued} AND r.crashes = 0 AND r.later = 0 GROUP BY +r.route, +r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(length(b.headers) + length(b.body)) \
               FROM request AS r CROSS JOIN request_body AS b \
               WHERE b.seq = r.seq AND r.state = {queued} AND r.crashes = 0 AND r.later = 1 GROUP BY +r.route, +r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(length(b.headers) + length(b.body)) \
               FROM request AS r CROSS JOIN request_body AS b \
               WHERE b.seq = r.seq AND r.state = {queued} AND r.crashes > 0 GROUP BY +r.route, +r.owner \
               UNION ALL SELECT r.route, r.owner, count(*), sum(length(b.headers) + length(b.body)) \
               FROM request AS r CROSS JOIN request_body AS b \
               WHERE b.seq = r.seq AND r.state = {running} GROUP BY +r.route, +r.owner"
    );
    let (mut routes, mut owners) = (HashMap::<String, Count>::new(), HashMap::<Owner, Count>::new());
    for row in query(sql).fetch_all(conn)? {
        let rows = u64::try_from(row.try_get::<i64>(2)?).unwrap_or(0);
        let bytes = u64::try_from(row.try_get::<i64>(3)?).unwrap_or(0);
        let of_route = routes.entry(row.try_get(0)?).or_default();
        let of_owner = owners.entry(row.try_get::<&str>(1)?.into()).or_default();
        for count in [of_route, of_owner] {
            count.rows += rows;
            count.bytes += bytes;
        }
    }
    Ok((routes, owners))
}

fn outcome(row: &Row, status: Status) -> Result<Outcome, rusqlite::Error> {
    let json = |column| row.try_get::<Option<Vec<u8>>>(column).map(|bytes| bytes.map(Json::stored));
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

pub(super) fn delivery(row: &Row) -> Result<DeliveryRecord, rusqlite::Error> {
    let stored = report_state(row, 2)?;
    let state = stored.shown();
    let due = Timestamp::from_micros(row.try_get(4)?);
    let last = match row.try_get::<Option<i64>>(6)? {
        None => None,
        Some(started) => Some(Attempt {
            started: Timestamp::from_micros(started),
            took: Duration::from_micros(u64::try_from(row.try_get::<i64>(7)?).unwrap_or(0)),
            status: row.try_get::<Option<i64>>(8)?.and_then(|status| u16::try_from(status).ok()),
            error: row.try_get(9)?,
            response: blob(row, 10)?,
        }),
    };
    let id = report_id(row.try_get(0)?)?;
    Ok(DeliveryRecord {
        id,
        webhook_id: webhook_id(row.try_get(11)?, id)?,
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
        let id = id.clone();
        self.run(move |conn| request(conn, &id))
    }

    fn accepted<'a>(&'a self, request: &'a NewRequest) -> BoxFuture<'a, Result<Option<Submitted>, Cause>> {
        let request = request.clone();
        let fresh = request.idempotency.as_ref().and_then(|key| self.keys.get(key));
        self.run(move |conn| idempotency::accepted(conn, &request, fresh))
    }

    fn summary<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Summary>, Cause>> {
        let id = id.clone();
        self.run(move |conn| summary::summary(conn, &id))
    }

    fn timeline<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Timeline>, Cause>> {
        let id = id.clone();
        self.run(move |conn| timeline::timeline(conn, &id))
    }

    fn checkpoint<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        let id = id.clone();
        self.run(move |conn| progress::checkpoint(conn, &id))
    }

    fn progress<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Progress>, Cause>> {
        let id = id.clone();
        self.run(move |conn| progress::progress(conn, &id))
    }

    fn piece<'a>(
        &'a self,
        id: &'a RequestId,
        member: Member,
        at: usize,
        len: usize,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        let id = id.clone();
        async move {
            // Invariant: the call cannot fail, because the semaphore is never closed.
            let _turn = self.pieces.acquire().await;
            self.run(move |conn| summary::piece(conn, &id, member, at, len)).await
        }
        .boxed()
    }

    fn cancel_view<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<CancelView>, Cause>> {
        let id = id.clone();
        self.run(move |conn| cancel_view(conn, &id))
    }

    fn unregistered<'a>(
        &'a self,
        id: &'a RequestId,
        route: &'a str,
    ) -> BoxFuture<'a, Result<Option<(HeaderMap, Bytes)>, Cause>> {
        let (id, route) = (id.clone(), route.to_owned());
        self.run(move |conn| unregistered(conn, &id, &route))
    }

    fn deliveries<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRecord>, Cause>> {
        let subject = subject.to_owned();
        self.run(move |conn| deliveries(conn, &subject))
    }

    fn list<'a>(
        &'a self,
        route: &'a str,
        owner: &'a str,
        filter: &'a ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Cause>> {
        let (route, owner, filter) = (route.to_owned(), owner.to_owned(), filter.clone());
        self.run(move |conn| list::list(conn, &route, &owner, &filter, after, limit))
    }

    fn parked_origins(&self) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        self.run(parked_origins)
    }

    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, Cause>> {
        self.run(disabled)
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, Cause>> {
        self.run(counts)
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, Cause>> {
        self.run(tokens::tokens)
    }

    fn token_uses(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        self.run(tokens::token_uses)
    }

    fn ticks(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        self.run(tokens::ticks)
    }

    fn audited(&self, before: i64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, Cause>> {
        self.run(move |conn| tokens::audited(conn, before, limit))
    }
}
