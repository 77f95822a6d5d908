//! A claimed report that the delivery has in memory.

use tokio::sync::OwnedSemaphorePermit;

use super::scheduler::Schedulable;
use postback_store::{ClaimedReport, report_units};

/// A claimed report in memory.
pub(super) struct Work {
    pub(super) report: ClaimedReport,
    /// The room that the report takes up in the store's memory until it is settled. `None` if the delivery claimed the
    /// report itself, and the store did not hand it over in memory.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Schedulable for Work {
    fn units(&self) -> usize {
        report_units(&self.report)
    }

    fn url(&self) -> &str {
        let url = self.report.to.url();
        url.find(['?', '#']).map_or(url, |end| &url[..end])
    }
}
