//! Which connections are open: how many there may be, and who makes room for whom.
//!
//! - When all are taken, the one that has been idle longest is closed for a new one: that has said nothing yet, or has nothing
//!   in hand. With none idle, the new one is refused.
//! - The last quarter is for addresses that have few. Loopback does not count: that is a proxy, or the machine itself.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The part of the room that is kept for addresses that have few connections.
const KEPT: usize = 4;
/// An address that has less than this part of the room has few.
const FEW: usize = 16;
/// A connection with nothing in hand is closed after this time. HTTP/1 ends those itself, and earlier.
const IDLE: Duration = Duration::from_mins(5);

/// All open connections.
pub(super) struct Room {
    open: Mutex<Open>,
    limit: usize,
}

#[derive(Default)]
struct Open {
    connections: Slab<Entry>,
    /// By how long they have been idle, those first that have been longest.
    idle: BTreeSet<(Instant, usize)>,
    by_peer: HashMap<IpAddr, usize>,
    /// Of all connections, those that are being closed to make room.
    closing: usize,
}

struct Entry {
    peer: IpAddr,
    /// Calls in hand, and those of them whose client has stalled.
    calls: usize,
    stalled: usize,
    idle_since: Instant,
    closing: bool,
    close: CancellationToken,
    cut: CancellationToken,
}

/// An open connection. It has left when all clones of the `Arc` are dropped.
pub(super) struct Connection {
    room: Arc<Room>,
    key: usize,
    /// To come to an end, in good order.
    pub(super) close: CancellationToken,
    /// To end at once.
    pub(super) cut: CancellationToken,
}

/// A call in hand, until it is dropped.
pub(super) struct Call(Arc<Connection>);

impl Room {
    /// For so many connections, one at least.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), limit: limit.max(1) })
    }

    /// Lets a connection in, if there is room or can be made.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<Arc<Connection>> {
        let peer = network(peer);
        let mut open = self.lock();
        let theirs = open.by_peer.get(&peer).copied().unwrap_or_default();
        let taken = open.connections.len() - open.closing;
        let has_few = peer.is_loopback() || theirs < (self.limit / FEW).max(1);
        if !has_few && taken >= self.limit - self.limit / KEPT {
            return None;
        }
        if taken >= self.limit && !open.close_longest_idle() {
            return None;
        }
        *open.by_peer.entry(peer).or_default() += 1;
        let (close, cut) = (CancellationToken::new(), CancellationToken::new());
        let tokens = (close.clone(), cut.clone());
        let entry =
            Entry { peer, calls: 0, stalled: 0, idle_since: now, closing: false, close: tokens.0, cut: tokens.1 };
        let key = open.connections.insert(entry);
        open.idle.insert((now, key));
        Some(Arc::new(Connection { room: Arc::clone(self), key, close, cut }))
    }

    /// Closes the connection that has been idle longest, for whatever else needs what it takes up.
    pub(super) fn make_room(&self) {
        self.lock().close_longest_idle();
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let mut open = self.lock();
        while open.idle.first().is_some_and(|(since, _)| *since + IDLE <= now) {
            open.close_longest_idle();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
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
    /// Takes a call in hand.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        let mut open = self.room.lock();
        let Open { connections, idle, .. } = &mut *open;
        if let Some(entry) = connections.get_mut(self.key) {
            entry.calls += 1;
            idle.remove(&(entry.idle_since, self.key));
        }
        Call(Arc::clone(self))
    }

    /// The client of one of its calls has stalled. If those of all have, it is cut off; the others keep it open.
    pub(super) fn stalled(&self) {
        let mut open = self.room.lock();
        if let Some(entry) = open.connections.get_mut(self.key) {
            entry.stalled += 1;
            entry.cut_if_stalled();
        }
    }

    /// A call that had stalled is over.
    pub(super) fn no_longer_stalled(&self) {
        let mut open = self.room.lock();
        if let Some(entry) = open.connections.get_mut(self.key) {
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

impl Drop for Call {
    fn drop(&mut self) {
        let mut open = self.0.room.lock();
        let Open { connections, idle, .. } = &mut *open;
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
        let mut open = self.room.lock();
        let Some(entry) = open.connections.try_remove(self.key) else { return };
        open.idle.remove(&(entry.idle_since, self.key));
        open.closing -= usize::from(entry.closing);
        if let Some(theirs) = open.by_peer.get_mut(&entry.peer) {
            *theirs -= 1;
            if *theirs == 0 {
                open.by_peer.remove(&entry.peer);
            }
        }
    }
}

/// Who has one address of IPv6 has a network of them.
fn network(peer: IpAddr) -> IpAddr {
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

    fn fill(room: &Arc<Room>, n: u8) -> Vec<Arc<Connection>> {
        (0..n).map(|n| room.admit(peer(n), Instant::now()).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_who_works_does_not() {
        let room = Room::new(3);
        let open = fill(&room, 3);
        let call = open[0].call();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(open[1].call());
        let new = room.admit(peer(9), Instant::now()).unwrap();
        let closed: Vec<_> = open.iter().map(|connection| connection.close.is_cancelled()).collect();
        assert_eq!(closed, [false, false, true]);
        let all = (call, open[1].call(), new.call());
        assert!(room.admit(peer(9), Instant::now()).is_none(), "nobody is idle");
        drop(all);
        assert!(room.admit(peer(10), Instant::now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_leaves_nothing_behind() {
        let room = Room::new(3);
        for _ in 0..3 {
            drop(fill(&room, 3));
            let held = fill(&room, 3);
            let calls: Vec<_> = held.iter().map(Connection::call).collect();
            drop((held, calls));
        }
        let open = room.lock();
        assert_eq!((open.connections.len(), open.idle.len(), open.by_peer.len(), open.closing), (0, 0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_have_the_last_quarter_unless_it_is_this_machine() {
        let room = Room::new(64);
        let greedy: Vec<_> = (0..100).map_while(|_| room.admit(peer(1), Instant::now())).collect();
        assert_eq!(greedy.len(), 48);
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, n, 0, 0, 1]);
        let greedy: Vec<_> = (0..100).map_while(|n| room.admit(v6(n), Instant::now())).collect();
        assert_eq!(greedy.len(), 4, "a network of IPv6 is one address");
        assert!(room.admit(peer(2), Instant::now()).is_some());
        let proxy: Vec<_> = (0..60).map_while(|_| room.admit([127, 0, 0, 1].into(), Instant::now())).collect();
        assert_eq!(proxy.len(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_cut_off_when_all_its_calls_have_stalled() {
        let room = Room::new(3);
        let connection = room.admit(peer(1), Instant::now()).unwrap();
        let (stalled, works) = (connection.call(), connection.call());
        connection.stalled();
        assert!(!connection.cut.is_cancelled());
        drop(works);
        assert!(connection.cut.is_cancelled());
        drop(stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_long_is_closed() {
        let room = Room::new(3);
        let connection = room.admit(peer(1), Instant::now()).unwrap();
        room.sweep(Instant::now());
        assert!(!connection.close.is_cancelled());
        tokio::time::advance(IDLE).await;
        room.sweep(Instant::now());
        assert!(connection.close.is_cancelled());
    }
}
