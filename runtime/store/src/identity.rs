//! The id of a store: made with its tables, and kept as long as they are. A copy of the store has the same id.

use crate::Store;

/// The key of the row in the table `meta` that has the id.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const KEY: &str = "postback store id";

impl Store {
    /// Returns the id of the store. All nodes of one store have the same. `None`: the rows end with the process, and so
    /// would an id.
    pub fn id(&self) -> Option<&str> {
        self.0.shared.local.id.as_deref()
    }
}
