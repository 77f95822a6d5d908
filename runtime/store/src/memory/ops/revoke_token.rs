//! Revokes a token.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::RevokeToken;
use crate::tokens::{MOST_TOKENS, TokenRevoked};

impl Apply for RevokeToken {
    fn apply(&self, tables: &mut Tables, now: Now) -> TokenRevoked {
        let known = &mut tables.tokens.records;
        let Some(token) = known.iter_mut().find(|token| token.id == self.id) else { return TokenRevoked::Unknown };
        if let Some(at) = token.revoked {
            return TokenRevoked::At(at);
        }
        token.revoked = Some(now.wall);
        if known.iter().filter(|token| token.revoked.is_some()).count() > MOST_TOKENS {
            let revoked = known.iter().enumerate().filter_map(|(at, token)| Some((token.revoked?, at)));
            if let Some((_, oldest)) = revoked.min() {
                known.remove(oldest);
            }
        }
        tables.tokens.write_audit(&self.audit, now.wall);
        TokenRevoked::At(now.wall)
    }
}
