//! The slots of a node, in which requests run, and the lane for suspected requests.
//!
//! A suspected request was running when a process died, so it may have ended the process. Only one suspected request
//! runs at a time: the one that has the lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::handler::Routes;
use postback_store::{Load, RequestRoom, RoutePermit, RouteRoom};

/// The slots of a node. Each running request occupies one slot, so the number of slots limits the number of running
/// requests. A request also takes a permit of its route, which may have a limit of its own.
pub(super) struct Slots {
    pub(super) all: Arc<Semaphore>,
    size: Size,
    routes: HashMap<String, RouteRoom>,
    /// Told when a route that was full has room again.
    route_free: Arc<Notify>,
    /// Lets only one suspected request run at a time. A suspected request is one that was running when a process died.
    /// If the process dies again, the suspected request that ran is known to be the cause.
    lane: Arc<Semaphore>,
    lane_free: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(concurrency: usize, routes: &Routes) -> Self {
        let route_free = Arc::<Notify>::default();
        let room = |most| RouteRoom::new(most, Arc::clone(&route_free));
        let routes = routes.iter().map(|route| (route.path.clone(), room(route.limits().concurrency)));
        let all = Arc::new(Semaphore::new(concurrency));
        Self {
            size: Size::of(Arc::clone(&all), concurrency),
            all,
            routes: routes.collect(),
            route_free,
            lane: Arc::new(Semaphore::new(1)),
            lane_free: Arc::default(),
        }
    }

    /// Returns the handle that changes the number of slots.
    pub(super) fn size(&self) -> Size {
        self.size.clone()
    }

    /// Removes one slot if there are more than there may be. The future waits until there are too many slots, and then
    /// until one of them is free. If it is dropped, no slot is lost.
    pub(super) async fn shrunk(&self) {
        self.size.shrunk().await;
    }

    /// Returns the room of each route, for the store.
    pub(super) fn rooms(&self) -> Vec<(String, RouteRoom)> {
        self.routes.iter().map(|(route, room)| (route.clone(), room.clone())).collect()
    }

    /// Waits until a route that was full has room again, or until the operator has changed the limit of a route. If
    /// that has happened since the last call, this function does not wait.
    pub(super) async fn route_free(&self) {
        self.route_free.notified().await;
    }

    /// Takes permits of the routes for a claim of up to `most` requests. While the claim is under way, the store cannot
    /// pre-claim requests of the routes for which all permits are taken.
    pub(super) fn reserve(&self, most: usize) -> Reserved<'_> {
        let one = |(route, room): (&'_ String, &'_ RouteRoom)| {
            let running = room.used();
            // A route without a limit has a permit for each request, so none need be reserved.
            let most = if room.is_limited() { most } else { 0 };
            let permits: Vec<RoutePermit> = std::iter::from_fn(|| room.try_take()).take(most).collect();
            (route.clone(), (running, permits))
        };
        Reserved { rooms: &self.routes, routes: self.routes.iter().map(one).collect() }
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

    /// Makes the slot for a run of a request. `room` is what the request has taken from this node.
    pub(super) fn take(&self, room: RequestRoom, lane: Option<Lane>) -> Slot {
        let lane = lane.map(|lane| Lane { _free: Some(NotifyFree(Arc::clone(&self.lane_free))), ..lane });
        Slot { lane: LaneHeld(Arc::new(Mutex::new(lane))), _room: room }
    }
}

/// The number of slots, which can be changed while requests run. All clones change the same slots.
#[derive(Clone)]
pub(super) struct Size {
    all: Arc<Semaphore>,
    counts: Arc<Mutex<Counts>>,
    changed: Arc<Notify>,
}

struct Counts {
    /// The number of slots that there are: the permits of the semaphore, free and in use.
    are: usize,
    /// The number of slots that there may be.
    may_be: usize,
}

impl Size {
    fn of(all: Arc<Semaphore>, slots: usize) -> Self {
        let counts = Counts { are: slots, may_be: slots };
        Self { all, counts: Arc::new(Mutex::new(counts)), changed: Arc::default() }
    }

    /// Changes the number of slots. If there are too many, free slots are removed at once, and others when they become
    /// free.
    pub(super) fn set(&self, slots: usize) {
        let mut counts = self.counts();
        counts.may_be = slots;
        if slots > counts.are {
            self.all.add_permits(slots - counts.are);
            counts.are = slots;
        } else {
            counts.are -= self.all.forget_permits(counts.are - slots);
        }
        self.changed.notify_one();
    }

    async fn shrunk(&self) {
        while !self.counts().has_too_many() {
            self.changed.notified().await;
        }
        // Acquiring does not fail, because this semaphore is never closed.
        let Ok(permit) = self.all.acquire().await else { return };
        let mut counts = self.counts();
        // The number may have grown again meanwhile.
        if counts.has_too_many() {
            permit.forget();
            counts.are -= 1;
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn has_too_many(&self) -> bool {
        self.are > self.may_be
    }
}

/// The permits of the routes that are taken for a claim. When this value is dropped, the permits that no claimed
/// request has used are given back.
pub(super) struct Reserved<'a> {
    rooms: &'a HashMap<String, RouteRoom>,
    /// The number of running requests of each route before the permits were taken, and the permits.
    routes: HashMap<String, (usize, Vec<RoutePermit>)>,
}

impl Reserved<'_> {
    pub(super) fn load(&self, route: &str) -> Load {
        let Some((running, permits)) = self.routes.get(route) else { return Load::default() };
        let is_limited = self.rooms.get(route).is_some_and(RouteRoom::is_limited);
        Load { running: *running, free: if is_limited { permits.len() } else { usize::MAX } }
    }

    /// Returns a permit for a claimed request of this route.
    pub(super) fn permit(&mut self, route: &str) -> RoutePermit {
        let reserved = self.routes.get_mut(route).and_then(|(_, permits)| permits.pop());
        // Only requests of this node's routes are claimed. So the room of no route is never used.
        let taken = || self.rooms.get(route).map(RouteRoom::take);
        reserved.or_else(taken).unwrap_or_else(|| RouteRoom::new(None, Arc::default()).take())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let permits = self.routes.drain().flat_map(|(_, (_, permits))| permits);
        permits.for_each(RoutePermit::give_back_silently);
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
    lane: LaneHeld,
    _room: RequestRoom,
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
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn slots_are_added_at_once_and_removed_when_they_are_free() {
        let all = Arc::new(Semaphore::new(2));
        let size = Size::of(Arc::clone(&all), 2);
        size.set(4);
        let used: Vec<_> = (0..3).map(|_| Arc::clone(&all).try_acquire_owned().unwrap()).collect();
        assert!(size.shrunk().now_or_never().is_none(), "nothing is to go");
        size.set(1);
        assert_eq!(all.available_permits(), 0, "the free slot goes at once");
        let mut used = used.into_iter();
        for _ in 0..2 {
            assert!(size.shrunk().now_or_never().is_none());
            drop(used.next());
            size.shrunk().await;
            assert_eq!(all.available_permits(), 0);
        }
        drop(used.next());
        assert!(size.shrunk().now_or_never().is_none());
        assert_eq!(all.available_permits(), 1);
        // A number that grows again keeps the slots that were to go.
        let held = Arc::clone(&all).try_acquire_owned().unwrap();
        size.set(0);
        size.set(2);
        drop(held);
        assert!(size.shrunk().now_or_never().is_none());
        assert_eq!(all.available_permits(), 2);
    }
}
