//! The data types of the store: what callers give to the store, and what they get from it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::terms::{Extras, IdempotencyKey, Terms};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::report::Outcome;
use postback_wire::time::Timestamp;
use postback_wire::webhook::{Target, Webhook};

/// The change of a report's state after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// The report is delivered, and its receiver wants no more reports at this URL.
    DeliveredLast,
    RetryAt(Timestamp),
    /// The attempt failed, and it was the last attempt of the schedule.
    Dead,
    /// The report must not be sent to its URL.
    Refused,
    /// The receiver does not want this report. The report is not sent again.
    Gone {
        /// If true, the receiver also wants no other reports at this URL, so the URL is disabled.
        disable: bool,
    },
}

impl Next {
    /// Returns whether this value disables the URL of the report.
    pub fn disables(self) -> bool {
        matches!(self, Self::DeliveredLast | Self::Gone { disable: true })
    }

    /// Returns the variant that has the same effect on the report, but does not disable the URL.
    #[must_use]
    pub fn without_disabling(self) -> Self {
        match self {
            Self::DeliveredLast => Self::Delivered,
            Self::Gone { .. } => Self::Gone { disable: false },
            other => other,
        }
    }
}

/// A new request for the store.
#[derive(Clone)]
pub struct NewRequest {
    pub id: RequestId,
    /// Whether the caller has chosen the id. If so, an earlier request may have the same id.
    pub chosen_id: bool,
    pub route: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub created: Timestamp,
    /// The webhooks to which the outcome is reported. If a run stores another registration, the other registration
    /// replaces this one. `None`: no webhooks were known when the request arrived.
    pub registration: Option<Arc<Registration>>,
    /// The id of the token of the caller that made the request. Empty: the caller needed no token.
    pub owner: Owner,
    pub terms: Terms,
    pub idempotency: Option<IdempotencyKey>,
    pub extras: Option<Arc<Extras>>,
}

/// The id of the token that a request belongs to. Empty: the caller needed no token.
pub type Owner = Arc<str>;

impl NewRequest {
    /// Makes a request that belongs to no token, is due immediately, and has no registration.
    pub fn new(id: RequestId, route: impl Into<String>, body: impl Into<Bytes>, created: Timestamp) -> Self {
        Self {
            id,
            chosen_id: false,
            route: route.into(),
            headers: HeaderMap::new(),
            body: body.into(),
            created,
            registration: None,
            owner: Owner::default(),
            terms: Terms::default(),
            idempotency: None,
            extras: None,
        }
    }

    /// Returns this new request as a claimed request. The request has no failures and no crashes, because it was never
    /// run before.
    pub fn claimed(self, epoch: u32) -> ClaimedRequest {
        let Self { id, route, headers, body, created, registration, owner, terms, extras, .. } = self;
        ClaimedRequest {
            claim: Claim { id, epoch },
            route,
            headers,
            body,
            created,
            failures: 0,
            crashes: 0,
            cancelled: false,
            expired: false,
            registration,
            owner,
            terms,
            extras,
        }
    }
}

/// The right to settle one request or report. The right is lost when the row is claimed again, because the later claim
/// has a greater epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim<I> {
    pub id: I,
    /// The number of claims of the row up to this claim. Each claim adds 1, and nothing else changes the number.
    pub epoch: u32,
}

pub type RequestClaim = Claim<RequestId>;
pub type ReportClaim = Claim<ReportId>;

/// A request that a worker has claimed, with the claim.
#[derive(Clone)]
pub struct ClaimedRequest {
    pub claim: RequestClaim,
    pub route: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub created: Timestamp,
    /// The number of earlier runs that ended with an error, a panic or a timeout.
    pub failures: u32,
    /// The number of earlier runs during which the process ended.
    pub crashes: u32,
    /// Whether the request was cancelled during an earlier run, and that run did not settle the request. The worker
    /// settles a cancelled request as cancelled, and does not run the request.
    pub cancelled: bool,
    /// Whether the time is over until which the first run had to begin. The worker settles such a request as failed, and
    /// does not run it.
    pub expired: bool,
    /// The registration that an earlier run stored. If no run stored a registration, the registration that was known
    /// when the request arrived. `None`: there is no registration.
    pub registration: Option<Arc<Registration>>,
    pub owner: Owner,
    /// The terms of the request. A claimed request has no `delay`, because it was due.
    pub terms: Terms,
    pub extras: Option<Arc<Extras>>,
}

impl ClaimedRequest {
    /// Returns the number of the run for which the request was claimed. The first run has the number 1.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// The webhooks that receive the outcome of a request, and the outcomes that are reported. The attribute of the user's
/// function selects both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    pub webhooks: Vec<Webhook>,
    pub on: postback_wire::report::Ends,
    /// Whether reports and answers of the API show the reason why a request was not completed.
    pub tells_reason: bool,
}

/// A report for one URL. The body of a report never changes: every attempt sends the same bytes.
#[derive(Clone)]
pub struct NewReport {
    pub id: ReportId,
    /// The id that the report is about. The id is the id of a request, or an id that a user of the library chose.
    pub subject: Arc<str>,
    pub to: Target,
    pub body: Bytes,
    pub created: Timestamp,
    /// The reason why the report is never attempted. A report with such a reason is stored with the state refused.
    /// `None`: the report will be attempted.
    pub refused: Option<String>,
    /// The text before "→ delivered" in the log line of the first attempt on this node, such as "/greet 0193… completed
    /// in 1.2 s". The text is only in memory: the store does not write it. Invariant: `note` begins with the route and
    /// a space. The route has no field of its own, because such a field would cost one more allocation for each new
    /// report: a list of reports is converted in place into the store's list, which works only while the sizes of both
    /// types fit.
    pub note: Option<String>,
}

impl NewReport {
    /// Makes a report for this webhook, with a new id.
    pub fn to(target: impl Into<Target>, subject: &str, body: Bytes, created: Timestamp) -> Self {
        Self {
            id: ReportId::generate(),
            subject: subject.into(),
            to: target.into(),
            body,
            created,
            refused: None,
            note: None,
        }
    }

    /// Returns the route of the request that the report is about, for log lines. `None`: the report has no `note`,
    /// which contains the route.
    pub fn route(&self) -> Option<&str> {
        self.note.as_deref()?.split(' ').next()
    }

    /// Returns this report as a claimed report, for the attempt with the number `attempt`.
    pub fn claimed(self: Arc<Self>, epoch: u32, attempt: u32) -> ClaimedReport {
        ClaimedReport { claim: Claim { id: self.id, epoch }, webhook_id: self.id, attempt, report: self }
    }
}

/// A report that was claimed for an attempt, with its claim.
#[derive(Clone)]
pub struct ClaimedReport {
    pub claim: ReportClaim,
    /// The value of the header `webhook-id` in every attempt. The value is the id of the report itself. In a replay,
    /// the value is the id of the first delivery.
    pub webhook_id: ReportId,
    /// The number of the attempt for which the report was claimed. The first attempt has the number 1.
    pub attempt: u32,
    /// The report in its original form. If the row was sent through memory to the delivery, the store and the delivery
    /// share this value.
    pub report: Arc<NewReport>,
}

impl Deref for ClaimedReport {
    type Target = NewReport;

    fn deref(&self) -> &NewReport {
        &self.report
    }
}

/// An attempt that has finished: one HTTP request to the receiver, with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub started: Timestamp,
    pub took: Duration,
    /// The HTTP status of the receiver's answer. `None`: the receiver did not answer.
    pub status: Option<u16>,
    /// The text that tells the operator why the attempt failed. `None`: the attempt did not fail.
    pub error: Option<String>,
    /// The first bytes of the body of the receiver's answer. The delivery limits the number of bytes.
    pub response: Bytes,
}

/// Whether the store wrote a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// The claim was current, and the settlement was written.
    Current,
    /// The claim was not current any more, so nothing was written.
    Stale,
}

/// The result of a call that submits a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The request is new, and the store has accepted it.
    New,
    /// The store already has a request with this id, and with the same owner, route, body and query. Nothing was written.
    Known,
    /// The store already has a request with this id, but with another owner, route, body or query. Nothing was written.
    Conflict,
    /// The owner has made a request of this route with this idempotency key before, and it had the same body and
    /// query. Nothing was written. The id is the id of the earlier request.
    Repeated(RequestId),
    /// The owner has made a request of this route with this idempotency key before, but it had another body or
    /// query. Nothing was written.
    KeyReused,
}

/// The rows that one claim returned, and the time when the next row is due.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    pub rows: Vec<T>,
    /// The time when the next row is due, if no other row is written before that time. `None`: no row waits. A time in
    /// the past: more rows are due than this claim returned.
    pub next_due: Option<Timestamp>,
}

/// The state of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    Queued,
    Running,
    Settled(Outcome),
}

/// The data of a request that the store returns to a reader.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    pub id: RequestId,
    pub route: String,
    pub owner: Owner,
    pub state: RequestState,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    Pending,
    Delivering,
    Delivered,
    Dead,
    Refused,
    Gone,
}

/// The data of a delivery that the store returns to a reader.
#[derive(Clone)]
pub struct DeliveryRecord {
    pub id: ReportId,
    /// The header `webhook-id` of every attempt: the id of the delivery itself, or in a replay, of the first delivery.
    pub webhook_id: ReportId,
    pub url: String,
    pub state: DeliveryState,
    /// The number of attempts of this delivery that have begun.
    pub attempts: u32,
    /// The time when the next attempt is due. `None`: the delivery is not pending, or its URL is disabled.
    pub next_due: Option<Timestamp>,
    /// The last attempt that has finished. `None`: no attempt has finished.
    pub last: Option<Attempt>,
    /// Why the delivery ended without an attempt. `None`: the delivery has not ended, or it ended after an attempt.
    pub refused: Option<String>,
}

/// A disabled URL. The receiver at this URL wants no more reports, or the operator has disabled the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Disabled {
    /// The URL. If the operator has disabled a whole origin: the scheme, host and port.
    pub url: String,
    pub since: Timestamp,
    /// The result of the attempt that disabled the URL, as a text for the operator.
    pub reason: String,
    /// Whether the operator has disabled the URL. `false`: its receiver has.
    pub by_operator: bool,
}

/// The numbers of rows in the store, by state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of requests that wait to be run, by route.
    pub queued: BTreeMap<String, u64>,
    pub running: u64,
    /// The number of deliveries that have not ended: they are pending, parked, held, or being delivered.
    pub undelivered: u64,
}

macro_rules! debug_as_the_id {
    ($($record:ident by $id:expr),* $(,)?) => {$(
        /// Prints only the id of a record. For a disabled URL, prints only the time since which the URL has been
        /// disabled. The query of a URL, the headers and the body are not printed, because they may contain a secret.
        impl std::fmt::Debug for $record {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let id: fn(&Self) -> &dyn std::fmt::Debug = $id;
                f.debug_tuple(stringify!($record)).field(id(self)).finish()
            }
        }
    )*};
}

debug_as_the_id! {
    NewRequest by |request| &request.id,
    ClaimedRequest by |request| &request.claim,
    NewReport by |report| &report.id,
    ClaimedReport by |report| &report.claim,
    DeliveryRecord by |delivery| &delivery.id,
    Disabled by |disabled| &disabled.since,
}
