//! Passes *pre-claimed* rows to the worker and to the delivery in memory. A pre-claimed row is written as already
//! claimed by this node. After its commit the store sends the row through a channel to the worker or the delivery, and
//! need not read the row back.
//!
//! A row is pre-claimed only while no older row waits, because rows are worked on in the order in which they became
//! due. Requests that wait because their route is full do not count: their route gives no permit, and other routes go
//! on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::record::{ClaimedReport, ClaimedRequest, ReportClaim, RequestClaim};
use crate::room::{RequestRoom, RouteRoom};
use postback_wire::time::Timestamp;

/// The smallest capacity of a channel, in rows. The capacity is larger if the worker or the delivery has more free
/// permits when it attaches itself to the store.
const LEAST_CAPACITY: usize = 1_024;

/// The earliest times at which unclaimed rows can become due. No unclaimed row is due before these times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// The earliest due time of the requests of each route. If the map has no time for a route, no request of that
    /// route waits.
    pub requests: HashMap<String, Timestamp>,
    pub reports: Option<Timestamp>,
}

/// A row that was written as claimed and is then sent through memory to the worker or the delivery. The permits that
/// the store has taken from the worker or the delivery for this row are sent with it.
#[derive(Debug)]
pub struct PreClaimed<T, R = OwnedSemaphorePermit> {
    pub row: T,
    pub room: R,
}

/// A pre-claimed request.
pub type PreClaimedRequest = PreClaimed<ClaimedRequest, RequestRoom>;

/// The channels from the store to the worker and to the delivery, and the earliest times at which waiting rows become
/// due.
pub(crate) struct Handoff(Mutex<State>);

struct State {
    routes: Arc<[String]>,
    /// The rooms of the worker's routes, in the order of `routes`.
    rooms: Vec<RouteRoom>,
    requests: Option<Consumer<PreClaimedRequest>>,
    reports: Option<Consumer<PreClaimed<ClaimedReport>>>,
    /// The earliest times at which waiting rows can become due. Every claim replaces these times by the exact times.
    waiting: Waiting,
}

/// The store's end of the channel to a worker or a delivery that receives pre-claimed rows.
struct Consumer<T> {
    room: Arc<Semaphore>,
    hand: mpsc::Sender<T>,
}

impl<T> Consumer<T> {
    fn open(room: Arc<Semaphore>) -> (Self, mpsc::Receiver<T>) {
        // The channel has at least as many places as `room` has permits now, and each row in the channel takes a
        // permit. So the channel is never full, unless the worker or the delivery adds permits later.
        let (hand, receiver) = mpsc::channel(room.available_permits().clamp(LEAST_CAPACITY, Semaphore::MAX_PERMITS));
        (Self { room, hand }, receiver)
    }

    fn try_room(&self, permits: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(permits).ok().filter(|_| !self.hand.is_closed())?;
        self.room.clone().try_acquire_many_owned(permits).ok()
    }
}

impl Handoff {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self(Mutex::new(State { routes: Arc::new([]), rooms: Vec::new(), requests: None, reports: None, waiting }))
    }

    pub(crate) fn attach_requests(
        &self,
        routes: Vec<(String, RouteRoom)>,
        room: Arc<Semaphore>,
    ) -> mpsc::Receiver<PreClaimedRequest> {
        let (consumer, receiver) = Consumer::open(room);
        let (routes, rooms): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let mut state = self.lock();
        state.routes = routes.into();
        state.rooms = rooms;
        state.requests = Some(consumer);
        receiver
    }

    pub(crate) fn attach_reports(&self, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimed<ClaimedReport>> {
        let (consumer, receiver) = Consumer::open(room);
        self.lock().reports = Some(consumer);
        receiver
    }

    /// Returns the routes whose requests the worker runs.
    pub(crate) fn routes(&self) -> Arc<[String]> {
        self.lock().routes.clone()
    }

    /// Takes a slot of the worker and a permit of the route for a request that is about to be written. `None`: there is
    /// none, and the request must be written as waiting.
    pub(crate) fn room_for_request(&self, route: &str, now: Timestamp) -> Option<RequestRoom> {
        let mut state = self.lock();
        let room = state.room_for_request(route, now);
        if room.is_none() {
            state.wait_request(route, now);
        }
        room
    }

    /// Takes permits of the delivery for a report of `units` [units](crate::sizes::report_units). `None`: there are too
    /// few permits, and the report must be written as waiting. A report that needs more permits than the delivery has
    /// in all is never pre-claimed.
    pub(crate) fn room_for_report(&self, units: usize, now: Timestamp) -> Option<OwnedSemaphorePermit> {
        let mut state = self.lock();
        let backlog = state.waiting.reports.is_some_and(|due| due <= now);
        let consumer = state.reports.as_ref().filter(|_| !backlog);
        let room = consumer.and_then(|consumer| consumer.try_room(units));
        if room.is_none() {
            state.wait_report(now);
        }
        room
    }

    /// Records that a request is about to wait again, and is due at the time `due`. `None`: the route of the request is
    /// not known, so it may be any of the worker's routes.
    pub(crate) fn request_waits(&self, route: Option<&str>, due: Timestamp) {
        let mut state = self.lock();
        match route {
            Some(route) => state.wait_request(route, due),
            None => state.routes.clone().iter().for_each(|route| state.wait_request(route, due)),
        }
    }

    /// Records that a report is about to wait again, and is due at the time `due`.
    pub(crate) fn report_waits(&self, due: Timestamp) {
        self.lock().wait_report(due);
    }

    /// Records when the next request of each route is due. The last claim has returned these times. `None`: no request
    /// of the route waits.
    pub(crate) fn next_requests(&self, routes: &[String], next: &[Option<Timestamp>]) {
        let mut state = self.lock();
        for (route, next) in routes.iter().zip(next) {
            match (next, state.waiting.requests.get_mut(route)) {
                (Some(next), Some(due)) => *due = *next,
                (Some(next), None) => drop(state.waiting.requests.insert(route.clone(), *next)),
                (None, _) => drop(state.waiting.requests.remove(route)),
            }
        }
    }

    /// Records when the next report is due. The last claim has returned this time.
    pub(crate) fn next_report(&self, next: Option<Timestamp>) {
        self.lock().waiting.reports = next;
    }

    /// Sends a pre-claimed request to the worker. Returns the claim if no worker can receive the request.
    pub(crate) fn give_request(&self, held: PreClaimedRequest) -> Option<RequestClaim> {
        give(self.lock().requests.as_ref(), held).map(|held| held.row.claim)
    }

    /// Sends a pre-claimed report to the delivery. Returns the claim if no delivery can receive the report.
    pub(crate) fn give_report(&self, held: PreClaimed<ClaimedReport>) -> Option<ReportClaim> {
        give(self.lock().reports.as_ref(), held).map(|held| held.row.claim)
    }

    /// Closes the channels, so that the worker and the delivery receive no more rows.
    pub(crate) fn detach(&self) {
        let mut state = self.lock();
        state.requests = None;
        state.reports = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn room_for_request(&self, route: &str, now: Timestamp) -> Option<RequestRoom> {
        let due = |route: &String| self.waiting.requests.get(route).is_some_and(|due| *due <= now);
        if self.routes.iter().zip(&self.rooms).any(|(route, room)| due(route) && room.free() > 0) {
            return None;
        }
        let at = self.routes.iter().position(|attached| attached == route)?;
        let route = self.rooms.get(at)?.try_take()?;
        if let Some(slot) = self.requests.as_ref()?.try_room(1) {
            return Some(RequestRoom { slot, route });
        }
        route.give_back_silently();
        None
    }

    fn wait_request(&mut self, route: &str, due: Timestamp) {
        match self.waiting.requests.get_mut(route) {
            Some(first) => *first = due.min(*first),
            None => drop(self.waiting.requests.insert(route.into(), due)),
        }
    }

    fn wait_report(&mut self, due: Timestamp) {
        self.waiting.reports = Some(self.waiting.reports.map_or(due, |first| due.min(first)));
    }
}

fn give<T>(consumer: Option<&Consumer<T>>, held: T) -> Option<T> {
    let Some(consumer) = consumer else { return Some(held) };
    consumer.hand.try_send(held).err().map(mpsc::error::TrySendError::into_inner)
}
