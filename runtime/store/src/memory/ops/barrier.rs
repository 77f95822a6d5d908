//! A barrier writes nothing.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::Barrier;

impl Apply for Barrier {
    fn apply(&self, _: &mut Tables, _: Now) -> u64 {
        self.posted
    }
}
