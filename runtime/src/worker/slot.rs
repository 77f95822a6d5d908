//! The room that a run takes up: one of the node's slots, counted for its route; and of those requests that were running when
//! a process ended, one has the lane in which they are run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a node.
pub(super) struct Slots {
    pub(super) all: Arc<Semaphore>,
    /// How many of each route run.
    running: Arc<HashMap<String, AtomicUsize>>,
    /// For one request at a time, so that it is found out which of them ends its process.
    lane: Arc<Semaphore>,
    lane_free: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(concurrency: usize, routes: &[String]) -> Self {
        Self {
            all: Arc::new(Semaphore::new(concurrency)),
            running: Arc::new(routes.iter().map(|route| (route.clone(), AtomicUsize::new(0))).collect()),
            lane: Arc::new(Semaphore::new(1)),
            lane_free: Arc::default(),
        }
    }

    /// The lane, if it is free.
    pub(super) fn lane(&self) -> Option<Lane> {
        let permit = Arc::clone(&self.lane).try_acquire_owned().ok()?;
        Some(Lane { _permit: permit, _free: None })
    }

    /// Returns when the lane may have become free since the last call.
    pub(super) async fn lane_free(&self) {
        self.lane_free.notified().await;
    }

    pub(super) fn running(&self, route: &str) -> usize {
        self.running.get(route).map_or(0, |running| running.load(Ordering::Relaxed))
    }

    /// A run of this route begins in this slot.
    pub(super) fn take(&self, permit: OwnedSemaphorePermit, route: &str, lane: Option<Lane>) -> Slot {
        if let Some(running) = self.running.get(route) {
            running.fetch_add(1, Ordering::Relaxed);
        }
        let lane = lane.map(|lane| Lane { _free: Some(NotifyFree(Arc::clone(&self.lane_free))), ..lane });
        Slot {
            route: route.to_owned(),
            running: Arc::clone(&self.running),
            lane: LaneHeld(Arc::new(Mutex::new(lane))),
            _permit: permit,
        }
    }
}

/// See [`Slots::lane`].
pub(super) struct Lane {
    // Given back before it is told: fields are dropped in this order.
    _permit: OwnedSemaphorePermit,
    _free: Option<NotifyFree>,
}

/// Tells that the lane is free. Not of one that was taken for a look alone.
struct NotifyFree(Arc<Notify>);

impl Drop for NotifyFree {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// PreClaimed until the handler is really gone: one that ignores its abort still takes up its slot.
pub(super) struct Slot {
    route: String,
    running: Arc<HashMap<String, AtomicUsize>>,
    lane: LaneHeld,
    _permit: OwnedSemaphorePermit,
}

/// The lane, where a run has it.
#[derive(Clone)]
pub(super) struct LaneHeld(Arc<Mutex<Option<Lane>>>);

impl LaneHeld {
    pub(super) fn free(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Slot {
    pub(super) fn lane(&self) -> LaneHeld {
        self.lane.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.lane.free();
        if let Some(running) = self.running.get(&self.route) {
            running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
