//! The open event streams: how many there may be, so that they never hold all of the connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The divisor for the largest number of event streams: half as many streams may be open as connections. The other half
/// of the connections stays for calls that end.
const STREAM_PARTS: usize = 2;
/// The divisor for the number of reserved streams: a quarter is reserved for callers that have few streams.
const KEPT_PARTS: usize = 4;
/// The divisor that defines "few" streams: a caller has few streams if it has less than a sixteenth of all streams.
const FEW_PARTS: usize = 16;
/// The largest number of event streams on one connection. On HTTP/2, the other streams of the connection stay for calls
/// that end.
pub(super) const OF_CONNECTION: usize = 32;

/// Who reads event streams, for the limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Party {
    Token(Arc<str>),
    Address(IpAddr),
}

impl Party {
    /// A proxy on this machine may connect for many clients, so they are not counted together. Nor are the clients of a
    /// router whose service does not say where its connections come from.
    fn is_one_of_many(&self) -> bool {
        matches!(self, Self::Address(address) if address.is_loopback() || address.is_unspecified())
    }
}

/// All open event streams.
pub(in crate::api) struct OpenStreams {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    open: usize,
    by_party: HashMap<Party, usize>,
}

/// An open event stream. It counts as closed when this value is dropped.
pub(super) struct OpenStream {
    all: Arc<OpenStreams>,
    party: Party,
}

impl OpenStreams {
    /// Makes an empty set for a server that has at most this number of connections.
    pub(in crate::api) fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limit: (connections / STREAM_PARTS).max(1) })
    }

    /// Counts a new stream. Returns `None` if too many streams are open.
    pub(super) fn open(self: &Arc<Self>, party: Party) -> Option<OpenStream> {
        let mut state = self.lock();
        let theirs = state.by_party.get(&party).copied().unwrap_or_default();
        let has_few = party.is_one_of_many() || theirs < (self.limit / FEW_PARTS).max(1);
        let limit = if has_few { self.limit } else { self.limit - self.limit / KEPT_PARTS };
        if state.open >= limit {
            return None;
        }
        state.open += 1;
        *state.by_party.entry(party.clone()).or_default() += 1;
        drop(state);
        Some(OpenStream { all: Arc::clone(self), party })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        state.open -= 1;
        if let Some(theirs) = state.by_party.get_mut(&self.party) {
            *theirs -= 1;
            if *theirs == 0 {
                state.by_party.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(all: &Arc<OpenStreams>, party: &Party) -> Vec<OpenStream> {
        (0..1_000).map_while(|_| all.open(party.clone())).collect()
    }

    #[test]
    fn one_caller_cannot_have_the_last_quarter() {
        let all = OpenStreams::new(128);
        let greedy = fill(&all, &Party::Token("a".into()));
        assert_eq!(greedy.len(), 48);
        let other = fill(&all, &Party::Address([10, 0, 0, 1].into()));
        assert_eq!(other.len(), 4);
        let proxy = fill(&all, &Party::Address([127, 0, 0, 1].into()));
        assert_eq!(proxy.len(), 12, "half of the connections");
        drop((greedy, other, proxy));
        let state = all.lock();
        assert_eq!((state.open, state.by_party.len()), (0, 0));
    }

    #[test]
    fn a_server_with_one_connection_has_one_stream() {
        assert_eq!(fill(&OpenStreams::new(1), &Party::Token("a".into())).len(), 1);
    }
}
