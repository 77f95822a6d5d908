//! How many requests of a route run at the same time, and how many may.
//!
//! The worker has a [`RouteRoom`] for each of its routes and gives it to the store, which takes permits from it for
//! requests that it pre-claims. So the count is right whoever claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit};

/// The room of one route. All clones are the same room.
#[derive(Clone)]
pub struct RouteRoom(Arc<Room>);

struct Room {
    most: AtomicUsize,
    used: AtomicUsize,
    /// Told when a route that was full has room again.
    freed: Arc<Notify>,
}

impl RouteRoom {
    /// Makes the room of a route in which at most `most` requests run at the same time. `None`: the route has no limit
    /// of its own. Several routes can share `freed`, which is told when one of them was full and has room again.
    pub fn new(most: Option<usize>, freed: Arc<Notify>) -> Self {
        Self(Arc::new(Room { most: AtomicUsize::new(most.unwrap_or(usize::MAX)), used: AtomicUsize::new(0), freed }))
    }

    /// Changes the limit. Requests that run already go on, even if they are too many.
    pub fn set_most(&self, most: Option<usize>) {
        self.0.most.store(most.unwrap_or(usize::MAX), Ordering::SeqCst);
        self.0.freed.notify_one();
    }

    /// Whether the route has a limit of its own.
    pub fn is_limited(&self) -> bool {
        self.0.most.load(Ordering::SeqCst) != usize::MAX
    }

    /// Returns the number of permits that are taken, which is the number of running requests.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::SeqCst)
    }

    /// Returns how many more requests may run.
    pub fn free(&self) -> usize {
        self.0.most.load(Ordering::SeqCst).saturating_sub(self.used())
    }

    /// Takes a permit for one request. `None`: the route is full.
    pub fn try_take(&self) -> Option<RoutePermit> {
        let most = self.0.most.load(Ordering::SeqCst);
        let take = |used: usize| (used < most).then_some(used + 1);
        self.0.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
        Some(RoutePermit { room: self.0.clone(), is_silent: false })
    }

    /// Takes a permit for one request, even if the route is full.
    pub fn take(&self) -> RoutePermit {
        self.0.used.fetch_add(1, Ordering::SeqCst);
        RoutePermit { room: self.0.clone(), is_silent: false }
    }
}

/// The right to run one request of a route. Give it back by dropping it.
pub struct RoutePermit {
    room: Arc<Room>,
    is_silent: bool,
}

impl RoutePermit {
    /// Gives back a permit that was not used, without telling that the route has room. A caller that looked for
    /// requests and found none would otherwise look again without end.
    pub fn give_back_silently(mut self) {
        self.is_silent = true;
    }
}

impl Drop for RoutePermit {
    fn drop(&mut self) {
        let used = self.room.used.fetch_sub(1, Ordering::SeqCst);
        if used >= self.room.most.load(Ordering::SeqCst) && !self.is_silent {
            self.room.freed.notify_one();
        }
    }
}

impl std::fmt::Debug for RoutePermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoutePermit").finish_non_exhaustive()
    }
}

/// What a pre-claimed request has taken from the worker: one of its slots, and a permit of the route.
#[derive(Debug)]
pub struct RequestRoom {
    pub slot: OwnedSemaphorePermit,
    pub route: RoutePermit,
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_full_route_gives_no_permit_and_tells_when_it_has_room() {
        let freed = Arc::new(Notify::new());
        let room = RouteRoom::new(Some(2), freed.clone());
        let (first, second) = (room.try_take().unwrap(), room.try_take().unwrap());
        assert!(room.try_take().is_none() && room.free() == 0 && room.used() == 2);
        second.give_back_silently();
        assert_eq!((room.free(), freed.notified().now_or_never()), (1, None));
        let second = room.try_take().unwrap();
        drop(first);
        assert_eq!((room.free(), freed.notified().now_or_never()), (1, Some(())));
        drop(second);
        assert_eq!((room.used(), freed.notified().now_or_never()), (0, None));
    }

    #[test]
    fn a_limit_can_be_lowered_below_what_runs() {
        let room = RouteRoom::new(None, Arc::default());
        assert!(!room.is_limited());
        let running: Vec<_> = (0..5).map(|_| room.try_take().unwrap()).collect();
        room.set_most(Some(2));
        assert!(room.is_limited() && room.try_take().is_none());
        assert_eq!((room.used(), room.free()), (5, 0));
        let over = room.take();
        assert_eq!(room.used(), 6);
        drop((running, over));
        assert_eq!(room.free(), 2);
    }
}
