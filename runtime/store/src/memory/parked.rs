//! Parked and held reports of the memory backend, and the disabled URLs.

use std::collections::{BTreeMap, HashMap};

use super::DueKey;
use crate::record::Disabled;
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

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
    by_operator: bool,
    pub(super) held: BTreeMap<DueKey, ReportId>,
}

impl ParkedReports {
    pub(super) fn lines(&self) -> Vec<String> {
        self.by_line.keys().cloned().collect()
    }

    pub(super) fn disable(&mut self, url: &str, since: Timestamp, reason: String) {
        self.disabled.entry(url.to_owned()).or_insert_with(|| DisabledUrl {
            since,
            reason,
            by_operator: false,
            held: BTreeMap::new(),
        });
    }

    /// Disables a URL or an origin. Returns whether the operator had not disabled it before.
    pub(super) fn disable_by_operator(&mut self, name: &str, since: Timestamp, reason: &str) -> bool {
        self.disable(name, since, String::new());
        let Some(disabled) = self.disabled.get_mut(name) else { return false };
        reason.clone_into(&mut disabled.reason);
        let is_new = !disabled.by_operator;
        if is_new {
            (disabled.since, disabled.by_operator) = (since, true);
        }
        is_new
    }

    /// Returns the entry for which a report to this target is held. `None`: neither the URL nor its origin is disabled.
    pub(super) fn disabled_mut(&mut self, to: &Target) -> Option<&mut DisabledUrl> {
        let name = if self.disabled.contains_key(to.url()) { to.url() } else { to.origin() };
        self.disabled.get_mut(name)
    }

    /// Removes a report from the reports that are held.
    pub(super) fn forget_held(&mut self, key: DueKey, to: &Target) {
        for name in [to.url(), to.origin()] {
            if let Some(disabled) = self.disabled.get_mut(name) {
                disabled.held.remove(&key);
            }
        }
    }

    pub(super) fn disabled(&self) -> Vec<Disabled> {
        let record = |(url, disabled): (&String, &DisabledUrl)| Disabled {
            url: url.clone(),
            since: disabled.since,
            reason: disabled.reason.clone(),
            by_operator: disabled.by_operator,
        };
        let mut disabled: Vec<_> = self.disabled.iter().map(record).collect();
        disabled.sort_by(|a, b| (a.since, &a.url).cmp(&(b.since, &b.url)));
        disabled
    }
}
