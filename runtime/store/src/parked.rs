//! Reports that wait in the store and are not claimed with the other due reports: *parked* reports wait for their
//! origin's turn, *held* reports wait until their URL is enabled again.
//!
//! A claim of due reports does not find parked and held reports, so it does not read them again and again. Parked and
//! held reports are shown as pending. If the store survives the process, so do they.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Store;
use crate::error::Error;
use crate::record::Disabled;

/// How many URLs can be disabled at once. Further URLs are not disabled: an answer that would disable one ends only its
/// own report.
const MOST_DISABLED: usize = 10_000;

/// The reason in the record of a report that was held for longer than the retention.
pub(super) const NOT_ENABLED: &str = "its webhook was disabled by the receiver, and not enabled again in time";

/// The reason in the record of a report that was parked for longer than its schedule and the retention together.
pub(super) const TOO_OLD: &str =
    "it waited for its origin for longer than delivery.schedule and store.retention together";

impl Store {
    /// The lines under which reports are parked: origins, and single URLs.
    pub async fn parked_origins(&self) -> Result<Vec<String>, Error> {
        self.reader()?.parked_origins().await.map_err(Error::Backend)
    }

    /// Whether a receiver disabled this URL, by an answer that became a [`Next`](crate::record::Next) that disables. Other
    /// paths of the same host are not disabled. The URL is disabled from the commit of that answer until the commit
    /// that enables it.
    pub fn is_disabled(&self, url: &str) -> bool {
        self.0.shared.local.disabled.lock().contains(url)
    }

    /// The disabled URLs; the URL that is disabled longest comes first.
    pub async fn disabled(&self) -> Result<Vec<Disabled>, Error> {
        self.reader()?.disabled().await.map_err(Error::Backend)
    }
}

/// The URLs that are disabled by a committed operation.
pub(super) struct DisabledUrls(Mutex<HashSet<String>>);

impl DisabledUrls {
    pub(super) fn new(urls: HashSet<String>) -> Self {
        Self(Mutex::new(urls))
    }

    /// Whether one more URL can be disabled.
    pub(super) fn has_room(&self) -> bool {
        self.lock().len() < MOST_DISABLED
    }

    /// The URL is disabled, which is committed.
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

    /// The URL is enabled, which is committed.
    pub(super) fn remove(&self, url: &str) {
        self.lock().remove(url);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
