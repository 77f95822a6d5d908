//! Recovers the rows that earlier processes had claimed.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Operation, Untaken};
use crate::record::Recovered;
use postback_wire::time::Timestamp;

/// The operation that ends the claims of earlier processes, and makes the claimed rows wait again.
#[derive(Debug)]
pub(crate) struct Recover {
    /// A request with this many crashes is not run again. A crash is a run during which the process ended.
    pub max_crashes: u32,
}

impl Operation for Recover {
    type Answer = Recovered;

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        local.handoff.request_waits(None, now);
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
    /// Ends the claims of earlier processes, and makes the claimed rows wait again. Call this once, before the first
    /// claim.
    pub async fn recover(&self, max_crashes: u32) -> Result<Recovered, Error> {
        self.ask(Recover { max_crashes }).await
    }
}
