//! Sets aside what was handed in and cannot be taken.

use crate::Store;
use crate::error::Error;
use crate::operation::Operation;

/// The operation that sets a row of the table `handed_in` aside. The row stays, with what is wrong with it, and is not
/// looked at again.
#[derive(Debug)]
pub(crate) struct SetAside {
    pub id: String,
    pub problem: String,
}

impl Operation for SetAside {
    type Answer = ();
}

impl Store {
    /// Sets aside what was handed in under this id.
    pub(crate) async fn set_aside(&self, id: String, problem: String) -> Result<(), Error> {
        self.ask(SetAside { id, problem }).await
    }
}
