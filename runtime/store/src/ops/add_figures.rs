//! Adds the figures of a minute to those in the store.

use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use crate::operation::Operation;
use crate::series::Row;
use postback_wire::time::Timestamp;

/// The operation that adds figures to those of the minute that begins at `minute`, and to those of its ten minutes.
#[derive(Debug)]
pub(crate) struct AddFigures {
    pub minute: Timestamp,
    pub rows: Arc<[Row]>,
}

impl Operation for AddFigures {
    type Answer = ();

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn own_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.rows)
    }
}

impl Store {
    /// Adds figures to those of the minute that begins at `minute`.
    pub(crate) async fn add_figures(&self, minute: Timestamp, rows: Arc<[Row]>) -> Result<(), Error> {
        self.ask(AddFigures { minute, rows }).await
    }
}
