//! Adds a token.

use crate::Store;
use crate::audit::NewAudit;
use crate::error::Error;
use crate::operation::Operation;
use crate::tokens::{NewToken, TokenAdded};

/// The operation that writes a new token, and its entry of the audit.
#[derive(Debug)]
pub(crate) struct AddToken(pub Box<(NewToken, NewAudit)>);

impl Operation for AddToken {
    type Answer = TokenAdded;
}

impl Store {
    /// Adds a token. The same commit writes `audit`.
    pub async fn add_token(&self, token: NewToken, audit: NewAudit) -> Result<TokenAdded, Error> {
        self.ask(AddToken(Box::new((token, audit)))).await
    }
}
