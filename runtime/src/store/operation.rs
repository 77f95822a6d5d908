//! What the writer does for its callers, as data: so that a batch can be tried again, split, and handed to any backend.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::backlog::QueueSlot;
use super::clock::Trust;
use super::record::{
    Attempt, Batch, ClaimedReport, ClaimedRequest, NewReport, NewRequest, Next, Recovered, Registration, ReportClaim,
    RequestClaim, Settled, Submitted,
};
use super::replay::Replayed;
use crate::id::{ReportId, RequestId};
use crate::report::Outcome;
use crate::time::Timestamp;

/// One operation. All of a batch are applied in one transaction.
///
/// Invariant: an id occurs in at most one operation of a batch, so the backend may apply them kind by kind, claims last.
#[derive(Debug)]
pub(crate) enum Op {
    Submit {
        request: NewRequest,
        /// See [`Outgoing::room`].
        room: Option<OwnedSemaphorePermit>,
        /// Among those that wait.
        place: Option<QueueSlot>,
    },
    Post {
        reports: Vec<Outgoing>,
    },
    Register {
        claim: RequestClaim,
        registration: Registration,
    },
    /// `queued`: not by who runs it, but of one that waits and was claimed so many times as the epoch says. Then `waited` says
    /// what it took up.
    SettleRequest {
        claim: RequestClaim,
        queued: bool,
        waited: Option<Waited>,
        outcome: Outcome,
        reports: Vec<Outgoing>,
    },
    /// Takes down that it is to be cancelled, if it runs.
    CancelRunning {
        id: RequestId,
    },
    /// `failed`: the run counts.
    ReleaseRequest {
        claim: RequestClaim,
        due: Option<Timestamp>,
        failed: bool,
    },
    SettleReport {
        claim: ReportClaim,
        attempt: Attempt,
        next: Next,
    },
    ReleaseReport {
        claim: ReportClaim,
        /// From when on it is to be tried; now, if it is not said.
        due: Option<Timestamp>,
    },
    ParkReport {
        claim: ReportClaim,
        /// Under which it is claimed again: its origin, if nothing is said.
        line: Option<Arc<str>>,
    },
    HoldReport {
        claim: ReportClaim,
    },
    /// Gives back up to `limit` of the reports that are held for it; once there are no more, the URL is enabled.
    Enable {
        url: String,
        limit: usize,
        /// It stays disabled: what is given back is to find out whether the receiver still wants no more.
        probe: bool,
    },
    /// Writes a copy of a delivery that is over, to be sent.
    Replay {
        delivery: ReportId,
        copy: ReportId,
    },
    ClaimRequests(RequestsWanted),
    ClaimReports {
        limit: usize,
    },
    ClaimParked {
        line: String,
        limit: usize,
    },
    Recover {
        max_crashes: u32,
    },
    Purge {
        before: Timestamp,
        limit: usize,
        /// To be kept with it: see [`Trust`].
        trust: Option<Trust>,
    },
    /// Ends up to `limit` parked reports that were made before this moment.
    GiveUpParked {
        before: Timestamp,
        limit: usize,
    },
    /// Only its place in the queue matters.
    Barrier,
}

/// What a request takes up among those that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) route: String,
    pub(crate) bytes: u64,
}

/// What a claim of requests is for.
#[derive(Debug)]
pub(crate) struct RequestsWanted {
    /// All in all.
    pub(crate) limit: usize,
    pub(crate) routes: Arc<[String]>,
    /// How many of each route run: whoever has least comes first. None, where it is not said.
    pub(crate) running: Vec<usize>,
    /// Whether one may be among them that was running when its process ended.
    pub(crate) suspects: bool,
}

/// A report to be written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) report: Arc<NewReport>,
    /// What it takes up where it is handed over: with it, it is *pre-claimed*, written as already in this node's hands.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn is_born_claimed(&self) -> bool {
        self.room.is_some()
    }
}

/// The answer to an operation, of the kind that it asks for.
#[derive(Debug)]
pub(crate) enum Reply {
    /// These parked reports are dead.
    GivenUp(Vec<ReportId>),
    Submitted(Submitted),
    Settled(Settled),
    /// Settled as current, and this URL is disabled from now on.
    Disabled(String),
    /// Settled as current, and held.
    Held,
    Enabled(Enabled),
    /// The claim under which it runs; `None`: it does not.
    Cancelling(Option<RequestClaim>),
    Requests(Batch<ClaimedRequest>),
    Reports(Batch<ClaimedReport>),
    Replayed(Replayed),
    Recovered(Recovered),
    Purged(Purged),
    /// Reports posted so far; filled in by the writer.
    Passed(u64),
    Done,
}

/// The answer to [`Op::Enable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enabled {
    /// Reports given back.
    pub(crate) reports: usize,
    /// Whether these were the last.
    pub(crate) done: bool,
}

/// The answer to [`Op::Purge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// Rows deleted.
    pub(crate) deleted: usize,
    /// Reports that were held for so long that they are given up.
    pub(crate) given_up: usize,
    /// Whether there is more of it: one commit has a bound in rows, and in bytes.
    pub(crate) more: bool,
}

/// What must not occur twice in a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Request(RequestId),
    Report(ReportId),
}

impl Op {
    pub(crate) fn post(reports: Vec<NewReport>) -> Self {
        Self::Post { reports: outgoing(reports) }
    }

    pub(crate) fn settle(claim: RequestClaim, outcome: Outcome, reports: Vec<NewReport>) -> Self {
        Self::SettleRequest { claim, queued: false, waited: None, outcome, reports: outgoing(reports) }
    }

    pub(crate) fn settle_queued(
        claim: RequestClaim,
        waited: Waited,
        outcome: Outcome,
        reports: Vec<NewReport>,
    ) -> Self {
        Self::SettleRequest { claim, queued: true, waited: Some(waited), outcome, reports: outgoing(reports) }
    }

    /// The reports that it writes.
    pub(crate) fn reports(&self) -> &[Outgoing] {
        match self {
            Self::Post { reports } | Self::SettleRequest { reports, .. } => reports,
            _ => &[],
        }
    }

    pub(crate) fn reports_mut(&mut self) -> &mut [Outgoing] {
        match self {
            Self::Post { reports } | Self::SettleRequest { reports, .. } => reports,
            _ => &mut [],
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let own = match self {
            Self::Submit { request, .. } => Some(Key::Request(request.id.clone())),
            Self::CancelRunning { id } => Some(Key::Request(id.clone())),
            Self::Register { claim, .. } | Self::SettleRequest { claim, .. } | Self::ReleaseRequest { claim, .. } => {
                Some(Key::Request(claim.id.clone()))
            }
            Self::SettleReport { claim, .. }
            | Self::ReleaseReport { claim, .. }
            | Self::ParkReport { claim, .. }
            | Self::HoldReport { claim } => Some(Key::Report(claim.id)),
            Self::Replay { delivery, .. } => Some(Key::Report(*delivery)),
            _ => None,
        };
        own.into_iter().chain(self.reports().iter().map(|outgoing| Key::Report(outgoing.report.id)))
    }

    /// What it counts for in a queue or a batch.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Post { reports } => reports.len().max(1),
            Self::SettleRequest { reports, .. } => reports.len() + 1,
            _ => 1,
        }
    }

    /// What it holds in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let own = match self {
            Self::Submit { request, .. } => request_bytes(request),
            Self::SettleRequest { outcome, .. } => outcome_bytes(outcome),
            Self::SettleReport { attempt, .. } => attempt.response.len(),
            _ => 0,
        };
        self.reports().iter().fold(own, |sum, outgoing| sum + report_bytes(&outgoing.report))
    }
}

fn outgoing(reports: Vec<NewReport>) -> Vec<Outgoing> {
    reports.into_iter().map(|report| Outgoing { report: Arc::new(report), room: None }).collect()
}

/// Bytes that one claim takes into memory; a larger row comes alone. Enough that the rows' number is the bound unless they are
/// large, and little beside what the delivery holds anyway.
pub(crate) const CLAIM_BYTES: usize = 8 << 20;

/// Bytes that one commit deletes of requests, and of reports; a larger row goes alone.
pub(crate) const PURGE_BYTES: usize = 8 << 20;

/// What a row costs besides its texts: the structs and the maps' entries, rounded.
const ROW: usize = 256;

pub(crate) fn request_bytes(request: &NewRequest) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let webhooks = request.registration.iter().flat_map(|registration| &registration.webhooks);
    let webhooks: usize = webhooks.map(|webhook| WEBHOOK + webhook.url().as_str().len()).sum();
    ROW + request.body.len() + headers + webhooks
}

/// What a parsed webhook takes up besides its URL.
const WEBHOOK: usize = 256;

pub(crate) fn report_bytes(report: &NewReport) -> usize {
    ROW + report.body.len() + report.to.url().len() + report.subject.len()
}

/// What a report in hand is counted in: so a bound of so many units is one of bytes, and of rows too.
pub(crate) const REPORT_UNIT: usize = 4 << 10;

pub(crate) fn report_units(report: &NewReport) -> usize {
    report_bytes(report) / REPORT_UNIT + 1
}

pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    let json = |json: &Option<crate::report::Json>| json.as_ref().map_or(0, |json| json.bytes().len());
    ROW + json(&outcome.result) + json(&outcome.error) + outcome.detail.as_ref().map_or(0, String::len)
}
