//! Enables a disabled URL, and makes its held reports due.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Operation, Untaken};

/// The held reports that one commit makes due.
const AT_ONCE: usize = 10_000;

/// Makes up to `limit` of the reports that are held for this URL due now. Once no report is held for it, the URL is
/// enabled.
#[derive(Debug)]
pub(crate) struct Enable {
    pub url: String,
    pub limit: usize,
    /// The URL stays disabled. The reports that become due find out whether the receiver still refuses all reports.
    pub probe: bool,
}

/// The answer to [`Enable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enabled {
    /// How many reports became due.
    pub reports: usize,
    /// Whether no more reports are held for the URL.
    pub done: bool,
}

impl Operation for Enable {
    type Answer = Enabled;

    fn committed(&self, _: &Enabled, local: &Local) {
        // From the first of several commits on: a report that became due must not be held again.
        if !self.probe {
            local.disabled.remove(&self.url);
        }
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.handoff.report_waits(local.clock.now().due);
        local.wake.reports.notify_one();
    }
}

impl Store {
    /// Makes one of the reports that are held for this URL due, so that it is attempted. The URL stays disabled.
    pub async fn release_held(&self, url: &str) -> Result<(), Error> {
        self.ask(Enable { url: url.to_owned(), limit: 1, probe: true }).await.map(drop)
    }

    /// Enables a URL: its held reports are due now. Returns how many reports those are. Very many reports need several
    /// commits; if the caller drops the call between two commits, the remaining reports stay held.
    pub async fn enable(&self, url: &str) -> Result<u64, Error> {
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
