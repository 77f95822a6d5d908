//! After the commit: callers receive their answers, rows are handed over in memory, and those who wait are woken.
//! Nothing of this happens before the commit.

use super::{Entry, Shared, Writer, tell};
use crate::error::Error;
use crate::operation::{Effect, Stage, Untaken};
use crate::ops::{Op, Reply};
use postback_wire::line::Causes;
use postback_wire::names::metric;

impl Writer {
    /// Tells everybody who waits for this batch that it is committed.
    pub(super) fn publish(&self, entries: &mut Vec<Entry>, replies: Vec<Reply>) {
        self.shared.committed(entries, &replies);
        let effects = self.shared.answer(entries, replies);
        // After all answers: handing rows over may take longer.
        for (entry, effect) in entries.drain(..).zip(effects) {
            self.shared.announce(entry.op, effect);
        }
        self.shared.local.backlog.tell();
    }

    /// Ends operations that were not written.
    pub(super) fn fail(&self, entries: Vec<Entry>, error: &Error) {
        let mut lost = 0;
        for mut entry in entries {
            for outgoing in entry.op.reports() {
                self.shared.local.wake.tried.done(outgoing.report.id);
            }
            // If the caller receives the error, its reports are not lost: the caller still has them.
            let is_told = entry.answer.take().is_some_and(|caller| caller.send(Err(error.clone())).is_ok());
            if is_told {
                entry.taken_in.given_back();
            } else {
                lost += entry.taken_in.reports();
            }
        }
        if lost > 0 {
            tracing::error!(error = %Causes(error), reports = lost, "{lost} reports are lost: the store cannot write them");
        }
    }
}

impl Shared {
    /// Updates what this process keeps beside the rows. Stage by stage, as a backend applies the operations: a batch
    /// that disables a URL and enables it leaves it enabled.
    fn committed(&self, entries: &[Entry], replies: &[Reply]) {
        for stage in Stage::IN_ORDER {
            for (entry, reply) in entries.iter().zip(replies).filter(|(entry, _)| entry.op.stage() == stage) {
                entry.op.committed(reply, &self.local);
            }
        }
    }

    /// Answers all callers. Puts back rows that a caller claimed and does not take.
    fn answer(&self, entries: &mut [Entry], replies: Vec<Reply>) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(entries.len());
        for (entry, reply) in entries.iter_mut().zip(replies) {
            effects.push(reply.effect());
            entry.taken_in.written();
            if let Some(untaken) = tell(entry, Ok(reply)) {
                self.inbox.give_back(untaken);
            }
        }
        effects
    }

    /// Hands over pre-claimed rows, and wakes those who wait for what the operation wrote.
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
                    self.local.wake.tried.done(outgoing.report.id);
                }
            }
            Effect::Silent => {}
        }
    }
}
