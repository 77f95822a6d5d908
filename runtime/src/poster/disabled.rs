//! Reporting turned off: what is posted is counted and dropped, and nothing runs behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Flushed;
use super::ambient::{Call, Role, Sink};
use crate::names::metric;
use crate::report::Outcome;
use crate::time::{Clock, Timestamp};

/// Turns reporting off for a whole process, unless it is empty, `0` or `false`.
const DISABLED: &str = "POSTBACK_DISABLED";

/// Whether the environment turns reporting off.
pub(super) fn is_disabled_by_environment() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a library has no `settings`, and this is all that it asks for")]
    let value = std::env::var_os(DISABLED);
    value.is_some_and(|value| !["", "0", "false"].iter().any(|disabled| value.eq_ignore_ascii_case(disabled)))
}

/// Takes every report and keeps none. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Disabled(Arc<AtomicU64>);

impl Disabled {
    /// Drops so many reports.
    pub(super) fn discard(&self, reports: usize) {
        let reports = reports as u64;
        self.0.fetch_add(reports, Ordering::Relaxed);
        metrics::counter!(metric::REPORTS_DISCARDED).increment(reports);
    }

    pub(super) fn flushed(&self) -> Flushed {
        Flushed { discarded: self.0.load(Ordering::Relaxed), known: true, ..Flushed::default() }
    }
}

impl Sink for Disabled {
    fn now(&self) -> Timestamp {
        Clock::system().now()
    }

    /// Counts the call here: that its outcome is not even serialised is what it means to be off.
    fn begin(&self, call: &Call) -> Role {
        self.discard(call.webhooks().len());
        Role::Ignored
    }

    fn end(&self, _: Call, _: Role, _: Outcome) {}

    fn end_durably(&self, _: Call, _: Role, _: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}
