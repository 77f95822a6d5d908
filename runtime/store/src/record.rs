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

/// What becomes of a report after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// The report is delivered, and the receiver wants no further report at this URL.
    DeliveredLast,
    RetryAt(Timestamp),
    /// The report had the last attempt of its schedule, and it failed.
    Dead,
    /// The report may not be sent to its URL.
    Refused,
    /// The receiver does not want the report again.
    Gone {
        /// The receiver wants no further report at this URL either.
        disable: bool,
    },
}

impl Next {
    /// Whether the URL is disabled by this.
    pub fn disables(self) -> bool {
        matches!(self, Self::DeliveredLast | Self::Gone { disable: true })
    }

    /// What becomes of the report if its answer must not disable the URL.
    #[must_use]
    pub fn without_disabling(self) -> Self {
        match self {
            Self::DeliveredLast => Self::Delivered,
            Self::Gone { .. } => Self::Gone { disable: false },
            other => other,
        }
    }
}

/// A request to accept.
#[derive(Clone)]
pub struct NewRequest {
    pub id: RequestId,
    pub route: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub created: Timestamp,
    /// Where the outcome is reported if no run registers anything else. `None`: not known when the request came.
    pub registration: Option<Registration>,
}

impl NewRequest {
    /// The claimed request, for a request that was never run before.
    pub fn claimed(self, epoch: u32) -> ClaimedRequest {
        let Self { id, route, headers, body, created, registration } = self;
        let claim = Claim { id, epoch };
        ClaimedRequest { claim, route, headers, body, created, failures: 0, crashes: 0, cancelled: false, registration }
    }
}

/// The right to settle one request or report. The right ends when a later claim is made: the later claim has a greater
/// epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim<I> {
    pub id: I,
    /// Grows by one at each claim of the row, and never otherwise.
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
    /// Earlier runs that ended in error, panic or timeout.
    pub failures: u32,
    /// Earlier runs that were lost because their process died.
    pub crashes: u32,
    /// Whether the request was cancelled during an earlier run, and that run ended without settling. The worker settles
    /// the request as cancelled, and does not run it.
    pub cancelled: bool,
    /// The registration that an earlier run stored. If there is none: what was known when the request came.
    pub registration: Option<Registration>,
}

impl ClaimedRequest {
    /// The number of the run that this claim is for; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// The webhooks that receive a request's outcome, and which outcomes are reported, as the annotated call asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    pub webhooks: Vec<Webhook>,
    pub on: postback_wire::report::Ends,
    /// Whether reports and answers say why a request was not completed.
    pub tells_reason: bool,
}

/// A report to deliver to one URL. The body never changes: every attempt sends these bytes.
#[derive(Clone)]
pub struct NewReport {
    pub id: ReportId,
    /// The id that the report is about: a request's id, or any id that a library caller gave.
    pub subject: Arc<str>,
    pub to: Target,
    pub body: Bytes,
    pub created: Timestamp,
    /// Why no attempt is made: such a report is stored as refused. `None`: the report will be attempted.
    pub refused: Option<String>,
    /// The text that the log puts before "→ delivered" at the first attempt on this node, such as "/greet 0193…
    /// completed in 1.2 s". Not stored.
    // Invariant: `note` begins with the route and a space. There is no field for the route, because the field would
    // cost each post one more allocation: the list of reports is converted in place into the store's list, which works
    // only while both types have fitting sizes.
    pub note: Option<String>,
}

impl NewReport {
    /// A report to this webhook, with a new id.
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

    /// The route of the request that the report is about, for the log. `None`: there is no `note` to take it from.
    pub fn route(&self) -> Option<&str> {
        self.note.as_deref()?.split(' ').next()
    }

    /// The claimed report, for the attempt with this number.
    pub fn claimed(self: Arc<Self>, epoch: u32, attempt: u32) -> ClaimedReport {
        ClaimedReport { claim: Claim { id: self.id, epoch }, webhook_id: self.id, attempt, report: self }
    }
}

/// A report that the delivery has claimed.
#[derive(Clone)]
pub struct ClaimedReport {
    pub claim: ReportClaim,
    /// The header `webhook-id` of every attempt: the report's own id, or, for a replay, the id of the first delivery.
    pub webhook_id: ReportId,
    /// The number of the attempt that this claim is for; the first is 1.
    pub attempt: u32,
    /// The report as it was posted. If the row was handed over in memory, the store shares this value.
    pub report: Arc<NewReport>,
}

impl Deref for ClaimedReport {
    type Target = NewReport;

    fn deref(&self) -> &NewReport {
        &self.report
    }
}

/// One finished attempt: one HTTP request of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub started: Timestamp,
    pub took: Duration,
    /// The HTTP status. `None`: there was no answer.
    pub status: Option<u16>,
    /// What went wrong, as a text for the operator.
    pub error: Option<String>,
    /// The first bytes of the answer's body. The delivery limits their number.
    pub response: Bytes,
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// The claim was current, and the settlement was written.
    Current,
    /// The claim was no longer current; nothing was written.
    Stale,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The request was accepted.
    New,
    /// A request with this id, route and body was accepted before. Nothing new was written.
    Known,
    /// A request with this id, but another route or body, was accepted before. Nothing was written.
    Conflict,
}

/// The rows of one claim, and when the next row is due if nothing else happens until then.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    pub rows: Vec<T>,
    /// `None`: no row waits. A time in the past: more rows are due than this claim returned.
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
    /// The header `webhook-id` of every attempt: the delivery's own id, or, for a replay, the id of the first delivery.
    pub webhook_id: ReportId,
    pub url: String,
    pub state: DeliveryState,
    /// How many attempts have begun.
    pub attempts: u32,
    /// When the next attempt is due. `None` unless the delivery is pending and its URL is enabled.
    pub next_due: Option<Timestamp>,
    /// The last finished attempt.
    pub last: Option<Attempt>,
    /// Why the delivery ended without an attempt.
    pub refused: Option<String>,
}

/// A disabled URL: its receiver asked for no more reports.
#[derive(Clone, PartialEq, Eq)]
pub struct Disabled {
    pub url: String,
    pub since: Timestamp,
    /// The result of the attempt that disabled the URL.
    pub reason: String,
}

/// What a new owner recovered from a store that another process left.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Requests that wait again, each with one more crash.
    pub requests: usize,
    /// Reports that wait again, each with an attempt whose outcome is unknown.
    pub reports: usize,
    /// Requests that are not run again, because they crashed once too often or because they are cancelled. They are
    /// claimed: the worker must settle them.
    pub lost: Vec<ClaimedRequest>,
}

/// How many rows are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that wait to be run, by route.
    pub queued: BTreeMap<String, u64>,
    pub running: u64,
    /// Deliveries that have not ended: pending, parked, held, or being delivered.
    pub undelivered: u64,
}

macro_rules! debug_as_the_id {
    ($($record:ident by $id:expr),* $(,)?) => {$(
        /// Prints only the id (for a disabled URL, the time), because a URL's query, a header or a body may hold a
        /// secret.
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
