//! The backend in memory. It follows the rules of a durable backend, but its rows end with the process.
//!
//! The rows that are not finished are limited by the [`Quotas`], from which the intake reserves space before it accepts
//! an operation. Finished rows are limited by their number and their bytes.

mod cancel;
mod handed_in;
mod list;
mod ops;
mod overview;
mod parked;
mod reports;
mod requests;
mod series;
mod summary;
mod tokens;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::HeaderMap;

use self::list::OfOwner;
use self::parked::ParkedReports;
use self::reports::{Report, Reports};
use self::requests::Request;
use self::series::Series;
use self::tokens::Tokens;
use self::waiting::Waiting;
use crate::audit::AuditRecord;
use crate::backend::{Applied, Backend, Cause, Left, Opened, Reader};
use crate::cancel::CancelView;
use crate::clock::Now;
use crate::list::{Cursor, ListFilter, Page};
use crate::operation::Stage;
use crate::ops::{Op, Reply};
use crate::progress::Progress;
use crate::quota::{Quota, Quotas};
use crate::record::{Counts, DeliveryRecord, Disabled, NewRequest, Owner, RequestRecord, Submitted};
use crate::share::Turns;
use crate::summary::{Member, Summary};
use crate::terms::IdempotencyKey;
use crate::timeline::Timeline;
use crate::tokens::TokenRecord;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::time::Timestamp;

/// Opens an empty store in memory. Returns the store and its quotas. When the store accepts new rows, it reserves
/// memory for the rows from these quotas.
pub(crate) fn open(reports: usize, bytes: usize, kept: usize) -> (Opened, Arc<Quotas>) {
    let quotas = Arc::new(Quotas { requests: Quota::new(reports, bytes), reports: Quota::new(reports, bytes) });
    let tables = Tables {
        requests: HashMap::new(),
        keys: HashMap::new(),
        lists: HashMap::new(),
        waiting: Waiting::default(),
        turns: Turns::default(),
        running: 0,
        reports: HashMap::new(),
        undelivered: 0,
        due_reports: BTreeMap::new(),
        parked: ParkedReports::default(),
        subjects: HashMap::new(),
        finished: BTreeMap::new(),
        finished_bytes: 0,
        most_finished: (kept, bytes),
        last_seq: 0,
        tokens: Tokens::default(),
        ticks: HashMap::new(),
        series: Series::default(),
        quotas: quotas.clone(),
    };
    let memory = Memory(Arc::new(Mutex::new(tables)));
    let opened = Opened {
        backend: Box::new(memory.clone()),
        reader: Arc::new(memory),
        left: Left::default(),
        begun: None,
        peers: None,
    };
    (opened, quotas)
}

#[derive(Clone)]
struct Memory(Arc<Mutex<Tables>>);

/// The sort key of a row. The first value is the time when the row is due or when it ended. The second value is the
/// number of the row in the order of arrival.
type DueKey = (Timestamp, u64);

struct Tables {
    requests: HashMap<RequestId, Request>,
    /// The requests that have an idempotency key.
    keys: HashMap<IdempotencyKey, RequestId>,
    /// The requests by owner and route, for lists.
    lists: HashMap<Owner, HashMap<String, OfOwner>>,
    /// The requests that wait to be run.
    waiting: Waiting,
    /// Whose turn it was last, among the routes and their owners.
    turns: Turns,
    running: u64,
    /// The reports by id. Each report is boxed, because the map often moves its entries when rows are added and
    /// removed.
    reports: HashMap<ReportId, Box<Report>>,
    /// The number of reports that wait or are being delivered.
    undelivered: u64,
    due_reports: BTreeMap<DueKey, ReportId>,
    parked: ParkedReports,
    subjects: HashMap<Arc<str>, Reports>,
    finished: BTreeMap<DueKey, Finished>,
    finished_bytes: usize,
    /// The limits of ended rows: the largest number of rows, and their largest number of bytes. Without these limits,
    /// the memory of a process that never purges would grow without end.
    most_finished: (usize, usize),
    last_seq: u64,
    tokens: Tokens,
    /// When each schedule was last due.
    ticks: HashMap<String, Timestamp>,
    series: Series,
    quotas: Arc<Quotas>,
}

/// A finished request or report, which is only kept for look-ups, and the number of bytes of memory that the row still
/// uses.
struct Finished {
    row: Row,
    bytes: usize,
}

#[derive(Clone)]
enum Row {
    Request(RequestId),
    Report(ReportId),
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied> {
        let mut tables = self.lock();
        let mut replies: Vec<Option<Reply>> = ops.iter().map(|_| None).collect();
        for stage in Stage::IN_ORDER {
            for (op, reply) in ops.iter().zip(&mut replies).filter(|(op, _)| op.stage() == stage) {
                *reply = Some(ops::apply(op, &mut tables, now));
            }
        }
        // Invariant: every operation has a reply, because every operation belongs to one of the stages.
        let replies = replies.into_iter().flatten().collect();
        ready((ops, Ok(replies))).boxed()
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        ready(Ok(false)).boxed()
    }

    fn try_to_write(&mut self, _: usize) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Ok(())).boxed()
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

impl Reader for Memory {
    fn request<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestRecord>, Cause>> {
        ready(Ok(self.lock().request(id))).boxed()
    }

    fn accepted<'a>(&'a self, request: &'a NewRequest) -> BoxFuture<'a, Result<Option<Submitted>, Cause>> {
        ready(Ok(self.lock().accepted(request))).boxed()
    }

    fn summary<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Summary>, Cause>> {
        ready(Ok(self.lock().summary(id))).boxed()
    }

    fn timeline<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Timeline>, Cause>> {
        ready(Ok(self.lock().timeline(id))).boxed()
    }

    fn checkpoint<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        ready(Ok(self.lock().requests.get(id).and_then(|row| Some(row.checkpoint.as_ref()?.value.clone())))).boxed()
    }

    fn progress<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Progress>, Cause>> {
        ready(Ok(self.lock().progress(id))).boxed()
    }

    fn piece<'a>(
        &'a self,
        id: &'a RequestId,
        member: Member,
        at: usize,
        len: usize,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        ready(Ok(self.lock().piece(id, member, at, len))).boxed()
    }

    fn cancel_view<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<CancelView>, Cause>> {
        ready(Ok(self.lock().cancel_view(id))).boxed()
    }

    fn unregistered<'a>(
        &'a self,
        id: &'a RequestId,
        route: &'a str,
    ) -> BoxFuture<'a, Result<Option<(HeaderMap, Bytes)>, Cause>> {
        ready(Ok(self.lock().unregistered(id, route))).boxed()
    }

    fn deliveries<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRecord>, Cause>> {
        ready(Ok(self.lock().deliveries(subject))).boxed()
    }

    fn list<'a>(
        &'a self,
        route: &'a str,
        owner: &'a str,
        filter: &'a ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Cause>> {
        ready(Ok(self.lock().list(route, owner, filter, after, limit))).boxed()
    }

    fn parked_origins(&self) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        ready(Ok(self.lock().parked.lines())).boxed()
    }

    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, Cause>> {
        ready(Ok(self.lock().parked.disabled())).boxed()
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, Cause>> {
        ready(Ok(self.lock().counts())).boxed()
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, Cause>> {
        ready(Ok(self.lock().tokens.records.clone())).boxed()
    }

    fn token_uses(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        ready(Ok(self.lock().tokens.uses.clone())).boxed()
    }

    fn ticks(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>> {
        ready(Ok(self.lock().ticks.clone())).boxed()
    }

    fn audited(&self, before: i64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, Cause>> {
        ready(Ok(self.lock().tokens.audited(before, limit))).boxed()
    }
}

impl Tables {
    fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Records that a request or a report is finished. Then deletes the oldest finished rows until the number and the
    /// bytes of the finished rows are within the limits.
    fn finish(&mut self, key: DueKey, row: Row, bytes: usize) {
        self.finished.insert(key, Finished { row, bytes });
        self.finished_bytes += bytes;
        while self.finished.len() > self.most_finished.0 || self.finished_bytes > self.most_finished.1 {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    /// Deletes the finished request or report that was finished first. Returns `false` if no request and no report is
    /// finished.
    fn forget_oldest(&mut self) -> bool {
        let Some(first) = self.finished.first_key_value().map(|(key, _)| *key) else { return false };
        self.forget(first);
        true
    }

    /// Deletes the finished request or report with this key.
    fn forget(&mut self, key: DueKey) {
        let Some(Finished { row, bytes }) = self.finished.remove(&key) else { return };
        self.finished_bytes = self.finished_bytes.saturating_sub(bytes);
        match row {
            Row::Request(id) => self.forget_request(&id),
            Row::Report(id) => self.forget_report(id),
        }
    }

    fn counts(&self) -> Counts {
        Counts { queued: self.waiting.counts().collect(), running: self.running, undelivered: self.undelivered }
    }
}
