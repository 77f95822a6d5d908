//! How SQLite applies each kind of operation: few statements apply all operations of one kind that are in the batch.

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

pub(super) use self::purge::TRUST;
use super::{Batch, reports};
use crate::ops::{self, Kind, with_operations};

/// Defines how the SQLite backend applies one kind of operation. Each kind of operation implements this trait.
trait Apply: Kind {
    /// Applies all operations of this kind in the batch, and sets the answer to each of them.
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error>;
}

macro_rules! in_order {
    (Write: $($write:ident),+; Upkeep: $($upkeep:ident),+; Claim: $($claim:ident),+;) => {
        impl Batch<'_> {
            /// Applies all operations of the batch, kind by kind. The list in [`crate::ops`] has the order of the
            /// kinds.
            pub(super) fn apply(&mut self) -> Result<(), rusqlite::Error> {
                $(<ops::$write as Apply>::apply(self)?;)+
                // One statement writes the reports of all operations that were applied above.
                reports::write(self)?;
                $(<ops::$upkeep as Apply>::apply(self)?;)+
                $(<ops::$claim as Apply>::apply(self)?;)+
                Ok(())
            }
        }
    };
}
with_operations!(in_order);
