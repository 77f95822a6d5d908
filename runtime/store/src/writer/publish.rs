//! After the commit, callers receive their answers, pre-claimed rows are sent to the worker and the delivery, and
//! waiting tasks are woken. Nothing of this happens before the commit.

use super::{Batch, Shared, Writer, answer};
use crate::error::Error;
use crate::inbox::Caller;
use crate::operation::{Effect, Stage, Untaken};
use crate::ops::{Op, Reply};
use postback_wire::line::Causes;
use postback_wire::names::metric;

impl Writer {
    /// Publishes a committed batch: answers the callers, sends the pre-claimed rows to the worker and the delivery, and
    /// wakes the tasks that wait for the rows of the batch.
    pub(super) fn publish(&self, batch: &mut Batch, replies: Vec<Reply>) {
        self.shared.committed(&batch.ops, &replies);
        let effects = self.shared.answer(&mut batch.callers, replies);
        batch.callers.clear();
        // All callers receive their answers before the rows are sent to the worker and the delivery, because sending
        // the rows may take longer.
        for (op, effect) in batch.ops.drain(..).zip(effects) {
            self.shared.announce(op, effect);
        }
        self.shared.local.backlog.set_gauges();
    }

    /// Sends an error to the callers of operations that were not written, and counts the reports that are lost.
    pub(super) fn fail(&self, batch: Batch, error: &Error) {
        let mut lost = 0;
        for (op, mut caller) in batch.ops.into_iter().zip(batch.callers) {
            for outgoing in op.reports() {
                self.shared.local.wake.first_attempts.done(outgoing.report.id);
            }
            // If the caller receives the error, the reports of the operation are not lost, because the caller still has
            // the reports.
            let is_told = caller.answer.take().is_some_and(|answer| answer.send(Err(error.clone())).is_ok());
            if is_told {
                caller.taken_in.given_back();
            } else {
                lost += caller.taken_in.reports();
            }
        }
        if lost > 0 {
            tracing::error!(error = %Causes(error), reports = lost, "{lost} reports are lost: the store cannot write them");
        }
    }
}

impl Shared {
    /// Updates the data that this process keeps in memory, one stage after the other, in the order in which a backend
    /// applies the operations. If a batch first disables and then enables a URL, the URL is enabled in memory, too.
    fn committed(&self, ops: &[Op], replies: &[Reply]) {
        let is_heard = self.local.changes.is_heard();
        let mut changes = Vec::new();
        for stage in Stage::IN_ORDER {
            for (op, reply) in ops.iter().zip(replies).filter(|(op, _)| op.stage() == stage) {
                op.committed(reply, &self.local);
                if is_heard {
                    op.changes(reply, &mut changes);
                }
            }
        }
        if is_heard {
            self.local.changes.send(changes);
        }
    }

    /// Sends all callers their answers. If a caller does not receive its answer, the rows that the answer claims wait
    /// again.
    fn answer(&self, callers: &mut [Caller], replies: Vec<Reply>) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(callers.len());
        for (caller, reply) in callers.iter_mut().zip(replies) {
            effects.push(reply.effect());
            caller.taken_in.written();
            if let Some(untaken) = answer(caller, Ok(reply)) {
                self.inbox.give_back(untaken);
            }
        }
        effects
    }

    /// Sends the pre-claimed rows of the operation to the worker or the delivery, and wakes the tasks that wait for the
    /// rows that the operation wrote.
    fn announce(&self, op: Op, effect: Effect) {
        match effect {
            Effect::Written => {
                let mut untaken = Untaken::default();
                op.announce(&self.local, &mut untaken);
                self.inbox.release(untaken);
            }
            Effect::Stale => {
                op.stale(&self.local);
                let kind = op.key().map_or("request", |key| key.kind());
                metrics::counter!(metric::STALE_SETTLES, "kind" => kind).increment(1);
                for outgoing in op.reports() {
                    self.local.wake.first_attempts.done(outgoing.report.id);
                }
            }
            Effect::Silent => {
                for outgoing in op.reports() {
                    self.local.wake.first_attempts.done(outgoing.report.id);
                }
            }
        }
    }
}
