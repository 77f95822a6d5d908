//! The kinds of operations. To add a kind, add a file here, a file in each backend's folder `ops`, and an entry in the
//! list below.

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

pub(crate) use self::add_figures::AddFigures;
pub(crate) use self::add_token::AddToken;
pub(crate) use self::barrier::Barrier;
pub(crate) use self::cancel::CancelRunning;
pub use self::cancel::Cancelled;
pub(crate) use self::claim_expired::ClaimExpired;
pub(crate) use self::claim_parked::ClaimParked;
pub(crate) use self::claim_reports::ClaimReports;
pub(crate) use self::claim_requests::ClaimRequests;
pub(crate) use self::claim_requests::Claimed;
pub use self::claim_requests::Load;
pub(crate) use self::disable::Disable;
pub use self::disable::DisabledNow;
pub(crate) use self::drop_checkpoint::DropCheckpoint;
pub(crate) use self::enable::Enable;
pub(crate) use self::enable::Enabled;
pub(crate) use self::give_up_parked::GiveUpParked;
pub(crate) use self::hold_report::HoldReport;
pub(crate) use self::hold_report::Holding;
pub(crate) use self::park_report::ParkReport;
pub(crate) use self::post::Post;
pub(crate) use self::post::Posted;
pub(crate) use self::purge::Purge;
pub(crate) use self::purge::Purged;
pub(crate) use self::record_ticks::RecordTicks;
pub(crate) use self::recover::Recover;
pub(crate) use self::register::Register;
pub(crate) use self::release_report::ReleaseReport;
pub(crate) use self::release_request::ReleaseRequest;
pub(crate) use self::replay::Replay;
pub use self::replay::Replayed;
pub(crate) use self::revoke_token::RevokeToken;
pub(crate) use self::save_checkpoint::SaveCheckpoint;
pub(crate) use self::set_aside::SetAside;
pub(crate) use self::settle_report::SettleReport;
pub(crate) use self::settle_report::SettledReport;
pub(crate) use self::settle_request::SettleRequest;
pub(crate) use self::submit::Submit;
pub(crate) use self::tell_progress::TellProgress;
pub(crate) use self::use_tokens::UseTokens;
pub(crate) use self::write_audit::WriteAudit;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Line, Operation, Outgoing, Stage, Untaken};
use crate::quota::Quotas;
use crate::sizes::report_bytes;
use postback_wire::time::Timestamp;

/// Calls the macro `$then` with the list of all kinds of operations, ordered by the stage in which a backend applies
/// them. If a backend applies the operations kind by kind, it must keep this order.
macro_rules! with_operations {
    ($then:ident) => {
        $then! {
            Write: Submit, SettleRequest, ReleaseRequest, Register, TellProgress, SaveCheckpoint,
                CancelRunning, SettleReport,
                ReleaseReport, ParkReport,
                // `HoldReport` comes after `SettleReport`, because `SettleReport` may disable a URL. With this order,
                // one commit can disable the URL and hold the reports to it.
                HoldReport, Post;
            Upkeep: Replay, Recover, Purge, GiveUpParked, Disable, Enable, AddToken, RevokeToken,
                UseTokens, RecordTicks, WriteAudit, AddFigures, DropCheckpoint, SetAside, Barrier;
            Claim: ClaimExpired, ClaimRequests, ClaimReports, ClaimParked;
        }
    };
}
pub(crate) use with_operations;

/// Defines the enums `Op` and `Reply` with a variant for each kind. Each method of `Op` calls the method of the
/// operation inside.
macro_rules! define {
    ($($stage:ident: $($kind:ident),+;)+) => {
        /// An operation of any kind. All operations of a batch are applied in one transaction.
        ///
        /// Invariant: a key (the identifier of a request or report) occurs in at most one operation of a batch, so a
        /// backend may apply the operations kind by kind.
        #[derive(Debug)]
        pub(crate) enum Op {
            $($($kind($kind),)+)+
        }

        /// The answer to an operation. An answer has the same kind as its operation.
        #[derive(Debug)]
        pub(crate) enum Reply {
            $($($kind(<$kind as Operation>::Answer),)+)+
        }

        $($(
            impl From<$kind> for Op {
                fn from(op: $kind) -> Self {
                    Self::$kind(op)
                }
            }

            impl Kind for $kind {
                #[cfg(any(feature = "sqlite", feature = "postgres", test))]
                fn of(op: &Op) -> Option<&Self> {
                    if let Op::$kind(op) = op { Some(op) } else { None }
                }

                fn reply(answer: Self::Answer) -> Reply {
                    Reply::$kind(answer)
                }

                fn answer(reply: Reply) -> Option<Self::Answer> {
                    if let Reply::$kind(answer) = reply { Some(answer) } else { None }
                }
            }
        )+)+

        impl Op {
            pub(crate) fn stage(&self) -> Stage {
                match self {
                    $($(Self::$kind(_) => Stage::$stage,)+)+
                }
            }

            pub(crate) fn key(&self) -> Option<Key> {
                match self {
                    $($(Self::$kind(op) => op.key(),)+)+
                }
            }

            pub(crate) fn reports(&self) -> &[Outgoing] {
                match self {
                    $($(Self::$kind(op) => op.reports(),)+)+
                }
            }

            pub(crate) fn reports_mut(&mut self) -> &mut [Outgoing] {
                match self {
                    $($(Self::$kind(op) => op.reports_mut(),)+)+
                }
            }

            pub(crate) fn rows(&self) -> usize {
                match self {
                    $($(Self::$kind(op) => op.rows(),)+)+
                }
            }

            fn own_bytes(&self) -> usize {
                match self {
                    $($(Self::$kind(op) => op.own_bytes(),)+)+
                }
            }

            pub(crate) fn line(&self) -> Line<'_> {
                match self {
                    $($(Self::$kind(op) => op.line(),)+)+
                }
            }

            pub(crate) fn posted(&self) -> usize {
                match self {
                    $($(Self::$kind(op) => op.posted(),)+)+
                }
            }

            pub(crate) fn reserve(&mut self, quotas: &Quotas) -> bool {
                match self {
                    $($(Self::$kind(op) => op.reserve(quotas),)+)+
                }
            }

            fn prepare_kind(&mut self, local: &Local, now: Timestamp) {
                match self {
                    $($(Self::$kind(op) => op.prepare(local, now),)+)+
                }
            }

            /// Tells the operation that it is committed and that `reply` is its answer.
            pub(crate) fn committed(&self, reply: &Reply, local: &Local) {
                match self {
                    $($(Self::$kind(op) => if let Reply::$kind(answer) = reply { op.committed(answer, local) },)+)+
                }
            }

            fn changes_of_kind(&self, reply: &Reply, changes: &mut Vec<Change>) {
                match self {
                    $($(Self::$kind(op) => if let Reply::$kind(answer) = reply { op.changes(answer, changes) },)+)+
                }
            }

            pub(crate) fn announce(self, local: &Local, untaken: &mut Untaken) {
                match self {
                    $($(Self::$kind(op) => op.announce(local, untaken),)+)+
                }
            }

            pub(crate) fn stale(&self, local: &Local) {
                match self {
                    $($(Self::$kind(op) => op.stale(local),)+)+
                }
            }
        }

        impl Reply {
            pub(crate) fn effect(&self) -> Effect {
                match self {
                    $($(Self::$kind(answer) => <$kind as Operation>::effect(answer),)+)+
                }
            }

            pub(crate) fn untaken(self, untaken: &mut Untaken) {
                match self {
                    $($(Self::$kind(answer) => <$kind as Operation>::untaken(answer, untaken),)+)+
                }
            }
        }
    };
}
with_operations!(define);

/// A kind of operation, with the conversions from and to [`Op`] and [`Reply`].
pub(crate) trait Kind: Operation + Into<Op> {
    /// Returns the operation, if it is of this kind. Otherwise returns `None`.
    #[cfg(any(feature = "sqlite", feature = "postgres", test))]
    fn of(op: &Op) -> Option<&Self>;
    fn reply(answer: Self::Answer) -> Reply;
    /// Returns the answer, if it is of this kind. Otherwise returns `None`.
    fn answer(reply: Reply) -> Option<Self::Answer>;
}

impl Op {
    /// Returns the identifiers of the requests and reports that the operation changes. In a batch, only one operation
    /// may have the same key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.key().into_iter().chain(self.reports().iter().map(|outgoing| Key::Report(outgoing.report.id)))
    }

    /// Returns roughly how many bytes of memory the operation uses.
    pub(crate) fn bytes(&self) -> usize {
        self.reports().iter().fold(self.own_bytes(), |sum, outgoing| sum + report_bytes(&outgoing.report))
    }

    /// Adds the changes that the operation has made to `changes`.
    pub(crate) fn changes(&self, reply: &Reply, changes: &mut Vec<Change>) {
        self.changes_of_kind(reply, changes);
        if reply.effect() == Effect::Written {
            changes.extend(self.reports().iter().map(Outgoing::change));
        }
    }

    /// Prepares the operation. The writer calls `prepare` when it puts the operation into a batch.
    pub(crate) fn prepare(&mut self, local: &Local, now: Timestamp) {
        self.prepare_kind(local, now);
        for outgoing in self.reports_mut() {
            outgoing.prepare(local, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests that `Op` is small, because every queue and every batch moves operations in memory.
    #[test]
    fn an_operation_is_as_small_as_its_largest_kind() {
        assert_eq!(size_of::<Op>(), size_of::<SettleRequest>());
    }
}
