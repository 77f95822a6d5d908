//! The data types of the store: what callers give to the store, and what they get from it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::id::{ReportId, RequestId};
pub(crate) use crate::policy::after_attempt::Next;
use crate::report::Outcome;
use crate::time::Timestamp;
use crate::webhook::{Target, Webhook};

/// A request to accept.
#[derive(Clone)]
pub(crate) struct NewRequest {
    pub(crate) id: RequestId,
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Where the outcome is reported if no run registers anything else. `None`: not known when the request came.
    pub(crate) registration: Option<Registration>,
}

impl NewRequest {
    /// The claimed request, for a request that was never run before.
    pub(crate) fn claimed(self, epoch: u32) -> ClaimedRequest {
        let Self { id, route, headers, body, created, registration } = self;
        let claim = Claim { id, epoch };
        ClaimedRequest { claim, route, headers, body, created, failures: 0, crashes: 0, cancelled: false, registration }
    }
}

/// The right to settle one request or report. The right ends when a later claim is made: the later claim has a greater
/// epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim<I> {
    pub(crate) id: I,
    /// Grows by one at each claim of the row, and never otherwise.
    pub(crate) epoch: u32,
}

pub(crate) type RequestClaim = Claim<RequestId>;
pub(crate) type ReportClaim = Claim<ReportId>;

/// A request that a worker has claimed.
#[derive(Clone)]
pub(crate) struct ClaimedRequest {
    pub(crate) claim: RequestClaim,
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Earlier runs that ended in error, panic or timeout.
    pub(crate) failures: u32,
    /// Earlier runs that were lost because their process died.
    pub(crate) crashes: u32,
    /// Whether the request was cancelled during an earlier run, and that run ended without settling. The worker settles
    /// the request as cancelled, and does not run it.
    pub(crate) cancelled: bool,
    /// The registration that an earlier run stored. If there is none: what was known when the request came.
    pub(crate) registration: Option<Registration>,
}

impl ClaimedRequest {
    /// The number of the run that this claim is for; the first is 1.
    #[cfg(feature = "server")]
    pub(crate) fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// The webhooks that receive a request's outcome, and which outcomes are reported, as the annotated call asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) on: crate::report::Ends,
    /// Whether reports and answers say why a request was not completed.
    pub(crate) tells_reason: bool,
}

/// A report to deliver to one URL. The body never changes: every attempt sends these bytes.
#[derive(Clone)]
pub(crate) struct NewReport {
    pub(crate) id: ReportId,
    /// The id that the report is about: a request's id, or any id that a library caller gave.
    pub(crate) subject: Arc<str>,
    pub(crate) to: Target,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Why no attempt is made: such a report is stored as refused. `None`: the report will be attempted.
    pub(crate) refused: Option<String>,
    /// The text that the log puts before "→ delivered" at the first attempt on this node, such as "/greet 0193…
    /// completed in 1.2 s". Not stored.
    // Invariant: `note` begins with the route and a space. There is no field for the route, because the field would
    // cost each post one more allocation: the list of reports is converted in place into the store's list, which works
    // only while both types have fitting sizes.
    pub(crate) note: Option<String>,
}

impl NewReport {
    /// A report to this webhook, with a new id.
    pub(crate) fn to(target: impl Into<Target>, subject: &str, body: Bytes, created: Timestamp) -> Self {
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
    pub(crate) fn route(&self) -> Option<&str> {
        self.note.as_deref()?.split(' ').next()
    }

    /// The claimed report, for the attempt with this number.
    pub(crate) fn claimed(self: Arc<Self>, epoch: u32, attempt: u32) -> ClaimedReport {
        ClaimedReport { claim: Claim { id: self.id, epoch }, webhook_id: self.id, attempt, report: self }
    }
}

/// A report that the delivery has claimed.
#[derive(Clone)]
pub(crate) struct ClaimedReport {
    pub(crate) claim: ReportClaim,
    /// The header `webhook-id` of every attempt: the report's own id, or, for a replay, the id of the first delivery.
    pub(crate) webhook_id: ReportId,
    /// The number of the attempt that this claim is for; the first is 1.
    pub(crate) attempt: u32,
    /// The report as it was posted. If the row was handed over in memory, the store shares this value.
    pub(crate) report: Arc<NewReport>,
}

impl Deref for ClaimedReport {
    type Target = NewReport;

    fn deref(&self) -> &NewReport {
        &self.report
    }
}

/// One finished attempt: one HTTP request of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    /// The HTTP status. `None`: there was no answer.
    pub(crate) status: Option<u16>,
    /// What went wrong, as a text for the operator.
    pub(crate) error: Option<String>,
    /// The first bytes of the answer's body. The delivery limits their number.
    pub(crate) response: Bytes,
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Settled {
    /// The claim was current, and the settlement was written.
    Current,
    /// The claim was no longer current; nothing was written.
    Stale,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// The request was accepted.
    New,
    /// A request with this id, route and body was accepted before. Nothing new was written.
    Known,
    /// A request with this id, but another route or body, was accepted before. Nothing was written.
    Conflict,
}

/// The rows of one claim, and when the next row is due if nothing else happens until then.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) rows: Vec<T>,
    /// `None`: no row waits. A time in the past: more rows are due than this claim returned.
    pub(crate) next_due: Option<Timestamp>,
}

/// The state of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestState {
    Queued,
    Running,
    Settled(Outcome),
}

/// A request as the store returns it.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "callers read the summary; only tests read the whole record"))]
pub(crate) struct RequestRecord {
    pub(crate) id: RequestId,
    pub(crate) route: String,
    pub(crate) state: RequestState,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeliveryState {
    Pending,
    Delivering,
    Delivered,
    Dead,
    Refused,
    Gone,
}

/// A delivery as the store returns it.
#[derive(Clone)]
pub(crate) struct DeliveryRecord {
    pub(crate) id: ReportId,
    /// The header `webhook-id` of every attempt: the delivery's own id, or, for a replay, the id of the first delivery.
    pub(crate) webhook_id: ReportId,
    pub(crate) url: String,
    pub(crate) state: DeliveryState,
    /// How many attempts have begun.
    pub(crate) attempts: u32,
    /// When the next attempt is due. `None` unless the delivery is pending and its URL is enabled.
    pub(crate) next_due: Option<Timestamp>,
    /// The last finished attempt.
    pub(crate) last: Option<Attempt>,
    /// Why the delivery ended without an attempt.
    pub(crate) refused: Option<String>,
}

/// A disabled URL: its receiver asked for no more reports.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Disabled {
    pub(crate) url: String,
    pub(crate) since: Timestamp,
    /// The result of the attempt that disabled the URL.
    pub(crate) reason: String,
}

/// What a new owner recovered from a store that another process left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovered {
    /// Requests that wait again, each with one more crash.
    pub(crate) requests: usize,
    /// Reports that wait again, each with an attempt whose outcome is unknown.
    pub(crate) reports: usize,
    /// Requests that are not run again, because they crashed once too often or because they are cancelled. They are
    /// claimed: the worker must settle them.
    pub(crate) lost: Vec<ClaimedRequest>,
}

/// How many rows are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that wait to be run, by route.
    pub(crate) queued: BTreeMap<String, u64>,
    pub(crate) running: u64,
    /// Deliveries that have not ended: pending, parked, held, or being delivered.
    pub(crate) undelivered: u64,
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
