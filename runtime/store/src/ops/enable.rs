//! Enables a disabled URL, and makes the reports that are held for it due.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Operation, Untaken};

/// The largest number of held reports that one commit of [`Store::enable`] makes due.
const AT_ONCE: usize = 10_000;

/// The operation that makes up to `limit` of the reports that are held for this URL due now. If no report is held for
/// the URL after that, the URL is enabled.
#[derive(Debug)]
pub(crate) struct Enable {
    pub url: String,
    pub limit: usize,
    /// If true, the URL stays disabled, and the reports that become due only test whether the receiver accepts reports
    /// again.
    pub probe: bool,
}

/// The result of an [`Enable`] operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enabled {
    /// The number of reports that became due.
    pub reports: usize,
    /// Whether no report is held for the URL now.
    pub done: bool,
}

impl Operation for Enable {
    type Answer = Enabled;

    fn committed(&self, _: &Enabled, local: &Local) {
        // The URL counts as enabled after the first of several commits, so that a report that became due is not held
        // again.
        if !self.probe {
            local.disabled.remove(&self.url);
        }
    }

    fn changes(&self, answer: &Enabled, changes: &mut Vec<Change>) {
        if answer.reports > 0 {
            changes.push(Change::Many);
        }
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.handoff.report_waits(local.clock.now().due);
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Makes one of the reports that are held for this URL due now, so that the delivery attempts the report. The URL
    /// stays disabled.
    pub async fn release_held(&self, url: &str) -> Result<(), Error> {
        self.ask(Enable { url: url.to_owned(), limit: 1, probe: true }).await.map(drop)
    }

    /// Enables a URL and makes the reports that are held for the URL due now. Returns the number of these reports. Many
    /// reports need several commits. If the caller drops the future between two commits, the remaining reports stay
    /// held.
    pub async fn enable(&self, url: &str) -> Result<u64, Error> {
        let _turn = self.0.shared.local.disabled.turn().await;
        self.enable_in_turn(url).await
    }

    /// Enables a URL as [`enable`](Self::enable) does, because its receiver accepts reports again. `None`: the operator
    /// has disabled the URL or its origin, so nothing was changed.
    pub async fn enable_for_receiver(&self, url: &str) -> Result<Option<u64>, Error> {
        let disabled = &self.0.shared.local.disabled;
        let _turn = disabled.turn().await;
        if disabled.has_by_operator(url) { Ok(None) } else { self.enable_in_turn(url).await.map(Some) }
    }

    async fn enable_in_turn(&self, url: &str) -> Result<u64, Error> {
        let mut reports = 0;
        loop {
            let enabled = self.ask(Enable { url: url.to_owned(), limit: AT_ONCE, probe: false }).await?;
            reports += enabled.reports as u64;
            if enabled.done {
                return Ok(reports);
            }
        }
    }
}
