//! Recovers the rows that earlier processes, or nodes that have ended, had claimed.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::nodes::Recovered;
use crate::operation::{Operation, Untaken};
use postback_wire::time::Timestamp;

/// The operation that ends the claims of earlier processes, and makes the claimed rows wait again.
#[derive(Debug)]
pub(crate) struct Recover {
    /// A request with this many crashes is not run again. A crash is a run during which the process ended.
    pub max_crashes: u32,
    /// Whether this is the first recovery of the process, before its first claim.
    pub first: bool,
}

impl Operation for Recover {
    type Answer = Recovered;

    fn prepare(&mut self, local: &Local, now: Timestamp) {
        if self.first {
            local.handoff.request_waits(None, now);
            local.handoff.report_waits(now);
        }
    }

    fn committed(&self, answer: &Recovered, local: &Local) {
        local.backlog.claimed(&answer.lost);
        local.lease.set_others(answer.others);
        if let Some(behind) = answer.behind {
            local.clock.steer(behind);
        }
        if answer.ended > 0 && !self.first {
            let now = local.clock.now().due;
            local.handoff.request_waits(None, now);
            local.handoff.report_waits(now);
            local.wake.taken_over.notify_one();
        }
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
        self.ask(Recover { max_crashes, first: true }).await
    }

    /// Shows the other nodes that this node lives, and takes over the claims of nodes that do not. Call this every
    /// second if the store [is shared](Self::is_shared).
    pub async fn beat(&self, max_crashes: u32) -> Result<Recovered, Error> {
        self.ask(Recover { max_crashes, first: false }).await
    }
}
