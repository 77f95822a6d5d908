//! Records when schedules were last due.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Store;
use crate::error::Error;
use crate::operation::Operation;
use postback_wire::time::Timestamp;

/// The operation that writes when each of these schedules was last due. A time that is earlier than the stored one is
/// not written. No two entries have the same name.
#[derive(Debug)]
pub(crate) struct RecordTicks(pub Vec<(Arc<str>, Timestamp)>);

impl Operation for RecordTicks {
    type Answer = ();

    fn rows(&self) -> usize {
        self.0.len()
    }
}

impl Store {
    /// Records when schedules were last due: the time up to which the requests of each schedule are stored.
    pub async fn record_ticks(&self, ticks: HashMap<Arc<str>, Timestamp>) -> Result<(), Error> {
        self.ask(RecordTicks(ticks.into_iter().collect())).await
    }

    /// Returns when each schedule was last due, by the schedule's name.
    pub async fn ticks(&self) -> Result<HashMap<String, Timestamp>, Error> {
        self.reader()?.ticks().await.map_err(Error::Backend)
    }
}
