//! Adds a token.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::AddToken;
use crate::tokens::{MOST_TOKENS, TokenAdded};

impl Apply for AddToken {
    fn apply(&self, tables: &mut Tables, now: Now) -> TokenAdded {
        let (token, audit) = &*self.0;
        let known = &mut tables.tokens.records;
        if known.iter().any(|other| other.id == token.id || (other.revoked.is_none() && other.name == token.name)) {
            return TokenAdded::NameTaken;
        }
        if known.iter().filter(|other| other.revoked.is_none()).count() >= MOST_TOKENS {
            return TokenAdded::TooMany(MOST_TOKENS);
        }
        known.push(token.record());
        tables.tokens.write_audit(audit, now.wall);
        TokenAdded::Added
    }
}
