//! The slots of a node, in which requests run, and the lane for suspected requests.
//!
//! A suspected request was running when a process died, so it may have ended the process. Only one suspected request
//! runs at a time: the one that has the lane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a node.
pub(super) struct Slots {
    pub(super) all: Arc<Semaphore>,
    /// How many requests of each route are running.
    running: Arc<HashMap<String, AtomicUsize>>,
    /// The lane has one permit. So if the process dies again, the one suspected request that ran is known to be the
    /// cause.
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

    /// Takes the lane if it is free.
    pub(super) fn lane(&self) -> Option<Lane> {
        let permit = Arc::clone(&self.lane).try_acquire_owned().ok()?;
        Some(Lane { _permit: permit, _free: None })
    }

    /// Waits until a run frees the lane. Returns at once if that has happened since the last call.
    pub(super) async fn lane_free(&self) {
        self.lane_free.notified().await;
    }

    pub(super) fn running(&self, route: &str) -> usize {
        self.running.get(route).map_or(0, |running| running.load(Ordering::Relaxed))
    }

    /// Begins a run of this route in the slot of `permit`.
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

/// The right to run a suspected request. Frees the lane when it is dropped.
pub(super) struct Lane {
    // Invariant: the permit stands before the field that announces that the lane is free. Fields are dropped in the order
    // of their declaration, so the lane is free when that is announced.
    _permit: OwnedSemaphorePermit,
    _free: Option<NotifyFree>,
}

/// Announces, when it is dropped, that the lane is free. A lane that was taken for a claim and not used announces
/// nothing.
struct NotifyFree(Arc<Notify>);

impl Drop for NotifyFree {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A slot in use. It is in use until the handler's future is dropped: a handler that ignores its abort keeps its slot.
pub(super) struct Slot {
    route: String,
    running: Arc<HashMap<String, AtomicUsize>>,
    lane: LaneHeld,
    _permit: OwnedSemaphorePermit,
}

/// The lane of a run, if the run has the lane.
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
