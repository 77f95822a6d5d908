//! The slots of a node, in which requests run, and the lane for suspected requests.
//!
//! A suspected request was running when a process died, so it may have ended the process. Only one suspected request
//! runs at a time: the one that has the lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::handler::Routes;
use postback_store::{Load, RequestRoom, RoutePermit, RouteRoom};

/// The slots of a node. Each running request occupies one slot, so the number of slots limits the number of running
/// requests. A request also takes a permit of its route, which may have a limit of its own.
pub(super) struct Slots {
    pub(super) all: Arc<Semaphore>,
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
        Self {
            all: Arc::new(Semaphore::new(concurrency)),
            routes: routes.collect(),
            route_free,
            lane: Arc::new(Semaphore::new(1)),
            lane_free: Arc::default(),
        }
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
