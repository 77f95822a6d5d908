//! Limits how many connections are open at the same time to all hosts together. Idle connections count too.
//!
//! The HTTP client's pool limits the connections to each host, but callers may name any number of hosts. So the total
//! is limited here: when the limit is reached, the connection that has been idle longest is closed for a new one. There
//! are usually fewer attempts in flight than connections. If all connections are in use even so, the attempt is put
//! off.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use postback_wire::names::metric;

/// How long a new connection waits until another connection is closed.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(5);

/// The error if the limit of open connections is reached and every connection is in use.
#[derive(Debug, thiserror::Error)]
#[error("all {most} connections that may be open are in use")]
pub(super) struct NoFreeConnection {
    most: usize,
}

/// Counts and limits the connections of all HTTP clients. All clones share one limit.
#[derive(Clone)]
pub(super) struct Connections {
    most: Arc<AtomicUsize>,
    room: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// The open connections. The key is the number of the connection.
    open: HashMap<u64, OpenConnection>,
    /// The idle connections in the order in which they became idle. The connection that has been idle longest comes
    /// first.
    idle: BTreeMap<u64, u64>,
    /// How many callers of `open` wait until a connection is closed.
    waiting: usize,
}

struct OpenConnection {
    closing: Arc<CloseSignal>,
    users: usize,
    /// The position of the connection in the order of idle connections. `None` if the connection is in use, or is being
    /// closed.
    idle: Option<u64>,
}

/// A signal that asks a connection to close itself.
#[derive(Default)]
struct CloseSignal {
    requested: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The permission for one open connection. The connection keeps this permission until it is closed.
pub(super) struct ConnectionPermit {
    number: u64,
    closing: Arc<CloseSignal>,
    of: Connections,
    _room: OwnedSemaphorePermit,
}

/// A handle to a connection. A request uses the handle to mark the connection as in use.
#[derive(Clone)]
pub(super) struct ConnectionUse {
    number: u64,
    of: Connections,
}

/// While this guard lives, the connection counts as in use, so it is not closed to make room for a new connection.
pub(super) struct InUse(ConnectionUse);

/// A guard for one caller that waits until another connection is closed. While the guard lives, `State::waiting` counts
/// this caller.
struct WaitingForRoom<'a>(&'a Connections);

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { most: Arc::new(AtomicUsize::new(most)), room: Arc::new(Semaphore::new(most)), state: Arc::default() }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Changes how many connections may be open. Connections that are open stay open, so a smaller number counts only
    /// as far as there is room now. Only one task may call this method.
    pub(super) fn set_most(&self, most: usize) {
        let (before, most) = (self.most(), most.clamp(1, Semaphore::MAX_PERMITS));
        let now = if most >= before {
            self.room.add_permits(most - before);
            most
        } else {
            before - self.room.forget_permits(before - most)
        };
        self.most.store(now, Ordering::Relaxed);
    }

    /// Waits for the permission to open one more connection. If no other connection is closed in time, the error
    /// contains [`NoFreeConnection`].
    pub(super) async fn open(&self) -> io::Result<ConnectionPermit> {
        let room = if let Ok(room) = self.room.clone().try_acquire_owned() {
            room
        } else {
            self.lock().waiting += 1;
            let _waiting = WaitingForRoom(self);
            self.close_idle(1);
            let room = tokio::time::timeout(WAIT_FOR_ROOM, self.room.clone().acquire_owned()).await;
            room.ok().and_then(Result::ok).ok_or_else(|| io::Error::other(NoFreeConnection { most: self.most() }))?
        };
        let closing = Arc::<CloseSignal>::default();
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.open.insert(number, OpenConnection { closing: closing.clone(), users: 0, idle: None });
        gauged(&state);
        drop(state);
        Ok(ConnectionPermit { number, closing, of: self.clone(), _room: room })
    }

    /// Closes at most `most` idle connections. The connections that have been idle longest are closed first.
    pub(super) fn close_idle(&self, most: usize) {
        let mut state = self.lock();
        let closed: Vec<_> = (0..most).map_while(|_| state.take_idle()).collect();
        drop(state);
        for closing in closed {
            closing.request();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_idle(&mut self) -> Option<Arc<CloseSignal>> {
        let (_, number) = self.idle.pop_first()?;
        let place = self.open.get_mut(&number)?;
        place.idle = None;
        Some(place.closing.clone())
    }
}

impl ConnectionPermit {
    pub(super) fn usage(&self) -> ConnectionUse {
        ConnectionUse { number: self.number, of: self.of.clone() }
    }

    /// Whether the connection must be closed now. If not, the calling task is woken later, when the connection must be
    /// closed.
    pub(super) fn is_to_close(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.closing.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        // The flag is read while the lock of `waker` is held. So if `request` sets the flag later, it finds the waker
        // and wakes the task.
        self.closing.requested.load(Ordering::Acquire)
    }
}

impl CloseSignal {
    fn request(&self) {
        self.requested.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        if let Some(OpenConnection { idle: Some(idle), .. }) = state.open.remove(&self.number) {
            state.idle.remove(&idle);
        }
        gauged(&state);
    }
}

impl ConnectionUse {
    pub(super) fn begin(self) -> InUse {
        let mut state = self.of.lock();
        let inner = &mut *state;
        if let Some(place) = inner.open.get_mut(&self.number) {
            place.users += 1;
            if let Some(idle) = place.idle.take() {
                inner.idle.remove(&idle);
            }
        }
        drop(state);
        InUse(self)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let ConnectionUse { number, of } = &self.0;
        let mut state = of.lock();
        let inner = &mut *state;
        let Some(place) = inner.open.get_mut(number) else { return };
        place.users = place.users.saturating_sub(1);
        if place.users > 0 {
            return;
        }
        inner.last += 1;
        place.idle = Some(inner.last);
        inner.idle.insert(inner.last, *number);
        let closing = if inner.waiting > 0 { inner.take_idle() } else { None };
        drop(state);
        if let Some(closing) = closing {
            closing.request();
        }
    }
}

impl Drop for WaitingForRoom<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

fn gauged(state: &State) {
    // The conversion does not fail, because the number of connections is far below `u32::MAX`.
    gauge!(metric::CONNECTIONS_OPEN).set(f64::from(u32::try_from(state.open.len()).unwrap_or(u32::MAX)));
}

impl fmt::Debug for ConnectionUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mark").field(&self.number).finish()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("most", &self.most()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Returns how many connections are open, how many of them are idle, and how many callers wait for a connection.
    fn counts(all: &Connections) -> (usize, usize, usize) {
        let state = all.lock();
        (state.open.len(), state.idle.len(), state.waiting)
    }

    fn asked(permit: &ConnectionPermit) -> bool {
        permit.is_to_close(&Context::from_waker(Waker::noop()))
    }

    fn spawn_open(all: &Connections) -> tokio::task::JoinHandle<io::Result<ConnectionPermit>> {
        let all = all.clone();
        #[expect(clippy::disallowed_methods, reason = "its handle is awaited")]
        tokio::spawn(async move { all.open().await })
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_is_closed_for_the_next_and_none_that_is_in_use() {
        let all = Connections::new(3);
        let [a, b, c] = [all.open().await.unwrap(), all.open().await.unwrap(), all.open().await.unwrap()];
        let (in_a, in_b) = (a.usage().begin(), b.usage().begin());
        drop(c.usage().begin());
        drop(in_b);
        // Connection `c` is used once more, so it is no longer the connection that has been idle longest.
        drop(c.usage().begin());
        let next = spawn_open(&all);
        while !asked(&b) {
            tokio::task::yield_now().await;
        }
        assert!(!asked(&a) && !asked(&c));
        drop(b);
        let d = next.await.unwrap().unwrap();
        assert_eq!(counts(&all), (3, 1, 0));
        drop((a, in_a, c, d));
        assert_eq!(counts(&all), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_in_use_one_waits_for_the_first_that_is_idle_and_not_for_ever() {
        let all = Connections::new(1);
        let only = all.open().await.unwrap();
        let in_use = only.usage().begin();
        let error = all.open().await.err().unwrap();
        assert!(error.get_ref().unwrap().is::<NoFreeConnection>(), "{error}");
        let next = spawn_open(&all);
        while all.lock().waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!asked(&only));
        drop(in_use);
        assert!(asked(&only));
        drop(only);
        next.await.unwrap().unwrap();
    }
}
