//! What this process keeps in memory beside the rows of the store. Operations change it before and after their commit.

use std::sync::Arc;

use super::backlog::Backlog;
use super::clock::StoreClock;
use super::counters::Counters;
use super::handoff::Handoff;
use super::parked::DisabledUrls;
use super::wake::Wake;

/// What this process keeps in memory beside the rows of one store.
pub(crate) struct Local {
    pub(crate) wake: Wake,
    pub(crate) handoff: Handoff,
    pub(crate) disabled: DisabledUrls,
    pub(crate) clock: StoreClock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) backlog: Arc<Backlog>,
}
