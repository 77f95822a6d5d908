//! Reports that wait in the store and that a claim of due reports does not return: *parked* reports wait for their
//! origin's turn, and *held* reports wait until their URL is enabled again.
//!
//! A claim of due reports does not even read parked and held reports, so it does not read them again and again. Parked
//! and held reports are shown as pending. If the store survives the process, parked and held reports stay parked and
//! held.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Store;
use crate::error::Error;
use crate::record::Disabled;

/// The largest number of URLs that can be disabled at the same time. If so many URLs are disabled, no other URL can be
/// disabled: an answer that would disable another URL only ends its own report.
const MOST_DISABLED: usize = 10_000;

/// The reason that is recorded for a report that was held for longer than the retention.
pub(super) const NOT_ENABLED: &str = "its webhook was disabled by the receiver, and not enabled again in time";

/// The reason that is recorded for a report that was parked for longer than its schedule and the retention together.
pub(super) const TOO_OLD: &str =
    "it waited for its origin for longer than delivery.schedule and store.retention together";

impl Store {
    /// Returns the names under which reports are parked. A name is an origin, or a single URL of an origin.
    pub async fn parked_origins(&self) -> Result<Vec<String>, Error> {
        self.reader()?.parked_origins().await.map_err(Error::Backend)
    }

    /// Returns whether this URL is disabled, because its receiver wants no more reports at this URL. A URL is disabled
    /// after the commit of an attempt whose [`Next`](crate::record::Next) disables the URL. It stays disabled until the
    /// commit that enables it. Other paths of the same host are not disabled.
    pub fn is_disabled(&self, url: &str) -> bool {
        self.0.shared.local.disabled.lock().contains(url)
    }

    /// Returns the disabled URLs. The URL that has been disabled longest comes first.
    pub async fn disabled(&self) -> Result<Vec<Disabled>, Error> {
        self.reader()?.disabled().await.map_err(Error::Backend)
    }
}

/// The set of URLs that are disabled now: a committed operation has disabled them, and no later commit has enabled
/// them.
pub(super) struct DisabledUrls(Mutex<HashSet<String>>);

impl DisabledUrls {
    pub(super) fn new(urls: HashSet<String>) -> Self {
        Self(Mutex::new(urls))
    }

    /// Returns whether one more URL can be disabled, because fewer than [`MOST_DISABLED`] URLs are disabled.
    pub(super) fn has_room(&self) -> bool {
        self.lock().len() < MOST_DISABLED
    }

    /// Records that this URL is disabled. Called after the commit that disables the URL.
    pub(super) fn add(&self, url: &str) {
        let mut urls = self.lock();
        let before = urls.len();
        urls.insert(url.to_owned());
        if before < MOST_DISABLED && urls.len() >= MOST_DISABLED {
            tracing::warn!(
                "{MOST_DISABLED} webhooks are disabled, which is the limit: when a further receiver answers 410, only that \
                 report ends"
            );
        }
    }

    /// Records that this URL is enabled. Called after the commit that enables the URL.
    pub(super) fn remove(&self, url: &str) {
        self.lock().remove(url);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
