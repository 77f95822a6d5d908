//! Reports that wait in the store and that a claim of due reports does not return: *parked* reports wait for their
//! origin's turn, and *held* reports wait until their URL is enabled again.
//!
//! A claim of due reports does not even read parked and held reports, so it does not read them again and again. Parked
//! and held reports are shown as pending. If the store survives the process, parked and held reports stay parked and
//! held.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Store;
use crate::error::Error;
use crate::record::Disabled;
use postback_wire::webhook::Target;

/// The largest number of URLs that can be disabled at the same time. If so many URLs are disabled, no other URL can be
/// disabled: an answer that would disable another URL only ends its own report.
const MOST_DISABLED: usize = 10_000;

/// The reason that is recorded for a report that was held for longer than the retention.
pub(super) const NOT_ENABLED: &str = "its webhook was disabled, and not enabled again in time";

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
        self.0.shared.local.disabled.has(url)
    }

    /// Returns whether the operator has disabled this URL or its origin. No report is sent there, not even to see
    /// whether the receiver works.
    pub fn is_disabled_by_operator(&self, url: &str) -> bool {
        self.0.shared.local.disabled.has_by_operator(url)
    }

    /// Returns how many URLs and origins are disabled by their receivers, and how many by the operator.
    pub fn disabled_counts(&self) -> (usize, usize) {
        let names = self.0.shared.local.disabled.lock();
        (names.all.len().saturating_sub(names.by_operator), names.by_operator)
    }

    /// Returns the disabled URLs. The URL that has been disabled longest comes first.
    pub async fn disabled(&self) -> Result<Vec<Disabled>, Error> {
        self.reader()?.disabled().await.map_err(Error::Backend)
    }
}

/// The URLs and origins that are disabled now: a committed operation has disabled them, and no later commit has enabled
/// them.
pub(super) struct DisabledUrls {
    names: Mutex<Names>,
    /// Whoever enables or disables for an operator has this turn. A batch applies these two operations kind by kind, so
    /// in one batch they could be committed in another order than the one in which this set changes.
    turn: tokio::sync::Mutex<()>,
}

struct Names {
    /// The URLs and origins, each with whether the operator has disabled it.
    all: HashMap<String, bool>,
    /// The number of names that the operator has disabled. Only operators disable origins, so while the number is 0, no
    /// origin is looked up.
    by_operator: usize,
    /// How many times this process has changed the names itself.
    changes: u64,
}

impl Names {
    fn new(all: HashMap<String, bool>) -> Self {
        let by_operator = all.values().filter(|by_operator| **by_operator).count();
        Self { all, by_operator, changes: 0 }
    }

    fn has_by_operator(&self, url: &str) -> bool {
        let has = |name: &str| self.all.get(name).copied().unwrap_or(false);
        self.by_operator > 0 && (has(url) || has(Target::parse(url).origin()))
    }
}

impl DisabledUrls {
    pub(super) fn new(all: HashMap<String, bool>) -> Self {
        Self { names: Mutex::new(Names::new(all)), turn: tokio::sync::Mutex::default() }
    }

    /// Waits for the right to enable or to disable a URL for an operator.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn has(&self, url: &str) -> bool {
        let names = self.lock();
        names.all.contains_key(url) || names.has_by_operator(url)
    }

    pub(super) fn has_by_operator(&self, url: &str) -> bool {
        self.lock().has_by_operator(url)
    }

    /// Returns whether this URL or origin can be disabled: it is disabled already, or there is room for one more.
    pub(super) fn has_room_for(&self, name: &str) -> bool {
        let names = self.lock();
        names.all.len() < MOST_DISABLED || names.all.contains_key(name)
    }

    /// Returns whether one more URL can be disabled, because fewer than [`MOST_DISABLED`] URLs are disabled.
    pub(super) fn has_room(&self) -> bool {
        self.lock().all.len() < MOST_DISABLED
    }

    /// Records that this URL is disabled. Called after the commit that disables the URL.
    pub(super) fn add(&self, url: &str) {
        let mut names = self.lock();
        names.changes += 1;
        let before = names.all.len();
        names.all.entry(url.to_owned()).or_insert(false);
        if before < MOST_DISABLED && names.all.len() >= MOST_DISABLED {
            tracing::warn!(
                "{MOST_DISABLED} webhooks are disabled, which is the limit: when a further receiver answers 410, only that \
                 report ends"
            );
        }
    }

    /// Records that the operator has disabled this URL or origin. Called after the commit.
    pub(super) fn add_by_operator(&self, name: &str) {
        let mut names = self.lock();
        names.changes += 1;
        if names.all.insert(name.to_owned(), true) != Some(true) {
            names.by_operator += 1;
        }
    }

    /// Replaces all names by those in the database, which another node may have changed.
    pub(super) fn replace(&self, all: HashMap<String, bool>) {
        let mut names = self.lock();
        *names = Names { changes: names.changes, ..Names::new(all) };
    }

    /// Returns how many times this process has changed the names itself.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Records that this URL or origin is enabled. Called after the commit that enables it.
    pub(super) fn remove(&self, name: &str) {
        let mut names = self.lock();
        names.changes += 1;
        if names.all.remove(name) == Some(true) {
            names.by_operator -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
