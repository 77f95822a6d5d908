//! Parked and held reports of the memory backend, and the disabled URLs.

use std::collections::{BTreeMap, HashMap};

use super::DueKey;
use crate::record::Disabled;
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

#[derive(Default)]
pub(super) struct ParkedReports {
    /// The parked reports, by the origin or the URL under which they are parked. Each entry has at least one report.
    pub(super) by_line: BTreeMap<String, BTreeMap<DueKey, ReportId>>,
    pub(super) disabled: HashMap<String, DisabledUrl>,
    /// The held reports of all URLs. A held report waits until its URL is enabled.
    pub(super) held: BTreeMap<DueKey, ReportId>,
}

/// The time when a URL was disabled, the reason, and the reports that are held until the URL is enabled.
pub(super) struct DisabledUrl {
    since: Timestamp,
    reason: String,
    pub(super) held: BTreeMap<DueKey, ReportId>,
}

impl ParkedReports {
    pub(super) fn lines(&self) -> Vec<String> {
        self.by_line.keys().cloned().collect()
    }

    pub(super) fn disable(&mut self, url: &str, since: Timestamp, reason: String) {
        self.disabled.entry(url.to_owned()).or_insert_with(|| DisabledUrl { since, reason, held: BTreeMap::new() });
    }

    pub(super) fn disabled(&self) -> Vec<Disabled> {
        let record = |(url, disabled): (&String, &DisabledUrl)| Disabled {
            url: url.clone(),
            since: disabled.since,
            reason: disabled.reason.clone(),
        };
        let mut disabled: Vec<_> = self.disabled.iter().map(record).collect();
        disabled.sort_by(|a, b| (a.since, &a.url).cmp(&(b.since, &b.url)));
        disabled
    }
}
