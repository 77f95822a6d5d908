//! Takes over the rows that earlier processes had claimed.

use crate::store::local::Local;
use crate::store::operation::{Operation, Untaken};
use crate::store::record::Recovered;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// Voids the claims of earlier processes and puts their rows back.
#[derive(Debug)]
pub(crate) struct Recover {
    /// A request whose process ended during its run this many times is not run again.
    pub(crate) max_crashes: u32,
}

impl Operation for Recover {
    type Answer = Recovered;

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        local.handoff.request_waits(now);
        local.handoff.report_waits(now);
    }

    fn committed(&self, answer: &Recovered, local: &Local) {
        local.backlog.claimed(&answer.lost);
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.requests.notify_one();
        local.wake.reports.notify_one();
    }

    fn untaken(answer: Recovered, untaken: &mut Untaken) {
        untaken.requests.extend(answer.lost.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Voids the claims of earlier processes. Call this once, before anything is claimed.
    pub(crate) async fn recover(&self, max_crashes: u32) -> Result<Recovered, Error> {
        self.ask(Recover { max_crashes }).await
    }
}
