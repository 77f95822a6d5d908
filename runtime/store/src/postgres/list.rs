//! Reads lists of requests.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::codec::{limit as number, request_state};
use super::statement::query;
use crate::list::{Cursor, LOOKED_AT, ListFilter, Listed, ListedStatus, Page};
use crate::sql::states::RequestState;
use postback_wire::id::RequestId;
use postback_wire::report::Status;
use postback_wire::time::Timestamp;

pub(super) async fn list(
    pool: &PgPool,
    route: &str,
    owner: &str,
    filter: &ListFilter,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page, sqlx::Error> {
    let before = after.map_or(i64::MAX, |Cursor(seq)| seq);
    // One row more than the page has shows whether there is a next page.
    let (limit, more) = (limit.min(LOOKED_AT), number(limit.min(LOOKED_AT) + 1));
    let looked_at = if filter.is_open() { more } else { number(LOOKED_AT) };
    let sql = "SELECT seq, id, state, created, finished FROM \
               (SELECT seq, id, state, created, finished FROM request \
                WHERE owner = $1 AND route = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4) AS x \
               WHERE ($5::bigint >> state) & 1 = 1 AND created >= $6 AND created < $7 LIMIT $8";
    let rows = query(sql).bind(owner).bind(route).bind(before).bind(looked_at).bind(mask(filter));
    let rows = rows.bind(filter.created_from.micros()).bind(filter.created_before.micros()).bind(more);
    let mut rows = rows.fetch_all(pool).await?;
    // The statement finds the rows in this order. They are sorted again, because SQL does not promise that.
    rows.sort_by_key(|row| std::cmp::Reverse(row.try_get::<i64, _>(0).unwrap_or(0)));
    let next = if rows.len() > limit {
        rows.truncate(limit);
        rows.last().map(|row| row.try_get(0)).transpose()?.map(Cursor)
    } else if filter.is_open() {
        None
    } else {
        last_looked_at(pool, route, owner, before).await?
    };
    Ok(Page { rows: rows.iter().map(listed).collect::<Result<_, _>>()?, next })
}

/// Returns the place of the last row that a page has looked at. Returns `None` if the page has looked at all rows.
async fn last_looked_at(pool: &PgPool, route: &str, owner: &str, before: i64) -> Result<Option<Cursor>, sqlx::Error> {
    let sql = "SELECT seq FROM request WHERE owner = $1 AND route = $2 AND seq < $3 ORDER BY seq DESC \
               LIMIT 1 OFFSET $4";
    let last = query(sql).bind(owner).bind(route).bind(before).bind(number(LOOKED_AT - 1));
    last.fetch_optional(pool).await?.map(|row| row.try_get(0).map(Cursor)).transpose()
}

fn listed(row: &PgRow) -> Result<Listed, sqlx::Error> {
    let state = request_state(row, 2)?;
    let status = match state.status() {
        Some(status) => ListedStatus::Ended(status),
        None if state == RequestState::Queued => ListedStatus::Queued,
        None => ListedStatus::Running,
    };
    let finished = row.try_get::<Option<i64>, _>(4)?;
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
