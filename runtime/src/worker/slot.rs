//! The slots of a node, in which requests run, and the lane for suspected requests.
//!
//! A suspected request was running when a process died, so it may have ended the process. Only one suspected request
//! runs at a time: the one that has the lane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a node. Each running request occupies one slot, so the number of slots limits the number of running
/// requests.
pub(super) struct Slots {
    pub(super) all: Arc<Semaphore>,
    /// The number of running requests of each route.
    running: Arc<HashMap<String, AtomicUsize>>,
    /// Lets only one suspected request run at a time. A suspected request is one that was running when a process died.
    /// If the process dies again, the suspected request that ran is known to be the cause.
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

    /// Returns the lane, which is the right to run a suspected request. Returns `None` if another run has the lane.
    pub(super) fn lane(&self) -> Option<Lane> {
        let permit = Arc::clone(&self.lane).try_acquire_owned().ok()?;
        Some(Lane { _permit: permit, _free: None })
    }

    /// Waits until a run frees the lane, the right to run a suspected request. If a run has freed the lane since the
    /// last call, this function does not wait.
    pub(super) async fn lane_free(&self) {
        self.lane_free.notified().await;
    }

    pub(super) fn running(&self, route: &str) -> usize {
        self.running.get(route).map_or(0, |running| running.load(Ordering::Relaxed))
    }

    /// Counts a new run of this route, and returns the slot for the run. `permit` is the semaphore permit of the slot.
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

/// The right to run a suspected request, which is one that was running when a process died. When this value is dropped,
/// another request can get the right.
pub(super) struct Lane {
    // Invariant: `_permit` is declared before `_free`, because fields are dropped in the order of their declaration. So
    // the lane is already free when the drop of `_free` announces that the lane is free.
    _permit: OwnedSemaphorePermit,
    _free: Option<NotifyFree>,
}

/// Announces, when it is dropped, that the lane (the right to run a suspected request) is free. A lane that is dropped
/// before any run has taken it does not contain this value. So its drop announces nothing.
struct NotifyFree(Arc<Notify>);

impl Drop for NotifyFree {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A slot in which a request runs. The slot becomes free when the handler's future is dropped. So the slot of a handler
/// that does not return, even after its task was aborted, stays in use.
pub(super) struct Slot {
    route: String,
    running: Arc<HashMap<String, AtomicUsize>>,
    lane: LaneHeld,
    _permit: OwnedSemaphorePermit,
}

/// The lane of a run, which is the right to run a suspected request. The value is `None` if the run does not need the
/// lane or has freed the lane.
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
