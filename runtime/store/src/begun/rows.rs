//! The runs of a node that have begun, for a database that several nodes use. The writer marks their rows in its next
//! transaction. The marks tell a node that takes over what had begun. A run that ends before that needs no mark.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::RequestClaim;

/// The runs that have begun and whose rows have no mark yet.
#[derive(Debug, Default)]
pub(crate) struct BegunRows(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    new: HashSet<RequestClaim>,
    /// Whether the operator has ended the process, so that the interrupted runs do not count as crashes.
    forgotten: bool,
}

impl BegunRows {
    pub(super) fn begin(&self, claim: &RequestClaim) {
        let mut state = self.lock();
        if !state.forgotten {
            state.new.insert(claim.clone());
        }
    }

    pub(super) fn end(&self, claim: &RequestClaim) {
        self.lock().new.remove(claim);
    }

    pub(super) fn forget(&self) {
        *self.lock() = State { new: HashSet::new(), forgotten: true };
    }

    /// Takes the runs whose rows are to be marked.
    #[cfg(feature = "postgres")]
    pub(crate) fn take(&self) -> Vec<RequestClaim> {
        std::mem::take(&mut self.lock().new).into_iter().collect()
    }

    /// Takes these runs back, because their marks were not committed. If a run has ended meanwhile, its mark does no
    /// harm: it is for a claim that has ended, too.
    #[cfg(feature = "postgres")]
    pub(crate) fn put_back(&self, claims: Vec<RequestClaim>) {
        self.lock().new.extend(claims);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it is recorded which runs have begun.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    File(Arc<super::Begun>),
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only a shared database has marks in its rows"))]
    Rows(Arc<BegunRows>),
}

impl Record {
    /// Records that the run under this claim has begun. Keep the returned value until the run has ended.
    pub(crate) fn begin(&self, claim: &RequestClaim) -> super::Running {
        match self {
            Self::File(begun) => super::Running(super::Of::File(begun.begin(claim))),
            Self::Rows(rows) => {
                rows.begin(claim);
                super::Running(super::Of::Rows(rows.clone(), claim.clone()))
            }
        }
    }

    /// Removes the records of this process as far as nobody else has them, and makes no more.
    pub(crate) fn forget(&self) {
        match self {
            Self::File(begun) => begun.forget(),
            Self::Rows(rows) => rows.forget(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Claim;
    use postback_wire::id::RequestId;

    #[test]
    fn only_runs_that_last_are_marked() {
        let rows = Arc::new(BegunRows::default());
        let record = Record::Rows(rows.clone());
        let claim = |id: &str| Claim { id: RequestId::stored(id), epoch: 1 };
        let (short, long) = (record.begin(&claim("short")), record.begin(&claim("long")));
        drop(short);
        assert_eq!(rows.take(), [claim("long")]);
        assert!(rows.take().is_empty());
        rows.put_back(vec![claim("long")]);
        assert_eq!(rows.take(), [claim("long")]);
        drop(long);
        record.forget();
        let _late = record.begin(&claim("late"));
        assert!(rows.take().is_empty());
    }
}
