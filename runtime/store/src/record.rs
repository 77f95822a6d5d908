//! The data types of the store: what callers give to the store, and what they get from it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use postback_wire::id::{ReportId, RequestId};
use postback_wire::report::Outcome;
use postback_wire::time::Timestamp;
use postback_wire::webhook::{Target, Webhook};

/// What happens to a report after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// The report is delivered, and the receiver wants no more reports at this URL.
    DeliveredLast,
    RetryAt(Timestamp),
    /// The attempt failed, and it was the last attempt of the schedule.
    Dead,
    /// The report may not be sent to its URL.
    Refused,
    /// The receiver does not want this report again.
    Gone {
        /// Whether the receiver also wants no more reports at this URL.
        disable: bool,
    },
}

impl Next {
    /// Whether the URL of the report is disabled from now on.
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

/// A new request that the store should accept.
#[derive(Clone)]
pub struct NewRequest {
    pub id: RequestId,
    pub route: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub created: Timestamp,
    /// Where the outcome is reported, unless a run registers something else. `None`: this was not known when the
    /// request arrived.
    pub registration: Option<Registration>,
}

impl NewRequest {
    /// Returns the claimed form of this new request. The request was never run before, so it has no failures and no
    /// crashes.
    pub fn claimed(self, epoch: u32) -> ClaimedRequest {
        let Self { id, route, headers, body, created, registration } = self;
        let claim = Claim { id, epoch };
        ClaimedRequest { claim, route, headers, body, created, failures: 0, crashes: 0, cancelled: false, registration }
    }
}

/// The right to settle one request or report. The right ends when the row is claimed again: the later claim has a
/// greater epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim<I> {
    pub id: I,
    /// Counts the claims of the row: each claim adds 1, and nothing else changes this number.
    pub epoch: u32,
}

pub type RequestClaim = Claim<RequestId>;
pub type ReportClaim = Claim<ReportId>;

/// A request that a worker has claimed.
#[derive(Clone)]
pub struct ClaimedRequest {
    pub claim: RequestClaim,
    pub route: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub created: Timestamp,
    /// How many earlier runs ended with an error, a panic or a timeout.
    pub failures: u32,
    /// How many earlier runs were lost because their process died.
    pub crashes: u32,
    /// Whether the request was cancelled during an earlier run that ended without settling the request. The worker
    /// settles a cancelled request as cancelled, and does not run it.
    pub cancelled: bool,
    /// The registration that an earlier run stored. If no run stored one: the registration that was known when the
    /// request arrived, if any.
    pub registration: Option<Registration>,
}

impl ClaimedRequest {
    /// Returns the number of the run that this claim is for. The first run has number 1.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// The webhooks that receive a request's outcome, and which outcomes are reported. The function with the attribute has
/// asked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    pub webhooks: Vec<Webhook>,
    pub on: postback_wire::report::Ends,
    /// Whether reports and API answers say why a request was not completed.
    pub tells_reason: bool,
}

/// A report to deliver to one URL. The body never changes: every attempt sends the same bytes.
#[derive(Clone)]
pub struct NewReport {
    pub id: ReportId,
    /// The id that the report is about: the id of a request, or any id that a caller of the library chose.
    pub subject: Arc<str>,
    pub to: Target,
    pub body: Bytes,
    pub created: Timestamp,
    /// Why the report is never attempted: such a report is stored as refused. `None`: the report will be attempted.
    pub refused: Option<String>,
    /// The text before "→ delivered" in the log line of the first attempt on this node, such as "/greet 0193… completed
    /// in 1.2 s". Only memory holds this text: the store does not write it.
    // Invariant: `note` begins with the route and a space. There is no field for the route, because the field would
    // cost each post one more allocation. The list of reports is converted in place into the store's list, and this
    // works only while both types have fitting sizes.
    pub note: Option<String>,
}

impl NewReport {
    /// Makes a report to this webhook, with a new id.
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

    /// The route of the request that the report is about, for log lines. `None`: the report has no `note`, from which
    /// the route is taken.
    pub fn route(&self) -> Option<&str> {
        self.note.as_deref()?.split(' ').next()
    }

    /// Returns the claimed form of this report, for the attempt with the number `attempt`.
    pub fn claimed(self: Arc<Self>, epoch: u32, attempt: u32) -> ClaimedReport {
        ClaimedReport { claim: Claim { id: self.id, epoch }, webhook_id: self.id, attempt, report: self }
    }
}

/// A report that was claimed for an attempt, with its claim.
#[derive(Clone)]
pub struct ClaimedReport {
    pub claim: ReportClaim,
    /// The value of the header `webhook-id` in every attempt: the id of the report itself, or, in a replay, the id of
    /// the first delivery.
    pub webhook_id: ReportId,
    /// The number of the attempt that this claim is for. The first attempt has number 1.
    pub attempt: u32,
    /// The report as it was posted. If the row was sent to the delivery in memory, the store and the delivery share
    /// this value.
    pub report: Arc<NewReport>,
}

impl Deref for ClaimedReport {
    type Target = NewReport;

    fn deref(&self) -> &NewReport {
        &self.report
    }
}

/// An attempt that has finished: one HTTP request of a delivery, with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub started: Timestamp,
    pub took: Duration,
    /// The HTTP status of the answer. `None`: there was no answer.
    pub status: Option<u16>,
    /// What went wrong in the attempt, as a text for the operator.
    pub error: Option<String>,
    /// The first bytes of the answer's body. The delivery limits how many bytes it keeps.
    pub response: Bytes,
}

/// Whether a settlement was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// The claim was current, and the settlement was written.
    Current,
    /// The claim was no longer current, so nothing was written.
    Stale,
}

/// What the store did with a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The request was accepted.
    New,
    /// The store already has a request with this id, and with the same route and body. Nothing was written.
    Known,
    /// The store already has a request with this id, but with another route or body. Nothing was written.
    Conflict,
}

/// The rows that one claim returned, and the time when the next row is due.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    pub rows: Vec<T>,
    /// When the next row is due, if nothing is written before. `None`: no row waits. A time in the past: more rows are
    /// due than this claim returned.
    pub next_due: Option<Timestamp>,
}

/// The state of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    Queued,
    Running,
    Settled(Outcome),
}

/// A request as the store returns it.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    pub id: RequestId,
    pub route: String,
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

/// A delivery as the store returns it.
#[derive(Clone)]
pub struct DeliveryRecord {
    pub id: ReportId,
    /// The value of the header `webhook-id` in every attempt: the id of the delivery itself, or, in a replay, the id of
    /// the first delivery.
    pub webhook_id: ReportId,
    pub url: String,
    pub state: DeliveryState,
    /// How many attempts of this delivery have begun.
    pub attempts: u32,
    /// When the next attempt is due. `None` unless the delivery is pending and its URL is enabled.
    pub next_due: Option<Timestamp>,
    /// The last attempt that has finished. `None`: no attempt has finished.
    pub last: Option<Attempt>,
    /// Why the delivery ended without an attempt. `None` for every other delivery.
    pub refused: Option<String>,
}

/// A disabled URL. Its receiver wants no more reports there.
#[derive(Clone, PartialEq, Eq)]
pub struct Disabled {
    pub url: String,
    pub since: Timestamp,
    /// The result of the attempt that disabled the URL, as a text.
    pub reason: String,
}

/// What a new process recovered from a store that an earlier process left.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many requests wait again. Each of them now has one more crash.
    pub requests: usize,
    /// How many reports wait again. Each of them now has one more attempt, whose outcome is unknown.
    pub reports: usize,
    /// Requests that are not run again, because they had too many crashes or are cancelled. The recovery has claimed
    /// them, and the worker must settle them.
    pub lost: Vec<ClaimedRequest>,
}

/// How many rows are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many requests wait to be run, by route.
    pub queued: BTreeMap<String, u64>,
    pub running: u64,
    /// How many deliveries have not ended: they are pending, parked, held, or being delivered.
    pub undelivered: u64,
}

macro_rules! debug_as_the_id {
    ($($record:ident by $id:expr),* $(,)?) => {$(
        /// Prints only the id of a record, or, for a disabled URL, the time since which it is disabled. The URL's
        /// query, a header or a body may hold a secret, so they are not printed.
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
