//! A claimed report that the delivery has in memory.

use tokio::sync::OwnedSemaphorePermit;

use super::scheduler::Schedulable;
use postback_store::{ClaimedReport, report_units};

/// A claimed report that the delivery has in memory.
pub(super) struct Work {
    pub(super) report: ClaimedReport,
    /// The share of the store's memory that the report uses until it is settled. `None` if the delivery read the report
    /// from the store. A report that was read from the store uses none of this memory.
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
