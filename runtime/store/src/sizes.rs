//! How much memory requests, reports and outcomes take, roughly; and the bounds in bytes of one commit.

use postback_wire::report::{Json, Outcome};

use crate::record::{NewReport, NewRequest};

/// The bytes that one claim takes into memory; a row that is larger is claimed alone. With rows of the usual size the
/// number of rows is the bound that a claim reaches first. 8 MiB is little beside what the deliveries hold in memory
/// anyway.
pub(crate) const CLAIM_BYTES: usize = 8 << 20;

/// The bytes of requests that one commit deletes, and the bytes of reports; a row that is larger is deleted alone.
pub(crate) const PURGE_BYTES: usize = 8 << 20;

/// What a row takes besides its texts: the structs and the entries of the maps, rounded.
const ROW: usize = 256;

/// What a parsed webhook takes besides its URL.
const WEBHOOK: usize = 256;

pub(crate) fn request_bytes(request: &NewRequest) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let webhooks = request.registration.iter().flat_map(|registration| &registration.webhooks);
    let webhooks: usize = webhooks.map(|webhook| WEBHOOK + webhook.url().as_str().len()).sum();
    ROW + request.body.len() + headers + webhooks
}

pub(crate) fn report_bytes(report: &NewReport) -> usize {
    ROW + report.body.len() + report.to.url().len() + report.subject.len()
}

/// The unit in which the reports that are being delivered are counted. A report takes at least one unit, so a bound in
/// units bounds the bytes and the number of reports.
pub const REPORT_UNIT: usize = 4 << 10;

pub fn report_units(report: &NewReport) -> usize {
    report_bytes(report) / REPORT_UNIT + 1
}

pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.bytes().len());
    ROW + json(&outcome.result) + json(&outcome.error) + outcome.detail.as_ref().map_or(0, String::len)
}
