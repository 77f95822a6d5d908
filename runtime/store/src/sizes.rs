//! Roughly how much memory requests, reports and outcomes take, and the largest numbers of bytes of one commit.

use postback_wire::report::{Json, Outcome};

use crate::progress::Told;
use crate::record::{NewReport, NewRequest};

/// The largest number of bytes that one claim reads into memory. A larger row is claimed alone. If rows have the usual
/// size, a claim reaches its largest number of rows before this number of bytes. 8 MiB is little compared to the memory
/// that the deliveries use.
pub(crate) const CLAIM_BYTES: usize = 8 << 20;

/// The largest number of bytes of requests that one commit deletes. The bytes of reports that one commit deletes have
/// the same limit. A larger row is deleted alone.
pub(crate) const PURGE_BYTES: usize = 8 << 20;

/// The number of bytes of memory that a row takes in addition to the bytes of its strings: the structs and the entries
/// of the maps, rounded.
const ROW: usize = 256;

/// The number of bytes of memory that a parsed webhook takes in addition to its URL.
const WEBHOOK: usize = 256;

pub(crate) fn request_bytes(request: &NewRequest) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let webhooks = request.registration.iter().flat_map(|registration| &registration.webhooks);
    let webhooks: usize = webhooks.map(|webhook| WEBHOOK + webhook.url().as_str().len()).sum();
    let extras = request.extras.as_ref().map_or(0, |extras| extras.bytes());
    ROW + request.body.len() + headers + webhooks + extras
}

pub(crate) fn report_bytes(report: &NewReport) -> usize {
    ROW + report.body.len() + report.to.url().len() + report.subject.len()
}

/// The unit in which the size of a report is counted during its delivery, in bytes. Each report counts as at least one
/// unit, so that a limit in units limits both the bytes and the number of reports.
pub const REPORT_UNIT: usize = 4 << 10;

pub fn report_units(report: &NewReport) -> usize {
    report_bytes(report) / REPORT_UNIT + 1
}

pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.bytes().len());
    ROW + json(&outcome.result) + json(&outcome.error) + outcome.detail.as_ref().map_or(0, String::len)
}

pub(crate) fn told_bytes(told: &Told) -> usize {
    ROW + told.message.as_ref().map_or(0, String::len) + told.detail.as_ref().map_or(0, |detail| detail.bytes().len())
}
