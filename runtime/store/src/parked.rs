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

/// The largest number of URLs that can be disabled at the same time. If so many are disabled, an answer that would
/// disable another URL only ends the report that it answers.
const MOST_DISABLED: usize = 10_000;

/// The reason in the record of a report that was held for longer than the retention.
pub(super) const NOT_ENABLED: &str = "its webhook was disabled by the receiver, and not enabled again in time";

/// The reason in the record of a report that was parked for longer than its schedule and the retention together.
pub(super) const TOO_OLD: &str =
    "it waited for its origin for longer than delivery.schedule and store.retention together";

impl Store {
    /// Returns the origins, and the single URLs of origins, under which reports are parked.
    pub async fn parked_origins(&self) -> Result<Vec<String>, Error> {
        self.reader()?.parked_origins().await.map_err(Error::Backend)
    }

    /// Whether this URL is disabled, because its receiver wants no more reports there. An answer of the receiver
    /// disables a URL if it became a [`Next`](crate::record::Next) that disables. Other paths of the same host are not
    /// disabled. The URL is disabled from the commit of that answer until the commit that enables the URL.
    pub fn is_disabled(&self, url: &str) -> bool {
        self.0.shared.local.disabled.lock().contains(url)
    }

    /// Returns the disabled URLs. The URL that has been disabled longest comes first.
    pub async fn disabled(&self) -> Result<Vec<Disabled>, Error> {
        self.reader()?.disabled().await.map_err(Error::Backend)
    }
}

/// The URLs that a committed operation has disabled and that no later commit has enabled.
pub(super) struct DisabledUrls(Mutex<HashSet<String>>);

impl DisabledUrls {
    pub(super) fn new(urls: HashSet<String>) -> Self {
        Self(Mutex::new(urls))
    }

    /// Whether one more URL can be disabled, because fewer than the largest number are.
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
