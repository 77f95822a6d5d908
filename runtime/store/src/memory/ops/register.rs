//! Stores where the outcome of a request is to be reported.

use std::sync::Arc;

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::Register;
use crate::record::{RequestState, Settled};

impl Apply for Register {
    fn apply(&self, tables: &mut Tables, _: Now) -> Settled {
        let Some(row) = tables.current_request(&self.claim, &RequestState::Running) else { return Settled::Stale };
        row.registration = Some(Arc::new(self.registration.clone()));
        Settled::Current
    }
}
