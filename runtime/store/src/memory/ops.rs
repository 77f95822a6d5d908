//! How the memory backend applies each kind of operation.

mod add_figures;
mod add_token;
mod barrier;
mod cancel;
mod claim_expired;
mod claim_parked;
mod claim_reports;
mod claim_requests;
mod disable;
mod drop_checkpoint;
mod enable;
mod give_up_parked;
mod hold_report;
mod park_report;
mod post;
mod purge;
mod record_ticks;
mod recover;
mod register;
mod release_report;
mod release_request;
mod replay;
mod revoke_token;
mod save_checkpoint;
mod set_aside;
mod settle_report;
mod settle_request;
mod submit;
mod tell_progress;
mod use_tokens;
mod write_audit;

use super::Tables;
use crate::clock::Now;
use crate::ops::{self, Kind, Op, Reply, with_operations};

/// Defines how the memory backend applies one kind of operation. Each kind of operation implements this trait.
trait Apply: Kind {
    fn apply(&self, tables: &mut Tables, now: Now) -> Self::Answer;
}

macro_rules! apply_any {
    ($($stage:ident: $($kind:ident),+;)+) => {
        /// Applies an operation of any kind, and returns the reply.
        pub(super) fn apply(op: &Op, tables: &mut Tables, now: Now) -> Reply {
            match op {
                $($(Op::$kind(op) => <ops::$kind as Kind>::reply(op.apply(tables, now)),)+)+
            }
        }
    };
}
with_operations!(apply_any);
