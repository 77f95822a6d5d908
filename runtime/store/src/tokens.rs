//! The tokens of callers that the store holds, and when each token was last used.
//!
//! The store knows a token's id, name and hash. What a token permits is a text to the store: the program above reads
//! it. Revoked tokens stay, so that their names can be shown with what they did. Their number is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use postback_wire::time::Timestamp;

/// The largest number of tokens that are not revoked, and the largest number of revoked tokens that stay.
pub(crate) const MOST_TOKENS: usize = 10_000;

/// A new token for the store.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub id: String,
    pub name: String,
    /// The SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// What the token permits, as JSON.
    pub terms: String,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
}

/// A token of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: String,
    pub name: String,
    pub hash: [u8; 32],
    pub terms: String,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// The answer to a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAdded {
    Added,
    /// Another token that is not revoked has this name, or another token has this id.
    NameTaken,
    /// There are already this many tokens.
    TooMany(usize),
}

/// The answer to the revocation of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRevoked {
    /// The token was revoked at this time, now or before.
    At(Timestamp),
    Unknown,
}

impl NewToken {
    pub(crate) fn record(&self) -> TokenRecord {
        let Self { id, name, hash, terms, created, expires } = self.clone();
        TokenRecord { id, name, hash, terms, created, expires, revoked: None }
    }
}

/// The last use of several tokens: the id of each token, and the time.
pub(crate) type TokenUses = Vec<(Arc<str>, Timestamp)>;

impl Store {
    /// Returns all tokens, the oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        self.reader()?.tokens().await.map_err(Error::Backend)
    }

    /// Returns when each token was last used, by id. Tokens that are not in the store have their last use here, too.
    pub async fn token_uses(&self) -> Result<HashMap<String, Timestamp>, Error> {
        self.reader()?.token_uses().await.map_err(Error::Backend)
    }
}
