//! A poster with reporting turned off: it counts and drops reports, and has no background threads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call::{Call, Role, Sink};
use super::flushed::Flushed;
use postback_wire::names::metric;
use postback_wire::report::Outcome;
use postback_wire::time::{Clock, Timestamp};

/// The environment variable that turns reporting off for a whole process. Reporting stays on if the value is empty, `0`
/// or `false`.
const DISABLED: &str = "POSTBACK_DISABLED";

/// Whether the environment variable `POSTBACK_DISABLED` turns reporting off.
pub(super) fn is_disabled_by_environment() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a library has no `settings`, and this is all that it asks for")]
    let value = std::env::var_os(DISABLED);
    value.is_some_and(|value| !["", "0", "false"].iter().any(|disabled| value.eq_ignore_ascii_case(disabled)))
}

/// A sink that counts every report and drops it. All clones of the sink share one count.
#[derive(Clone, Default)]
pub(crate) struct DisabledReporting(Arc<AtomicU64>);

impl DisabledReporting {
    /// Adds the number of dropped reports to the count.
    pub(super) fn discard(&self, reports: usize) {
        let reports = reports as u64;
        self.0.fetch_add(reports, Ordering::Relaxed);
        metrics::counter!(metric::REPORTS_DISCARDED).increment(reports);
    }

    pub(super) fn flushed(&self) -> Flushed {
        Flushed { discarded: self.0.load(Ordering::Relaxed), known: true, ..Flushed::default() }
    }
}

impl Sink for DisabledReporting {
    fn now(&self) -> Timestamp {
        Clock::system().now()
    }

    /// Counts the call's reports when the call begins. Returns the role `Ignored`, because the outcome is not needed
    /// later.
    fn begin(&self, call: &Call) -> Role {
        self.discard(call.webhooks().len());
        Role::Ignored
    }

    fn end(&self, _: Call, _: Role, _: Outcome) {}

    fn end_durably(&self, _: Call, _: Role, _: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}
