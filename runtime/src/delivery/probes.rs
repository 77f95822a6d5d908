//! Trusted URLs whose receivers said that they want no more. One wrong answer of an operator's own receiver must not
//! end all reports to it: they are held, and once a day one of them finds out whether the receiver still says so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use super::failure_log::FailureLog;
use crate::policy::destination::Destinations;
use crate::policy::turns::SinceStart;
use crate::shutdown::Shutdown;
use crate::store::{Error, Store};
use crate::time::Clock;

/// Between two probes of one URL.
const PAUSE: Duration = Duration::from_hours(24);
/// How often it is looked for URLs whose time has come.
const LOOK: Duration = Duration::from_hours(1);

/// When each disabled URL that is trusted was tried last. Bounded by how many may be disabled.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<String, SinceStart>>);

impl Probes {
    /// The receiver has just said that it wants no more.
    pub(super) fn disabled(&self, url: &str, now: SinceStart) {
        self.lock().insert(url.to_owned(), now);
    }

    pub(super) fn enabled(&self, url: &str) {
        self.lock().remove(url);
    }

    /// Whether the report in hand is the one that finds out. Of a URL of which nothing is known, as after a start, it
    /// is.
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

/// Has a held report tried at each trusted URL whose time has come; what is posted meanwhile does so by itself.
pub(super) async fn run(store: Store, clock: Clock, destinations: Destinations, probes: &Probes, stop: Shutdown) {
    let failures = FailureLog::new("looking for disabled webhooks");
    loop {
        match release(&store, &clock, &destinations, probes).await {
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
        if trusted && probes.is_due(&at.url, clock.elapsed()) {
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
