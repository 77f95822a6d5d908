//! Deletes the checkpoint of a request that has ended.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::DropCheckpoint;

impl Apply for DropCheckpoint {
    /// Does nothing: the end of a request deletes its checkpoint already.
    fn apply(&self, _: &mut Tables, _: Now) {}
}
