//! Stores how far a run has come.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::memory::requests::KeptProgress;
use crate::ops::TellProgress;
use crate::progress::{Progress, Told};
use crate::record::RequestState;
use crate::sizes::told_bytes;

impl Apply for TellProgress {
    fn apply(&self, tables: &mut Tables, _: Now) -> Option<u64> {
        let quotas = tables.quotas.clone();
        let row = tables.current_request(&self.claim, &RequestState::Running)?;
        let earlier = row.progress.take();
        let before = earlier.as_ref().map_or(0, |earlier| earlier.bytes);
        let mut progress =
            Progress::after(earlier.map(|earlier| earlier.progress).as_ref(), row.epoch, self.told.clone());
        let mut bytes = told_bytes(&self.told);
        // These bytes count against the memory limit of requests until the request has ended.
        if bytes > before && !quotas.requests.try_reserve(0, bytes - before) {
            progress.told = Told { message: None, detail: None, ..progress.told };
            bytes = 0;
        }
        quotas.requests.release(0, before.saturating_sub(bytes));
        row.bytes = row.bytes - before + bytes;
        let sequence = progress.sequence;
        row.progress = Some(Box::new(KeptProgress { progress, bytes }));
        Some(sequence)
    }
}
