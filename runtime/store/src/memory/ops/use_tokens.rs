//! Records when tokens were last used.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::UseTokens;

impl Apply for UseTokens {
    fn apply(&self, tables: &mut Tables, _: Now) {
        for (id, used) in &self.0 {
            let known = tables.tokens.uses.entry(id.to_string()).or_insert(*used);
            *known = (*known).max(*used);
        }
    }
}
