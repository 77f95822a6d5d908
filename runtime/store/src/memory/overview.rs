//! Lists of the rows of the memory backend.
//!
//! No index orders the rows by their numbers, because the rows are bounded by the quotas: a list looks at all of them.

use std::collections::HashSet;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::reports::{Report, record};
use super::requests::Request;
use super::{Memory, Tables};
use crate::backend::Cause;
use crate::checkpoint::CheckpointLine;
use crate::nodes::News;
use crate::overview::{
    DeliveryDetail, DeliveryFilter, DeliveryLine, DeliveryStatus, Excerpt, FirstDue, Lists, MOST_COUNTED, Original,
};
use crate::overview::{Page, RequestDetail, RequestFilter, RequestLine, RequestStatus};
use crate::record::{DeliveryState, RequestState};
use crate::terms::Terms;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::report::Status;
use postback_wire::time::Timestamp;

/// No other process can use the rows.
impl News for Memory {}

impl Lists for Memory {
    fn list_requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<RequestLine>, Cause>> {
        let tables = self.lock();
        let selected = tables.requests.values().filter(|row| row.seq < before && selects_request(filter, row));
        let page = newest(selected.collect(), limit, |row| row.seq);
        ready(Ok(Page { rows: page.rows.into_iter().map(request_line).collect(), next: page.next })).boxed()
    }

    fn requests_by_id<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RequestLine>, Cause>> {
        let tables = self.lock();
        let selects = |row: &&Request| row.new.id.as_str().starts_with(prefix) && row.new.id.as_str() > after;
        let mut rows: Vec<&Request> = tables.requests.values().filter(selects).collect();
        rows.sort_unstable_by(|a, b| a.new.id.cmp(&b.new.id));
        rows.truncate(limit);
        ready(Ok(rows.into_iter().map(request_line).collect())).boxed()
    }

    fn request_detail<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestDetail>, Cause>> {
        let tables = self.lock();
        let detail = tables.requests.get(id).map(|row| {
            let outcome = match &row.state {
                RequestState::Settled(outcome) => Some(outcome),
                RequestState::Queued | RequestState::Running => None,
            };
            RequestDetail {
                line: request_line(row),
                terms: Terms { deadline: row.deadline, ..row.new.terms },
                headers: row.new.headers.clone(),
                // The body of a request that has ended is deleted.
                payload: outcome.is_none().then(|| Excerpt::of(&row.new.body)),
                result: outcome.and_then(|outcome| outcome.result.as_ref()).map(|json| Excerpt::of(json.bytes())),
                error: outcome.and_then(|outcome| outcome.error.as_ref()).map(|json| Excerpt::of(json.bytes())),
                detail: outcome.and_then(|outcome| outcome.detail.clone()),
                registration: row.registration.as_deref().cloned(),
                extras: row.new.extras.clone(),
                checkpoint: row
                    .checkpoint
                    .as_ref()
                    .map(|kept| CheckpointLine { bytes: kept.value.len() as u64, saved: Some(kept.saved) }),
            }
        });
        ready(Ok(detail)).boxed()
    }

    fn original<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Original>, Cause>> {
        let tables = self.lock();
        let original = tables.requests.get(id).map(|row| {
            let ended = matches!(row.state, RequestState::Settled(_));
            Original {
                route: row.new.route.clone(),
                status: status(&row.state),
                owner: row.new.owner.clone(),
                terms: row.new.terms,
                headers: row.new.headers.clone(),
                body: (!ended).then(|| row.new.body.clone()),
                registration: row.registration.as_deref().cloned(),
                extras: row.new.extras.clone(),
            }
        });
        ready(Ok(original)).boxed()
    }

    fn list_deliveries<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<DeliveryLine>, Cause>> {
        let tables = self.lock();
        let parked = tables.parked_ids();
        let rows = tables.reports.values().map(|row| &**row);
        let selected = rows.filter(|row| row.seq < before && selects_report(filter, row, &parked)).collect();
        let page = newest(selected, limit, |row| row.seq);
        let rows = page.rows.into_iter().map(|row| delivery_line(row, &parked)).collect();
        ready(Ok(Page { rows, next: page.next })).boxed()
    }

    fn delivery_detail(&self, id: ReportId) -> BoxFuture<'_, Result<Option<DeliveryDetail>, Cause>> {
        let tables = self.lock();
        let parked = tables.parked_ids();
        let detail = tables.reports.get(&id).map(|row| {
            let line = delivery_line(row, &parked);
            let is_over = !matches!(row.state, DeliveryState::Pending | DeliveryState::Delivering);
            let attempts = row.last.iter().map(|attempt| (line.record.attempts, attempt.clone())).collect();
            DeliveryDetail { line, body: (!is_over).then(|| Excerpt::of(&row.new.body)), attempts }
        });
        ready(Ok(detail)).boxed()
    }

    fn parked_counts<'a>(&'a self, after: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<(String, u64)>, Cause>> {
        let tables = self.lock();
        let names = tables.parked.by_line.iter().filter(|(name, _)| name.as_str() > after).take(limit);
        let counts = names.map(|(name, reports)| (name.clone(), (reports.len() as u64).min(MOST_COUNTED)));
        ready(Ok(counts.collect())).boxed()
    }

    fn held_count<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<u64, Cause>> {
        let held = self.lock().parked.disabled.get(url).map_or(0, |disabled| disabled.held.len() as u64);
        ready(Ok(held.min(MOST_COUNTED))).boxed()
    }

    fn first_due(&self) -> BoxFuture<'_, Result<FirstDue, Cause>> {
        let tables = self.lock();
        let delivering =
            tables.reports.values().filter(|row| row.state == DeliveryState::Delivering).map(|row| row.due);
        let pending = tables.due_reports.first_key_value().map(|((due, _), _)| *due);
        let first = FirstDue {
            requests: tables.waiting.first_due().map(|(route, due)| (route.to_owned(), due)).collect(),
            report: delivering.chain(pending).min(),
            parked: tables.parked.by_line.values().map(|reports| reports.len() as u64).sum(),
            held: tables.parked.held.len() as u64,
        };
        ready(Ok(first)).boxed()
    }
}

impl Tables {
    fn parked_ids(&self) -> HashSet<ReportId> {
        self.parked.by_line.values().flat_map(|reports| reports.values().copied()).collect()
    }
}

/// Makes a page of the rows with the greatest numbers.
fn newest<T>(mut rows: Vec<T>, limit: usize, seq: impl Fn(&T) -> u64) -> Page<T> {
    if rows.len() > limit {
        // Only the rows of the page are sorted.
        rows.select_nth_unstable_by_key(limit, |row| std::cmp::Reverse(seq(row)));
    }
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(seq(row)));
    let next = rows.last().map(seq).filter(|_| is_full);
    Page { rows, next }
}

fn within(created: Timestamp, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
    since.is_none_or(|since| created >= since) && until.is_none_or(|until| created < until)
}

fn selects_request(filter: &RequestFilter, row: &Request) -> bool {
    let RequestFilter { route, status: of, owner, since, until } = filter;
    route.as_ref().is_none_or(|route| *route == row.new.route)
        && owner.as_ref().is_none_or(|owner| **owner == *row.new.owner)
        && of.is_none_or(|of| of == status(&row.state))
        && within(row.new.created, *since, *until)
}

fn selects_report(filter: &DeliveryFilter, row: &Report, parked: &HashSet<ReportId>) -> bool {
    let DeliveryFilter { status, url, subject, since, until } = filter;
    let has = |status| {
        delivery_status(row, parked) == status
            || status == DeliveryStatus::Pending && row.state == DeliveryState::Pending
    };
    status.is_none_or(has)
        && url.as_ref().is_none_or(|url| row.new.to.url().starts_with(url))
        && subject.as_ref().is_none_or(|subject| **subject == *row.new.subject)
        && within(row.new.created, *since, *until)
}

fn status(state: &RequestState) -> RequestStatus {
    match state {
        RequestState::Queued => RequestStatus::Queued,
        RequestState::Running => RequestStatus::Running,
        RequestState::Settled(outcome) => match outcome.status {
            Status::Completed => RequestStatus::Completed,
            Status::Cancelled => RequestStatus::Cancelled,
            _ => RequestStatus::Failed,
        },
    }
}

fn request_line(row: &Request) -> RequestLine {
    let outcome = match &row.state {
        RequestState::Settled(outcome) => Some(outcome),
        RequestState::Queued | RequestState::Running => None,
    };
    RequestLine {
        seq: row.seq,
        id: row.new.id.clone(),
        route: row.new.route.clone(),
        status: status(&row.state),
        reason: outcome.map(|outcome| outcome.reason),
        owner: row.new.owner.clone(),
        created: row.new.created,
        finished: outcome.map(|outcome| outcome.finished),
        due: (row.state == RequestState::Queued).then_some(row.due),
        failures: row.failures,
        crashes: 0,
        cancelling: row.state == RequestState::Running && row.cancelled,
    }
}

fn delivery_status(row: &Report, parked: &HashSet<ReportId>) -> DeliveryStatus {
    match row.state {
        DeliveryState::Pending if row.held => DeliveryStatus::Held,
        DeliveryState::Pending if parked.contains(&row.new.id) => DeliveryStatus::Parked,
        DeliveryState::Pending => DeliveryStatus::Pending,
        DeliveryState::Delivering => DeliveryStatus::Delivering,
        DeliveryState::Delivered => DeliveryStatus::Delivered,
        DeliveryState::Dead => DeliveryStatus::Dead,
        DeliveryState::Refused => DeliveryStatus::Refused,
        DeliveryState::Gone => DeliveryStatus::Gone,
    }
}

fn delivery_line(row: &Report, parked: &HashSet<ReportId>) -> DeliveryLine {
    DeliveryLine {
        seq: row.seq,
        subject: row.new.subject.to_string(),
        status: delivery_status(row, parked),
        created: row.new.created,
        finished: None,
        record: record(row),
    }
}
