//! Reports that are set aside: *parked* until their origin or their URL has a turn for them, *held* until their URL is enabled again.
//!
//! Neither is claimed with the others, so that whoever claims what is due meets each of them once, not at every look.
//! Both read as pending, and survive the process where the store does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::operation::{Op, Reply};
use super::record::{Batch, ClaimedReport, Disabled, ReportClaim, Settled};
use super::{Error, Store};

/// URLs that are disabled at once, at most; a further one is not, and ends only the report in hand.
const MOST_DISABLED: usize = 10_000;
/// Held reports given back in one commit.
const AT_ONCE: usize = 10_000;
/// What the record says of a report that was held for longer than the retention.
pub(super) const NOT_ENABLED: &str = "its webhook was disabled by the receiver, and not enabled again in time";

/// What the record says of a report that nobody could try for so long.
pub(super) const TOO_OLD: &str = "it waited for its origin, which works no more, until its time was over";

impl Store {
    /// Ends up to `limit` parked reports that are older than this as dead; how many there were. By the store's own time: a wall
    /// clock that jumps ends none.
    pub(crate) async fn give_up_parked(&self, age: Duration, limit: usize) -> Result<usize, Error> {
        let before = self.0.shared.clock.now().due.saturating_sub(age);
        match self.ask(Op::GiveUpParked { before, limit }).await? {
            Reply::GivenUp(ended) => Ok(ended.len()),
            _ => Err(Error::Closed),
        }
    }

    /// Puts a report back that was not tried, to wait for a turn of its origin. The attempt is not counted, and when it is due
    /// does not change.
    pub(crate) async fn park_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        self.settle(Op::ParkReport { claim, line: None }).await
    }

    /// The same, to be claimed under this line of its origin and no other: a URL of it.
    pub(crate) async fn park_report_under(&self, claim: ReportClaim, line: Arc<str>) -> Result<Settled, Error> {
        self.settle(Op::ParkReport { claim, line: Some(line) }).await
    }

    /// Claims up to `limit` due reports that are parked under this line, which is an origin or a URL of it, the longest due first, with the bound in bytes of all
    /// claims. `next_due` is that of the next one parked under it.
    pub(crate) async fn claim_parked(&self, line: &str, limit: usize) -> Result<Batch<ClaimedReport>, Error> {
        match self.ask(Op::ClaimParked { line: line.to_owned(), limit }).await? {
            Reply::Reports(batch) => Ok(self.by_wall(batch)),
            _ => Err(Error::Closed),
        }
    }

    /// The lines under which reports are parked.
    pub(crate) async fn parked_origins(&self) -> Result<Vec<String>, Error> {
        self.reader()?.parked_origins().await.map_err(Error::Backend)
    }

    /// Whether a receiver said, by a [`Next`](super::Next) that disables, that it wants nothing more at this very URL: other paths
    /// of its host are none of its business. Known as soon as that is committed, until the URL is enabled.
    pub(crate) fn is_disabled(&self, url: &str) -> bool {
        self.0.shared.disabled.lock().contains(url)
    }

    /// The disabled URLs, the longest disabled first.
    pub(crate) async fn disabled(&self) -> Result<Vec<Disabled>, Error> {
        self.reader()?.disabled().await.map_err(Error::Backend)
    }

    /// Puts a report back that was not tried, until its URL is enabled. The attempt is not counted. If the URL is not disabled
    /// (any more), the report is due as it was.
    pub(crate) async fn hold_report(&self, claim: ReportClaim) -> Result<Settled, Error> {
        self.settle(Op::HoldReport { claim }).await
    }

    /// Has one of the reports that are held for this URL tried, which stays disabled.
    pub(crate) async fn release_held(&self, url: &str) -> Result<(), Error> {
        self.ask(Op::Enable { url: url.to_owned(), limit: 1, probe: true }).await.map(drop)
    }

    /// Enables a URL: its held reports are due now. How many there were. In one commit, or several if there are very many;
    /// dropped half-way, the rest stays held.
    pub(crate) async fn enable(&self, url: &str) -> Result<u64, Error> {
        let mut reports = 0;
        loop {
            match self.ask(Op::Enable { url: url.to_owned(), limit: AT_ONCE, probe: false }).await? {
                Reply::Enabled(enabled) => {
                    reports += enabled.reports as u64;
                    if enabled.done {
                        return Ok(reports);
                    }
                }
                _ => return Err(Error::Closed),
            }
        }
    }
}

/// The disabled URLs, as committed.
pub(super) struct DisabledUrls(Mutex<HashSet<String>>);

impl DisabledUrls {
    pub(super) fn new(urls: HashSet<String>) -> Self {
        Self(Mutex::new(urls))
    }

    /// Whether one more may be disabled.
    pub(super) fn has_room(&self) -> bool {
        self.lock().len() < MOST_DISABLED
    }

    /// Takes down what a batch did: enabling after disabling, as the backends do.
    pub(super) fn learn<'a>(&self, done: impl Iterator<Item = (&'a Op, &'a Reply)>) {
        let mut enabled = Vec::new();
        let mut disabled = Vec::new();
        for pair in done {
            match pair {
                (_, Reply::Disabled(url)) => disabled.push(url),
                // From the first commit on: what it gave back must not be held again.
                (Op::Enable { url, probe: false, .. }, Reply::Enabled(_)) => enabled.push(url),
                _ => {}
            }
        }
        if disabled.is_empty() && enabled.is_empty() {
            return;
        }
        let mut urls = self.lock();
        let before = urls.len();
        urls.extend(disabled.into_iter().cloned());
        if before < MOST_DISABLED && urls.len() >= MOST_DISABLED {
            tracing::warn!(
                "{MOST_DISABLED} webhooks are disabled; of further ones whose receivers answer 410, only that report ends"
            );
        }
        for url in enabled {
            urls.remove(url);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
