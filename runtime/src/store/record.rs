//! The nouns of the store: what is given to it, what it hands out, what it tells.

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

/// A request to be accepted.
#[derive(Clone)]
pub(crate) struct NewRequest {
    pub(crate) id: RequestId,
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Where its end is reported should no run say so, if that could be known when it came.
    pub(crate) registration: Option<Registration>,
}

impl NewRequest {
    /// As it is handed out under a claim, if it was never run before.
    pub(crate) fn claimed(self, epoch: u32) -> ClaimedRequest {
        let Self { id, route, headers, body, created, registration } = self;
        let claim = Claim { id, epoch };
        ClaimedRequest { claim, route, headers, body, created, failures: 0, crashes: 0, cancelled: false, registration }
    }
}

/// The right to settle one request or report: as long as no later claim was made, which the epoch tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim<I> {
    pub(crate) id: I,
    /// Grows by one at every claim, and never else.
    pub(crate) epoch: u32,
}

pub(crate) type RequestClaim = Claim<RequestId>;
pub(crate) type ReportClaim = Claim<ReportId>;

/// A request in the hands of a worker.
#[derive(Clone)]
pub(crate) struct ClaimedRequest {
    pub(crate) claim: RequestClaim,
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Runs so far that ended in error, panic or timeout.
    pub(crate) failures: u32,
    /// Runs so far that were lost with their process.
    pub(crate) crashes: u32,
    /// An earlier run was to be stopped, and ended otherwise: it is to be settled as cancelled, and not to be run.
    pub(crate) cancelled: bool,
    /// What an earlier run registered, if it was stored; else what was known when the request came.
    pub(crate) registration: Option<Registration>,
}

impl ClaimedRequest {
    /// The number of the run that this claim is for; the first is 1.
    #[cfg(feature = "server")]
    pub(crate) fn attempt(&self) -> u32 {
        self.failures.saturating_add(self.crashes).saturating_add(1)
    }
}

/// Where a run's end is reported and which ends are, as the annotated call asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) on: crate::report::Ends,
    /// Whether the outside is told why it was not completed.
    pub(crate) tells_reason: bool,
}

/// A report to be delivered to one origin. Its body is frozen: every attempt sends these bytes.
#[derive(Clone)]
pub(crate) struct NewReport {
    pub(crate) id: ReportId,
    /// The id that the report speaks of: a request's, or whatever a library caller named.
    pub(crate) subject: Arc<str>,
    pub(crate) to: Target,
    pub(crate) body: Bytes,
    pub(crate) created: Timestamp,
    /// Why it will not be tried at all. Such a report is stored as refused, with no attempt.
    pub(crate) refused: Option<String>,
    /// What the log says before "→ delivered" at the first try on this node, such as "/greet 0193… completed in 1.2 s".
    /// Not stored.
    // Invariant: it begins with the route and a space. A field for the route would make each post allocate once more: the list of
    // reports is turned in place into that of the store, which the sizes of the two allow.
    pub(crate) note: Option<String>,
}

impl NewReport {
    /// A report to this webhook, under an id of its own.
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

    /// The route of the request that it speaks of, as far as the log is to tell it.
    pub(crate) fn route(&self) -> Option<&str> {
        self.note.as_deref()?.split(' ').next()
    }

    /// As it is handed out under a claim, for the try with this number.
    pub(crate) fn claimed(self: Arc<Self>, epoch: u32, attempt: u32) -> ClaimedReport {
        ClaimedReport { claim: Claim { id: self.id, epoch }, webhook_id: self.id, attempt, report: self }
    }
}

/// A report in the hands of the delivery.
#[derive(Clone)]
pub(crate) struct ClaimedReport {
    pub(crate) claim: ReportClaim,
    /// What it is sent under: its own id, or that of the first if it repeats an earlier delivery.
    pub(crate) webhook_id: ReportId,
    /// The number of the attempt that this claim is for; the first is 1.
    pub(crate) attempt: u32,
    /// As it was posted: shared with the store, where it is handed over in memory.
    pub(crate) report: Arc<NewReport>,
}

impl Deref for ClaimedReport {
    type Target = NewReport;

    fn deref(&self) -> &NewReport {
        &self.report
    }
}

/// One finished HTTP try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    /// The HTTP status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// What went wrong, in words for the operator.
    pub(crate) error: Option<String>,
    /// The first bytes of the answer's body; the delivery bounds them.
    pub(crate) response: Bytes,
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Settled {
    /// Written.
    Current,
    /// The claim was no longer current; nothing was written.
    Stale,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    New,
    /// The same id with the same route and body was accepted before.
    Known,
    /// The same id with another route or body was accepted before; nothing was written.
    Conflict,
}

/// Rows of one claim, and when the next one is due if nothing happens until then.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) rows: Vec<T>,
    /// `None`: nothing waits. In the past if more is due than was handed out.
    pub(crate) next_due: Option<Timestamp>,
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestState {
    Queued,
    Running,
    Settled(Outcome),
}

/// A request as it can be asked for.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "what is told of a request is its summary; tests look at all of it"))]
pub(crate) struct RequestRecord {
    pub(crate) id: RequestId,
    pub(crate) route: String,
    pub(crate) state: RequestState,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeliveryState {
    Pending,
    Delivering,
    Delivered,
    Dead,
    Refused,
    Gone,
}

/// A delivery as it can be asked for.
#[derive(Clone)]
pub(crate) struct DeliveryRecord {
    pub(crate) id: ReportId,
    /// See [`ClaimedReport::webhook_id`].
    pub(crate) webhook_id: ReportId,
    pub(crate) url: String,
    pub(crate) state: DeliveryState,
    /// Attempts begun so far.
    pub(crate) attempts: u32,
    /// When the next attempt is due; only while pending, and not while its URL is disabled.
    pub(crate) next_due: Option<Timestamp>,
    /// The last finished attempt.
    pub(crate) last: Option<Attempt>,
    /// Why it came to its end without an attempt.
    pub(crate) refused: Option<String>,
}

/// A URL whose receiver wants nothing more.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Disabled {
    pub(crate) url: String,
    pub(crate) since: Timestamp,
    /// What the attempt that disabled it came to.
    pub(crate) reason: String,
}

/// What an owner found when it opened a store that another process had left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovered {
    /// Requests put back into the queue, each with one crash more.
    pub(crate) requests: usize,
    /// Reports put back, each with an attempt whose outcome is unknown.
    pub(crate) reports: usize,
    /// Requests that are not run again, because they were lost with their process once too often, or are cancelled: claimed, for
    /// the worker to settle.
    pub(crate) lost: Vec<ClaimedRequest>,
}

/// What is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Unfinished requests that wait, by route.
    pub(crate) queued: BTreeMap<String, u64>,
    pub(crate) running: u64,
    /// Deliveries that are not over, whatever they wait for.
    pub(crate) undelivered: u64,
}

macro_rules! debug_as_the_id {
    ($($record:ident by $id:expr),* $(,)?) => {$(
        /// What cannot be secret: a URL's query, a header or a body may hold a secret.
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
