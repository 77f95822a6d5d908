//! Lists of requests and deliveries, and single rows with all that is stored about them, for operators.
//!
//! A list begins with the newest row and goes back in the order of arrival. A page costs the same however many rows the
//! store has: a filter that no index serves reads at most [`MOST_SCANNED`] rows. Then the page may have fewer rows than
//! were asked for, and `next` says where the next page begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::Store;
use crate::checkpoint::CheckpointLine;
use crate::error::Error;
use crate::record::{Attempt, DeliveryRecord, Owner, Registration};
use crate::terms::{Extras, Terms};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::report::Reason;
use postback_wire::time::Timestamp;

/// The largest number of rows that one page of a list reads.
pub const MOST_SCANNED: usize = 10_000;
/// The largest number of bytes of a payload or of a result that the record of one row contains.
pub const EXCERPT: usize = 64 << 10;
/// The largest number of attempts of one delivery that are shown.
pub(crate) const MOST_ATTEMPTS: usize = 200;
/// The counts of waiting reports for one origin or one URL end at this number, because a count reads each row.
pub const MOST_COUNTED: u64 = 1_000;

/// The error of a backend, as `backend` defines it.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// One page of a list, the newest row first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// The number of a row. The next page has the rows that arrived before this row. `None`: there are no more rows.
    pub next: Option<u64>,
}

/// The state of a request, without its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStatus {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// Selects requests. A field that is `None` selects all requests.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    pub route: Option<String>,
    pub status: Option<RequestStatus>,
    /// The id of the token that a request belongs to. Empty: requests of callers who needed no token.
    pub owner: Option<String>,
    /// Selects the requests that were made at this time or later.
    pub since: Option<Timestamp>,
    /// Selects the requests that were made before this time.
    pub until: Option<Timestamp>,
}

/// One request in a list.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// The number of the row. Later requests have greater numbers.
    pub seq: u64,
    pub id: RequestId,
    pub route: String,
    pub status: RequestStatus,
    /// Why the request ended. `None`: the request has not ended.
    pub reason: Option<Reason>,
    pub owner: Owner,
    pub created: Timestamp,
    pub finished: Option<Timestamp>,
    /// When the request may run. `None`: the request does not wait.
    pub due: Option<Timestamp>,
    pub failures: u32,
    pub crashes: u32,
    /// Whether a run was told to stop, and has not stopped yet.
    pub cancelling: bool,
}

/// The first part of a text that may be large, and the length of the whole text.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    pub len: u64,
    /// At most [`EXCERPT`] bytes.
    pub start: Bytes,
}

impl Excerpt {
    pub(crate) fn of(whole: &Bytes) -> Self {
        Self { len: whole.len() as u64, start: whole.slice(..whole.len().min(EXCERPT)) }
    }

    /// Whether `start` is the whole text.
    pub fn is_whole(&self) -> bool {
        self.len == self.start.len() as u64
    }
}

/// All that is stored about one request, apart from its deliveries.
#[derive(Clone)]
pub struct RequestDetail {
    pub line: RequestLine,
    pub terms: Terms,
    pub headers: HeaderMap,
    /// `None`: the payload is not stored any more.
    pub payload: Option<Excerpt>,
    pub result: Option<Excerpt>,
    pub error: Option<Excerpt>,
    /// What the log says about the outcome.
    pub detail: Option<String>,
    pub registration: Option<Registration>,
    pub extras: Option<Arc<Extras>>,
    /// What the runs have saved last for the next run. `None`: nothing, or the request has ended.
    pub checkpoint: Option<CheckpointLine>,
}

/// What a new request needs to repeat an earlier one.
#[derive(Clone)]
pub struct Original {
    pub route: String,
    pub status: RequestStatus,
    pub owner: Owner,
    pub terms: Terms,
    pub headers: HeaderMap,
    /// `None`: the payload is not stored any more. (The memory backend deletes the payload when the request has ended.)
    pub body: Option<Bytes>,
    pub registration: Option<Registration>,
    pub extras: Option<Arc<Extras>>,
}

/// The state of a delivery, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// The delivery waits: it is due later, parked or held. As a filter, `Pending` selects all three.
    Pending,
    /// The delivery waits for the turn of its origin.
    Parked,
    /// The delivery waits until its URL or its origin is enabled.
    Held,
    Delivering,
    Delivered,
    Dead,
    Refused,
    Gone,
}

/// Selects deliveries. A field that is `None` selects all deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub status: Option<DeliveryStatus>,
    /// The first part of the URL.
    pub url: Option<String>,
    /// What the report is about, such as the id of a request.
    pub subject: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// One delivery in a list.
#[derive(Clone, Debug)]
pub struct DeliveryLine {
    /// The number of the row. Later deliveries have greater numbers.
    pub seq: u64,
    pub subject: String,
    pub status: DeliveryStatus,
    pub created: Timestamp,
    /// `None`: the delivery is not over, or the backend does not store when it ended.
    pub finished: Option<Timestamp>,
    pub record: DeliveryRecord,
}

/// All that is stored about one delivery.
#[derive(Clone)]
pub struct DeliveryDetail {
    pub line: DeliveryLine,
    /// `None`: the body is not stored any more.
    pub body: Option<Excerpt>,
    /// The attempts that have finished, each with its number. A delivery with very many attempts shows the last ones.
    pub attempts: Vec<(u32, Attempt)>,
}

/// What waits in the store at one moment, and since when, for those who watch the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// By route: for how long the request has been due that has waited longest. A route without such a request is not
    /// in the map.
    pub requests: BTreeMap<String, Duration>,
    /// For how long the delivery has been due that has waited longest. `None`: no delivery is due.
    pub delivery: Option<Duration>,
    pub parked: u64,
    pub held: u64,
}

/// What waits in a backend. Times are in the store's own time, and may be in the future.
#[derive(Debug, Default)]
pub(crate) struct FirstDue {
    pub requests: BTreeMap<String, Timestamp>,
    /// The first of the reports that are pending or claimed. Parked and held reports do not count.
    pub report: Option<Timestamp>,
    pub parked: u64,
    pub held: u64,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl FirstDue {
    /// Adds a row of the statement with which a backend reads this: what the row is about, the route, and a time or a
    /// number.
    pub(crate) fn add(&mut self, kind: i64, route: Option<String>, value: Option<i64>) {
        let Some(value) = value else { return };
        let due = Timestamp::from_micros(value);
        match (kind, route) {
            (0, Some(route)) => {
                let first = self.requests.entry(route).or_insert(due);
                *first = due.min(*first);
            }
            (1, _) => self.report = Some(self.report.map_or(due, |first| first.min(due))),
            (2, _) => self.parked = u64::try_from(value).unwrap_or(0),
            _ => self.held = u64::try_from(value).unwrap_or(0),
        }
    }
}

/// The half of a reader that lists rows.
pub(crate) trait Lists: Send + Sync {
    fn list_requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<RequestLine>, Cause>>;
    /// Returns requests whose ids begin with `prefix` and come after `after` in the order of their ids.
    fn requests_by_id<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RequestLine>, Cause>>;
    fn request_detail<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestDetail>, Cause>>;
    fn original<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Original>, Cause>>;
    fn list_deliveries<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<DeliveryLine>, Cause>>;
    fn delivery_detail(&self, id: ReportId) -> BoxFuture<'_, Result<Option<DeliveryDetail>, Cause>>;
    /// Returns up to `limit` names under which reports are parked, in alphabetical order, after the name `after`. Each
    /// name has the number of its reports, which ends at [`MOST_COUNTED`].
    fn parked_counts<'a>(&'a self, after: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<(String, u64)>, Cause>>;
    /// Returns how many reports are held for this URL or this origin. The number ends at [`MOST_COUNTED`].
    fn held_count<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<u64, Cause>>;
    fn first_due(&self) -> BoxFuture<'_, Result<FirstDue, Cause>>;
}

impl Store {
    /// Returns the requests that arrived before the row `before` and that `filter` selects, the newest first. Times are
    /// found by bisection, so a list with times may miss rows from around a moment at which the wall clock was set back.
    pub async fn list_requests(
        &self,
        filter: &RequestFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<RequestLine>, Error> {
        let page = self.reader()?.list_requests(filter, before.unwrap_or(LAST), limit).await;
        let mut page = page.map_err(Error::Backend)?;
        for line in &mut page.rows {
            self.show_due(&mut line.due);
        }
        Ok(page)
    }

    /// Returns requests whose ids begin with `prefix`, in the order of their ids, after the id `after`.
    pub async fn requests_by_id(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<RequestLine>, Error> {
        let mut lines = self.reader()?.requests_by_id(prefix, after, limit).await.map_err(Error::Backend)?;
        for line in &mut lines {
            self.show_due(&mut line.due);
        }
        Ok(lines)
    }

    /// Returns all that is stored about this request. `None`: the store has no request with this id.
    pub async fn request_detail(&self, id: &RequestId) -> Result<Option<RequestDetail>, Error> {
        let mut detail = self.reader()?.request_detail(id).await.map_err(Error::Backend)?;
        if let Some(detail) = &mut detail {
            self.show_due(&mut detail.line.due);
            self.show_due(&mut detail.terms.deadline);
        }
        Ok(detail)
    }

    /// Returns what a new request needs to repeat this one. `None`: the store has no request with this id.
    pub async fn original(&self, id: &RequestId) -> Result<Option<Original>, Error> {
        self.reader()?.original(id).await.map_err(Error::Backend)
    }

    /// Returns the deliveries that were made before the row `before` and that `filter` selects, the newest first. About
    /// times, see [`list_requests`](Self::list_requests).
    pub async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<DeliveryLine>, Error> {
        let page = self.reader()?.list_deliveries(filter, before.unwrap_or(LAST), limit).await;
        let mut page = page.map_err(Error::Backend)?;
        for line in &mut page.rows {
            self.show_due(&mut line.record.next_due);
        }
        Ok(page)
    }

    /// Returns all that is stored about this delivery. `None`: the store has no delivery with this id.
    pub async fn delivery_detail(&self, id: ReportId) -> Result<Option<DeliveryDetail>, Error> {
        let mut detail = self.reader()?.delivery_detail(id).await.map_err(Error::Backend)?;
        if let Some(detail) = &mut detail {
            self.show_due(&mut detail.line.record.next_due);
        }
        Ok(detail)
    }

    /// Returns the names under which reports are parked (origins, or single URLs), each with the number of its reports.
    /// A number that is [`MOST_COUNTED`] means that number or more.
    pub async fn parked_counts(&self, after: &str, limit: usize) -> Result<Vec<(String, u64)>, Error> {
        self.reader()?.parked_counts(after, limit).await.map_err(Error::Backend)
    }

    /// Returns how many reports are held for this URL or this origin. [`MOST_COUNTED`] means that number or more.
    pub async fn held_count(&self, url: &str) -> Result<u64, Error> {
        self.reader()?.held_count(url).await.map_err(Error::Backend)
    }

    /// Returns what waits, and for how long. This reads the index entries of everything that waits, so ask rarely.
    pub async fn waits(&self) -> Result<Waits, Error> {
        let FirstDue { requests, report, parked, held } = self.reader()?.first_due().await.map_err(Error::Backend)?;
        let now = self.0.shared.local.clock.now().due;
        let age = |due: Timestamp| (due <= now).then(|| now.since(due));
        let requests = requests.into_iter().filter_map(|(route, due)| Some((route, age(due)?))).collect();
        Ok(Waits { requests, delivery: report.and_then(age), parked, held })
    }

    /// Due times are in the store's own time, and are shown in the time of the wall clock.
    fn show_due(&self, due: &mut Option<Timestamp>) {
        if let Some(due) = due {
            *due = self.0.shared.local.clock.wall_at(*due);
        }
    }
}

/// A number that is greater than the number of every row.
const LAST: u64 = i64::MAX as u64;

/// How long an attempt took, from the number that a row has.
pub(crate) fn took(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

macro_rules! debug_as_the_line {
    ($($record:ident),*) => {$(
        /// Prints only the line of the list. Headers and bodies are not printed, because they may contain a secret.
        impl std::fmt::Debug for $record {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($record)).field(&self.line).finish()
            }
        }
    )*};
}

debug_as_the_line!(RequestDetail, DeliveryDetail);
