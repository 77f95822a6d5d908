//! Probes of trusted URLs that are disabled because their receiver wanted no more reports.
//!
//! One wrong answer of the operator's own receiver must not end all reports to it. So its reports are held, and once a
//! day one of them is sent as a probe, to see whether the receiver accepts reports again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use super::deliver::Rules;
use super::failure_log::FailureLog;
use crate::policy::destination::Destinations;
use crate::policy::turns::SinceStart;
use postback_store::shutdown::Shutdown;
use postback_store::{Error, Store};
use postback_wire::time::Clock;

/// The time between two probes of one disabled URL. A probe is a report that tests whether the receiver accepts reports
/// again.
const PAUSE: Duration = Duration::from_hours(24);
/// The time between two searches for disabled URLs to which a probe must be sent. A probe is a report that tests
/// whether the receiver accepts reports again.
const LOOK: Duration = Duration::from_hours(1);

/// The time of the last attempt at each disabled URL that is trusted. The number of entries is limited, because the
/// number of disabled URLs is limited.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<String, SinceStart>>);

impl Probes {
    /// Records that the receiver said at the time `now` that it wants no more reports at this URL.
    pub(super) fn disabled(&self, url: &str, now: SinceStart) {
        self.lock().insert(url.to_owned(), now);
    }

    pub(super) fn enabled(&self, url: &str) {
        self.lock().remove(url);
    }

    /// Whether a report to this disabled URL is sent now as a probe, which tests whether the receiver accepts reports
    /// again. If no attempt at the URL is recorded, for example after a restart, the result is `true`.
    pub(super) fn begin(&self, url: &str, now: SinceStart) -> bool {
        let mut last = self.lock();
        let due = is_due(last.get(url), now);
        if due {
            last.insert(url.to_owned(), now);
        }
        due
    }

    fn is_due(&self, url: &str, now: SinceStart) -> bool {
        is_due(self.lock().get(url), now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SinceStart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_due(last: Option<&SinceStart>, now: SinceStart) -> bool {
    last.is_none_or(|last| now.saturating_sub(*last) >= PAUSE)
}

/// For each disabled and trusted URL whose probe is due, releases a held report. This report becomes the probe, which
/// tests whether the receiver accepts reports again. If a new report to the URL is attempted earlier, the new report
/// becomes the probe.
///
/// `rules` returns the trusted destinations of the moment, because the operator may change them.
pub(super) async fn run(store: Store, clock: Clock, rules: impl Fn() -> Arc<Rules>, probes: &Probes, stop: Shutdown) {
    let failures = FailureLog::new("looking for disabled webhooks");
    loop {
        match release(&store, &clock, &rules().destinations, probes).await {
            Ok(()) => failures.succeeded(),
            Err(Error::Closed) => return,
            Err(error) => drop(failures.failed(&error)),
        }
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn release(store: &Store, clock: &Clock, destinations: &Destinations, probes: &Probes) -> Result<(), Error> {
    let disabled = store.disabled().await?;
    probes.lock().retain(|url, _| store.is_disabled(url));
    for at in disabled {
        let trusted = Url::parse(&at.url).is_ok_and(|url| destinations.find(&url).is_some());
        if trusted && !at.by_operator && probes.is_due(&at.url, clock.elapsed()) {
            store.release_held(&at.url).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_probed_once_a_day() {
        let probes = Probes::default();
        let at = SinceStart::from_secs(1_000);
        assert!(probes.begin("a", at), "after a start");
        assert!(!probes.begin("a", at) && !probes.is_due("a", at + PAUSE / 2));
        probes.disabled("b", at);
        assert!(!probes.begin("b", at));
        assert!(probes.begin("b", at + PAUSE) && !probes.begin("b", at + PAUSE));
        probes.enabled("b");
        assert!(probes.lock().len() == 1);
    }
}
