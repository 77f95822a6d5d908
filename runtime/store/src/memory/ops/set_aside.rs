//! Sets aside what was handed in.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::SetAside;

impl Apply for SetAside {
    /// Does nothing: nothing is handed in to a store in memory.
    fn apply(&self, _: &mut Tables, _: Now) {}
}
