//! Recovers nothing: a store in memory has no earlier process from which it could take over rows.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::nodes::Recovered;
use crate::ops::Recover;

impl Apply for Recover {
    fn apply(&self, _: &mut Tables, _: Now) -> Recovered {
        Recovered::default()
    }
}
