//! What this process keeps in memory in addition to the rows of the store. Operations change it before and after their
//! commit.

use std::sync::Arc;

use crate::backlog::Backlog;
use crate::clock::StoreClock;
use crate::counters::Counters;
use crate::feed::Changes;
use crate::handoff::Handoff;
use crate::nodes::Lease;
use crate::parked::DisabledUrls;
use crate::series::Tally;
use crate::wake::Wake;

/// The data that this process keeps in memory in addition to the rows of one store.
pub(crate) struct Local {
    pub wake: Wake,
    pub changes: Changes,
    pub handoff: Handoff,
    pub disabled: DisabledUrls,
    pub clock: StoreClock,
    pub counters: Arc<Counters>,
    pub backlog: Arc<Backlog>,
    pub lease: Lease,
    pub tally: Tally,
    /// The id of the store. `None`: its rows end with the process.
    pub id: Option<Box<str>>,
}
