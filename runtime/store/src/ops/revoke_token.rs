//! Revokes a token.

use crate::Store;
use crate::audit::NewAudit;
use crate::error::Error;
use crate::operation::Operation;
use crate::tokens::TokenRevoked;

/// The operation that marks the token with this id as revoked, and writes its entry of the audit. If the token was
/// revoked before, the operation writes nothing.
#[derive(Debug)]
pub(crate) struct RevokeToken {
    pub id: String,
    pub audit: Box<NewAudit>,
}

impl Operation for RevokeToken {
    type Answer = TokenRevoked;
}

impl Store {
    /// Revokes a token. The same commit writes `audit`.
    pub async fn revoke_token(&self, id: &str, audit: NewAudit) -> Result<TokenRevoked, Error> {
        self.ask(RevokeToken { id: id.to_owned(), audit: Box::new(audit) }).await
    }
}
