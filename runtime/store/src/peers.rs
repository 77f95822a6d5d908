//! Looks at what the other nodes on the same database have done, so that this node acts on it: rows that can be claimed,
//! requests that have ended, runs that are cancelled, URLs that are disabled, and how many requests wait.
//!
//! The other nodes call when there may be something new. A call may be lost, so this task also looks every second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::backend::{Heard, Reader};
use crate::nodes::{Mark, Version};
use crate::overview::Cause;
use crate::shutdown::Shutdown;
use crate::writer::Shared;
use postback_wire::id::RequestId;

/// How often the task looks without a call.
const LOOK: Duration = Duration::from_secs(1);
/// How often the task counts the waiting requests. A count reads all of them, so the pause is also at least
/// [`PAUSE_PER_COUNT`] times as long as the count has taken.
const COUNT: Duration = Duration::from_secs(5);
const PAUSE_PER_COUNT: u32 = 20;
/// The pause after a call, so that many calls cost little.
const PAUSE: Duration = Duration::from_millis(20);
/// The largest number of watched requests that one read looks at.
const MOST_WATCHED: usize = 1_000;

pub(crate) struct Peers {
    shared: Arc<Shared>,
    reader: Arc<dyn Reader>,
    heard: Arc<Heard>,
    /// How far each watched request was when the task looked last.
    marks: HashMap<RequestId, Mark>,
    /// The version of the list of disabled URLs that is known, and how many times this process had changed its list itself
    /// before it was read.
    disabled: Option<(Version, u64)>,
    next_count: Instant,
}

impl Peers {
    pub(crate) fn new(shared: Arc<Shared>, reader: Arc<dyn Reader>, heard: Arc<Heard>) -> Self {
        Self { shared, reader, heard, marks: HashMap::new(), disabled: None, next_count: Instant::now() }
    }

    /// Looks until the stop signal.
    pub(crate) async fn run(mut self, stop: Shutdown) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let heard = self.heard.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                _ = tick.tick() => {
                    self.wake_claims();
                    let looked = tokio::select! {
                        looked = self.look() => looked,
                        () = stop.stopping() => return,
                    };
                    if let Err(error) = looked {
                        tracing::debug!(%error, "what other nodes have done cannot be read, trying again");
                    }
                }
                () = heard.work.notified() => {
                    self.wake_claims();
                    tokio::time::sleep(PAUSE).await;
                }
                () = heard.ends.notified() => {
                    if let Err(error) = self.look_at_runs().await {
                        tracing::debug!(%error, "what other nodes have ended cannot be read, trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn wake_claims(&self) {
        let wake = &self.shared.local.wake;
        if self.shared.local.lease.others() > 0 {
            wake.requests.notify_one();
            wake.reports.notify_one();
        }
    }

    async fn look(&mut self) -> Result<(), Cause> {
        self.look_at_runs().await?;
        // Another node may have undone what this process has changed since the last look. Then the database has the version
        // of the last look again, and the list of this process does not.
        let changes = self.shared.local.disabled.changes();
        let known = self.disabled.filter(|(_, before)| *before == changes).map(|(version, _)| version);
        if let Some((version, disabled)) = self.reader.disabled_since(known).await? {
            self.disabled = Some((version, changes));
            self.shared.local.disabled.replace(disabled);
        }
        if self.shared.local.lease.others() > 0 && self.next_count <= Instant::now() {
            let begun = Instant::now();
            if let Some(waits) = self.reader.waiting().await? {
                self.shared.local.backlog.recount(waits.routes, waits.owners);
            }
            self.next_count = Instant::now() + COUNT.max(begun.elapsed() * PAUSE_PER_COUNT);
        }
        Ok(())
    }

    /// Tells the runs of this node that another node has cancelled, and the watches of requests that another node has
    /// changed.
    async fn look_at_runs(&mut self) -> Result<(), Cause> {
        let wake = &self.shared.local.wake;
        for claim in self.reader.cancelled().await? {
            wake.cancels.cancel_run(&claim);
        }
        let watched = wake.watches.watched();
        let mut marks = HashMap::with_capacity(watched.len());
        for some in watched.chunks(MOST_WATCHED) {
            for (id, mark) in self.reader.marks(some).await? {
                if mark.has_ended {
                    wake.watches.ended(&id);
                } else {
                    // A request that is watched since a moment ago was read after its watch was made, so it has no news.
                    if self.marks.get(&id).is_some_and(|before| *before != mark) {
                        wake.watches.changed(&id);
                    }
                    marks.insert(id, mark);
                }
            }
        }
        self.marks = marks;
        Ok(())
    }
}
