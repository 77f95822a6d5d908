//! Rows that are *pre-claimed*: written as already in this node's hands, and handed over in memory after the commit,
//! without being read back.
//!
//! Only while nothing older waits: rows are worked on in the order in which they became due.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::PreClaimed;
use super::backend::Waiting;
use super::record::{ClaimedReport, ClaimedRequest, ReportClaim, RequestClaim};
use crate::time::Timestamp;

/// The channel holds at least this many rows, whatever the room is when it is attached.
const DESK: usize = 1_024;

pub(crate) struct Handoff(Mutex<State>);

struct State {
    routes: Arc<[String]>,
    requests: Option<Consumer<ClaimedRequest>>,
    reports: Option<Consumer<ClaimedReport>>,
    /// Lower bounds, corrected by every claim.
    waiting: Waiting,
}

struct Consumer<T> {
    room: Arc<Semaphore>,
    hand: mpsc::Sender<PreClaimed<T>>,
}

impl<T> Consumer<T> {
    fn open(room: Arc<Semaphore>) -> (Self, mpsc::Receiver<PreClaimed<T>>) {
        // The permits bound what is in the channel, so it is never full while they are what they were.
        let (hand, receiver) = mpsc::channel(room.available_permits().clamp(DESK, Semaphore::MAX_PERMITS));
        (Self { room, hand }, receiver)
    }

    fn try_room(&self, permits: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(permits).ok().filter(|_| !self.hand.is_closed())?;
        self.room.clone().try_acquire_many_owned(permits).ok()
    }
}

impl Handoff {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self(Mutex::new(State { routes: Arc::new([]), requests: None, reports: None, waiting }))
    }

    pub(crate) fn attach_requests(
        &self,
        routes: Vec<String>,
        room: Arc<Semaphore>,
    ) -> mpsc::Receiver<PreClaimed<ClaimedRequest>> {
        let (consumer, receiver) = Consumer::open(room);
        let mut state = self.lock();
        state.routes = routes.into();
        state.requests = Some(consumer);
        receiver
    }

    pub(crate) fn attach_reports(&self, room: Arc<Semaphore>) -> mpsc::Receiver<PreClaimed<ClaimedReport>> {
        let (consumer, receiver) = Consumer::open(room);
        self.lock().reports = Some(consumer);
        receiver
    }

    /// The attached routes.
    pub(crate) fn routes(&self) -> Arc<[String]> {
        self.lock().routes.clone()
    }

    /// Room for a request that is about to be written; without it, it is taken down as waiting.
    pub(crate) fn room_for_request(&self, route: &str, now: Timestamp) -> Option<OwnedSemaphorePermit> {
        let mut state = self.lock();
        let backlog = state.routes.iter().any(|route| state.waiting.requests.get(route).is_some_and(|due| *due <= now));
        let attached = state.routes.iter().any(|attached| attached == route);
        let consumer = state.requests.as_ref().filter(|_| attached && !backlog);
        let room = consumer.and_then(|consumer| consumer.try_room(1));
        if room.is_none() {
            state.wait_request(route, now);
        }
        room
    }

    /// The same for a report of so many [units](super::operation::report_units). One that is larger than all the room has to be
    /// claimed.
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

    /// A request of one of the attached routes is about to wait again.
    pub(crate) fn request_waits(&self, due: Timestamp) {
        let mut state = self.lock();
        // Which of them is not known here; that it is one of them suffices.
        for route in state.routes.clone().iter().take(1) {
            state.wait_request(route, due);
        }
    }

    /// A report is about to wait again.
    pub(crate) fn report_waits(&self, due: Timestamp) {
        self.lock().wait_report(due);
    }

    /// A claim found out when the next request of the attached routes is due.
    pub(crate) fn next_request(&self, next: Option<Timestamp>) {
        let mut state = self.lock();
        for route in state.routes.clone().iter() {
            match (next, state.waiting.requests.get_mut(route)) {
                (Some(next), Some(due)) => *due = next.max(*due),
                (None, Some(_)) => drop(state.waiting.requests.remove(route)),
                (_, None) => {}
            }
        }
        if let (Some(next), Some(first)) = (next, state.routes.first().cloned()) {
            state.wait_request(&first, next);
        }
    }

    /// The same for reports.
    pub(crate) fn next_report(&self, next: Option<Timestamp>) {
        self.lock().waiting.reports = next;
    }

    /// Hands over; the claim of what cannot be handed over comes back.
    pub(crate) fn give_request(&self, held: PreClaimed<ClaimedRequest>) -> Option<RequestClaim> {
        give(self.lock().requests.as_ref(), held).map(|row| row.claim)
    }

    /// The same for a report.
    pub(crate) fn give_report(&self, held: PreClaimed<ClaimedReport>) -> Option<ReportClaim> {
        give(self.lock().reports.as_ref(), held).map(|row| row.claim)
    }

    /// Lets the receivers come to their end.
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

fn give<T>(consumer: Option<&Consumer<T>>, held: PreClaimed<T>) -> Option<T> {
    let Some(consumer) = consumer else { return Some(held.row) };
    consumer.hand.try_send(held).err().map(|refused| refused.into_inner().row)
}
