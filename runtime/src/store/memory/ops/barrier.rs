//! A barrier writes nothing.

use super::Apply;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::Barrier;

impl Apply for Barrier {
    fn apply(&self, _: &mut Tables, _: Now) -> u64 {
        self.posted
    }
}
