//! Lists of requests and deliveries, and single rows with all that is stored about them.
//!
//! A list goes back from row to row by the number of the row. Each page first looks up how far it may read (the
//! *floor*), so that a filter that selects few rows does not read the whole table.

mod reports;
mod requests;

use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::failure::answer;
use super::read::Rows;
use super::statement::query;
use crate::backend::Cause;
use crate::overview::{
    DeliveryDetail, DeliveryFilter, DeliveryLine, FirstDue, Lists, MOST_SCANNED, Original, Page, RequestDetail,
};
use crate::overview::{RequestFilter, RequestLine};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::time::Timestamp;

/// The rows that a page may read: those with `floor <= seq < before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    floor: i64,
    before: i64,
    /// Whether older rows than `floor` are left for the next page.
    more: bool,
}

/// The number of rows that a page reads before it ends without having found enough rows.
fn most_scanned() -> i64 {
    i64::try_from(MOST_SCANNED).unwrap_or(i64::MAX)
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn limit(n: usize) -> i64 {
    // One more row than asked for shows whether there is a next page.
    i64::try_from(n).unwrap_or(i64::MAX).saturating_add(1)
}

/// Makes a page from up to `limit + 1` rows. `seq` returns the number of a row.
fn page<T>(mut rows: Vec<T>, limit: usize, range: Range, seq: impl Fn(&T) -> u64) -> Page<T> {
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    let next = match rows.last() {
        Some(last) if is_full => Some(seq(last)),
        _ => range.more.then(|| u64::try_from(range.floor).unwrap_or(0)),
    };
    Page { rows, next }
}

/// Returns the end of the rows that were made before the time `until`. `made` is a statement that returns the number and
/// the time of the last row whose number is at most `$1`.
async fn end(pool: &PgPool, made: &'static str, before: u64, until: Option<Timestamp>) -> Result<i64, sqlx::Error> {
    let before = number(before);
    Ok(match until {
        Some(until) => before.min(first_at(pool, made, until).await?),
        None => before,
    })
}

impl Range {
    /// Makes the range of the rows before `before`, down to the row `floor`. `None`: down to the first row.
    fn new(before: i64, floor: Option<i64>) -> Self {
        Self { floor: floor.unwrap_or(0), before, more: floor.is_some() }
    }

    /// Limits the range to rows that were made at the time `since` or later.
    async fn since(self, pool: &PgPool, made: &'static str, since: Option<Timestamp>) -> Result<Self, sqlx::Error> {
        let Some(since) = since else { return Ok(self) };
        let first = first_at(pool, made, since).await?;
        Ok(if first >= self.floor { Self { floor: first, more: false, ..self } } else { self })
    }
}

/// Returns the number of the first row that was made at this time or later, by bisection. Rows are numbered in the
/// order in which they arrive, so their times grow with their numbers, as long as nobody sets the wall clock back.
async fn first_at(pool: &PgPool, made: &'static str, at: Timestamp) -> Result<i64, sqlx::Error> {
    // Invariant: rows up to `earlier` were made before `at`, and rows from `later` on were not.
    let (mut earlier, mut later) = (0, i64::MAX);
    let last = query(made).bind(i64::MAX).fetch_optional(pool).await?;
    match last {
        Some(row) if row.try_get::<i64, _>(1)? >= at.micros() => later = row.try_get(0)?,
        _ => return Ok(later),
    }
    while later - earlier > 1 {
        let middle = earlier + (later - earlier) / 2;
        match query(made).bind(middle).fetch_optional(pool).await? {
            Some(row) if row.try_get::<i64, _>(0)? > earlier => {
                if row.try_get::<i64, _>(1)? < at.micros() {
                    earlier = middle;
                } else {
                    later = row.try_get(0)?;
                }
            }
            // There is no row between `earlier` and `middle`.
            _ => earlier = middle,
        }
    }
    Ok(later)
}

impl Lists for Rows {
    fn list_requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<RequestLine>, Cause>> {
        answer(requests::list(self.pool(), filter, before, limit))
    }

    fn requests_by_id<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RequestLine>, Cause>> {
        answer(requests::by_id(self.pool(), prefix, after, limit))
    }

    fn request_detail<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestDetail>, Cause>> {
        answer(requests::detail(self.pool(), id))
    }

    fn original<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Original>, Cause>> {
        answer(requests::original(self.pool(), id))
    }

    fn list_deliveries<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<DeliveryLine>, Cause>> {
        answer(reports::list(self.pool(), filter, before, limit))
    }

    fn delivery_detail(&self, id: ReportId) -> BoxFuture<'_, Result<Option<DeliveryDetail>, Cause>> {
        answer(reports::detail(self.pool(), id))
    }

    fn parked_counts<'a>(&'a self, after: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<(String, u64)>, Cause>> {
        answer(reports::parked_counts(self.pool(), after, limit))
    }

    fn held_count<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<u64, Cause>> {
        answer(reports::held_count(self.pool(), url))
    }

    fn first_due(&self) -> BoxFuture<'_, Result<FirstDue, Cause>> {
        answer(reports::first_due(self.pool()))
    }
}
