//! The open connections: how many are allowed, and which idle connection is closed so that a new one can be accepted.
//!
//! - If the limit is reached, the server closes the connection that has been idle for the longest time, and accepts the
//!   new one. A connection is idle if it has no active call, even if it has not sent anything yet. If no connection is
//!   idle, the server refuses the new connection.
//! - The last quarter of the limit is reserved for addresses that have few connections. Loopback addresses always count
//!   as having few connections, because a proxy on this machine may connect for many clients.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The divisor for the number of reserved connections: a quarter of all connections is reserved for IP addresses that
/// have few connections.
const KEPT_PARTS: usize = 4;
/// The divisor that defines "few" connections: an IP address has few connections if it has less than a sixteenth of all
/// connections that may be open.
const FEW_PARTS: usize = 16;
/// How long a connection may have no active HTTP call before the server closes the connection. On HTTP/1, hyper closes
/// such a connection earlier.
const IDLE: Duration = Duration::from_mins(5);

/// All open connections.
pub(super) struct OpenConnections {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    connections: Slab<Entry>,
    /// The idle connections. Each entry has the time at which the connection became idle, and the key of the
    /// connection. The connection that has been idle for the longest time is the first entry.
    idle: BTreeSet<(Instant, usize)>,
    /// The number of connections of each IP address.
    by_peer: HashMap<IpAddr, usize>,
    /// The number of connections that are being closed because they were idle.
    closing: usize,
}

struct Entry {
    peer: IpAddr,
    /// The number of active HTTP calls.
    calls: usize,
    /// The number of HTTP calls whose client does not read the answer.
    stalled: usize,
    idle_since: Instant,
    closing: bool,
    close: CancellationToken,
    cut: CancellationToken,
}

/// An open connection. The connection counts as closed when all clones of its `Arc` are dropped.
pub(super) struct Connection {
    all: Arc<OpenConnections>,
    key: usize,
    /// Cancelled when the connection must end as soon as its active HTTP calls have ended.
    pub(super) close: CancellationToken,
    /// Cancelled when the connection must end immediately.
    pub(super) cut: CancellationToken,
    /// The number of event streams on this connection.
    streams: AtomicUsize,
}

/// An event stream on a connection. The stream counts as open until this value is dropped.
pub(super) struct StreamOfConnection(Arc<Connection>);

impl Drop for StreamOfConnection {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP call on a connection. The call counts as active until this value is dropped.
pub(super) struct ActiveCall(Arc<Connection>);

impl OpenConnections {
    /// Makes an empty set of connections that allows at most `limit` connections, or one connection if `limit` is zero.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limit: limit.max(1) })
    }

    /// Accepts a new connection if the limit is not reached, or if an idle connection can be closed. Returns `None` if
    /// the server must refuse the new connection.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<Arc<Connection>> {
        let peer = network(peer);
        let mut state = self.lock();
        let theirs = state.by_peer.get(&peer).copied().unwrap_or_default();
        let taken = state.connections.len() - state.closing;
        let has_few = peer.is_loopback() || theirs < (self.limit / FEW_PARTS).max(1);
        if !has_few && taken >= self.limit - self.limit / KEPT_PARTS {
            return None;
        }
        if taken >= self.limit && !state.close_longest_idle() {
            return None;
        }
        *state.by_peer.entry(peer).or_default() += 1;
        let (close, cut) = (CancellationToken::new(), CancellationToken::new());
        let tokens = (close.clone(), cut.clone());
        let entry =
            Entry { peer, calls: 0, stalled: 0, idle_since: now, closing: false, close: tokens.0, cut: tokens.1 };
        let key = state.connections.insert(entry);
        state.idle.insert((now, key));
        Some(Arc::new(Connection { all: Arc::clone(self), key, close, cut, streams: AtomicUsize::new(0) }))
    }

    /// Closes the connection that has been idle for the longest time, so that its file descriptor becomes free.
    pub(super) fn close_one(&self) {
        self.lock().close_longest_idle();
    }

    /// Closes each connection that has been idle for at least [`IDLE`].
    pub(super) fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        while state.idle.first().is_some_and(|(since, _)| *since + IDLE <= now) {
            state.close_longest_idle();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close_longest_idle(&mut self) -> bool {
        let Some((_, key)) = self.idle.pop_first() else { return false };
        if let Some(entry) = self.connections.get_mut(key) {
            entry.closing = true;
            entry.close.cancel();
            self.closing += 1;
        }
        true
    }
}

impl Connection {
    /// Counts a new HTTP call on this connection. The call is active until the returned value is dropped.
    pub(super) fn call(self: &Arc<Self>) -> ActiveCall {
        let mut state = self.all.lock();
        let State { connections, idle, .. } = &mut *state;
        if let Some(entry) = connections.get_mut(self.key) {
            entry.calls += 1;
            idle.remove(&(entry.idle_since, self.key));
        }
        ActiveCall(Arc::clone(self))
    }

    /// Counts a new event stream on this connection. Returns `None` if the connection has `most` streams already.
    pub(super) fn stream(self: &Arc<Self>, most: usize) -> Option<StreamOfConnection> {
        let counted = StreamOfConnection(Arc::clone(self));
        (self.streams.fetch_add(1, Ordering::Relaxed) < most).then_some(counted)
    }

    /// Must be called when the client of an HTTP call does not read the answer. If the clients of all calls on the
    /// connection do not read their answers, the server closes the connection immediately.
    pub(super) fn stalled(&self) {
        let mut state = self.all.lock();
        if let Some(entry) = state.connections.get_mut(self.key) {
            entry.stalled += 1;
            entry.cut_if_stalled();
        }
    }

    /// Must be called when an HTTP call is over whose client did not read the answer.
    pub(super) fn no_longer_stalled(&self) {
        let mut state = self.all.lock();
        if let Some(entry) = state.connections.get_mut(self.key) {
            entry.stalled = entry.stalled.saturating_sub(1);
        }
    }
}

impl Entry {
    fn cut_if_stalled(&self) {
        if self.stalled >= self.calls {
            self.cut.cancel();
        }
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        let mut state = self.0.all.lock();
        let State { connections, idle, .. } = &mut *state;
        let Some(entry) = connections.get_mut(self.0.key) else { return };
        entry.calls = entry.calls.saturating_sub(1);
        if entry.calls > 0 && entry.stalled > 0 {
            entry.cut_if_stalled();
        } else if entry.calls == 0 && !entry.closing {
            entry.idle_since = Instant::now();
            idle.insert((entry.idle_since, self.0.key));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        let Some(entry) = state.connections.try_remove(self.key) else { return };
        state.idle.remove(&(entry.idle_since, self.key));
        state.closing -= usize::from(entry.closing);
        if let Some(theirs) = state.by_peer.get_mut(&entry.peer) {
            *theirs -= 1;
            if *theirs == 0 {
                state.by_peer.remove(&entry.peer);
            }
        }
    }
}

/// Returns the network address under which the server counts the connections from `peer`. For IPv6, this address is the
/// /64 network, because a client that has one IPv6 address can usually use all addresses of the network.
pub(super) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        peer => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn fill(all: &Arc<OpenConnections>, n: u8) -> Vec<Arc<Connection>> {
        (0..n).map(|n| all.admit(peer(n), Instant::now()).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_who_works_does_not() {
        let all = OpenConnections::new(3);
        let open = fill(&all, 3);
        let call = open[0].call();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(open[1].call());
        let new = all.admit(peer(9), Instant::now()).unwrap();
        let closed: Vec<_> = open.iter().map(|connection| connection.close.is_cancelled()).collect();
        assert_eq!(closed, [false, false, true]);
        let active = (call, open[1].call(), new.call());
        assert!(all.admit(peer(9), Instant::now()).is_none(), "no connection is idle");
        drop(active);
        assert!(all.admit(peer(10), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_leaves_nothing_behind() {
        let all = OpenConnections::new(3);
        for _ in 0..3 {
            drop(fill(&all, 3));
            let held = fill(&all, 3);
            let calls: Vec<_> = held.iter().map(Connection::call).collect();
            drop((held, calls));
        }
        let state = all.lock();
        assert_eq!((state.connections.len(), state.idle.len(), state.by_peer.len(), state.closing), (0, 0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_have_the_last_quarter_unless_it_is_this_machine() {
        let all = OpenConnections::new(64);
        let greedy: Vec<_> = (0..100).map_while(|_| all.admit(peer(1), Instant::now())).collect();
        assert_eq!(greedy.len(), 48);
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, n, 0, 0, 1]);
        let greedy: Vec<_> = (0..100).map_while(|n| all.admit(v6(n), Instant::now())).collect();
        assert_eq!(greedy.len(), 4, "a network of IPv6 is one address");
        assert!(all.admit(peer(2), Instant::now()).is_some());
        let proxy: Vec<_> = (0..60).map_while(|_| all.admit([127, 0, 0, 1].into(), Instant::now())).collect();
        assert_eq!(proxy.len(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_cut_off_when_all_its_calls_have_stalled() {
        let all = OpenConnections::new(3);
        let connection = all.admit(peer(1), Instant::now()).unwrap();
        let (stalled, works) = (connection.call(), connection.call());
        connection.stalled();
        assert!(!connection.cut.is_cancelled());
        drop(works);
        assert!(connection.cut.is_cancelled());
        drop(stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_long_is_closed() {
        let all = OpenConnections::new(3);
        let connection = all.admit(peer(1), Instant::now()).unwrap();
        all.sweep(Instant::now());
        assert!(!connection.close.is_cancelled());
        tokio::time::advance(IDLE).await;
        all.sweep(Instant::now());
        assert!(connection.close.is_cancelled());
    }
}
