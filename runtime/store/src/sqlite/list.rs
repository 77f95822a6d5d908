//! Reads lists of requests.

use super::codec::request_state;
use super::statement::{Row, query};
use super::states::RequestState;
use crate::list::{Cursor, LOOKED_AT, ListFilter, Listed, ListedStatus, Page};
use postback_wire::id::RequestId;
use postback_wire::report::Status;
use postback_wire::time::Timestamp;
use rusqlite::Connection;

pub(super) fn list(
    conn: &Connection,
    route: &str,
    owner: &str,
    filter: &ListFilter,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page, rusqlite::Error> {
    let before = after.map_or(i64::MAX, |Cursor(seq)| seq);
    // One row more than the page has shows whether there is a next page.
    let (limit, more) = (limit.min(LOOKED_AT), number(limit.min(LOOKED_AT) + 1));
    let looked_at = if filter.is_open() { more } else { number(LOOKED_AT) };
    let sql = "SELECT seq, id, state, created, finished FROM \
               (SELECT seq, id, state, created, finished FROM request \
                WHERE owner = ?1 AND route = ?2 AND seq < ?3 ORDER BY seq DESC LIMIT ?4) \
               WHERE ?5 >> state & 1 AND created >= ?6 AND created < ?7 LIMIT ?8";
    let rows = query(sql).bind(owner).bind(route).bind(before).bind(looked_at).bind(mask(filter));
    let rows = rows.bind(filter.created_from.micros()).bind(filter.created_before.micros()).bind(more);
    let mut rows = rows.fetch_all(conn)?;
    // The statement finds the rows in this order. They are sorted again, because SQL does not promise that.
    rows.sort_by_key(|row| std::cmp::Reverse(row.try_get::<i64>(0).unwrap_or(0)));
    let next = if rows.len() > limit {
        rows.truncate(limit);
        rows.last().map(|row| row.try_get(0)).transpose()?.map(Cursor)
    } else if filter.is_open() {
        None
    } else {
        last_looked_at(conn, route, owner, before)?
    };
    Ok(Page { rows: rows.iter().map(listed).collect::<Result<_, _>>()?, next })
}

/// Returns the place of the last row that a page has looked at. Returns `None` if the page has looked at all rows.
fn last_looked_at(conn: &Connection, route: &str, owner: &str, before: i64) -> Result<Option<Cursor>, rusqlite::Error> {
    let sql = "SELECT seq FROM request WHERE owner = ?1 AND route = ?2 AND seq < ?3 ORDER BY seq DESC \
               LIMIT 1 OFFSET ?4";
    let last = query(sql).bind(owner).bind(route).bind(before).bind(number(LOOKED_AT - 1));
    last.fetch_optional(conn)?.map(|row| row.try_get(0).map(Cursor)).transpose()
}

fn listed(row: &Row) -> Result<Listed, rusqlite::Error> {
    let state = request_state(row, 2)?;
    let status = match state.status() {
        Some(status) => ListedStatus::Ended(status),
        None if state == RequestState::Queued => ListedStatus::Queued,
        None => ListedStatus::Running,
    };
    let finished = row.try_get::<Option<i64>>(4)?;
    Ok(Listed {
        id: RequestId::stored(row.try_get(1)?),
        status,
        created: Timestamp::from_micros(row.try_get(3)?),
        finished: finished.map(Timestamp::from_micros),
    })
}

/// Returns a number whose bits are the codes of the states that pass the filter.
fn mask(filter: &ListFilter) -> i64 {
    let code = |status: &ListedStatus| match status {
        ListedStatus::Queued => RequestState::Queued,
        ListedStatus::Running => RequestState::Running,
        ListedStatus::Ended(Status::Completed) => RequestState::Completed,
        ListedStatus::Ended(Status::Cancelled) => RequestState::Cancelled,
        ListedStatus::Ended(_) => RequestState::Failed,
    };
    filter.statuses.iter().fold(0, |mask, status| mask | 1 << code(status).code())
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
