//! Writes an entry of the audit.

use crate::Store;
use crate::audit::NewAudit;
use crate::error::Error;
use crate::operation::Operation;

/// The operation that writes an entry of the audit.
#[derive(Debug)]
pub(crate) struct WriteAudit(pub Box<NewAudit>);

impl Operation for WriteAudit {
    type Answer = ();
}

impl Store {
    /// Writes an entry of the audit.
    pub async fn audit(&self, entry: NewAudit) -> Result<(), Error> {
        self.ask(WriteAudit(Box::new(entry))).await
    }
}
