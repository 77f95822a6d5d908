//! Records when tokens were last used.

use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use crate::operation::Operation;
use crate::tokens::TokenUses;
use postback_wire::time::Timestamp;

/// The operation that writes when each of these tokens was last used. A time that is earlier than the stored one is not
/// written.
#[derive(Debug)]
pub(crate) struct UseTokens(pub TokenUses);

impl Operation for UseTokens {
    type Answer = ();

    fn rows(&self) -> usize {
        self.0.len()
    }
}

impl Store {
    /// Records when tokens were last used. Call this at long intervals, with all tokens that were used meanwhile.
    pub async fn use_tokens(&self, uses: Vec<(Arc<str>, Timestamp)>) -> Result<(), Error> {
        self.ask(UseTokens(uses)).await
    }
}
