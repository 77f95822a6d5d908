//! The idempotency keys of the requests that are being accepted at the moment.
//!
//! The store finds a key only after the first request with it is committed. Until then, a second call with the same key
//! is told to try again, before its body is read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The owner, the route and the key of a request.
type Place = (Arc<str>, Arc<str>, Arc<str>);

/// The keys in use. Each active call has at most one, so their number is bounded by the number of calls.
#[derive(Clone, Default)]
pub(super) struct KeysInUse(Arc<Mutex<HashSet<Place>>>);

/// A key in use. The key is free again when this value is dropped.
pub(super) struct KeyInUse {
    all: KeysInUse,
    place: Place,
}

impl KeysInUse {
    /// Takes a key. Returns `None` if another call has it.
    pub(super) fn take(&self, owner: &Arc<str>, route: &str, key: &Arc<str>) -> Option<KeyInUse> {
        let place = (owner.clone(), route.into(), key.clone());
        self.lock().insert(place.clone()).then(|| KeyInUse { all: self.clone(), place })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyInUse {
    fn drop(&mut self) {
        self.all.lock().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_once_for_each_owner_and_route() {
        let (keys, [a, b, k]) = (KeysInUse::default(), ["a", "b", "k"].map(Arc::from));
        let held = keys.take(&a, "/r", &k).unwrap();
        assert!(keys.take(&a, "/r", &k).is_none());
        let others = [keys.take(&b, "/r", &k), keys.take(&a, "/s", &k), keys.take(&a, "/r", &b)];
        assert!(others.iter().all(Option::is_some));
        drop(held);
        assert!(keys.take(&a, "/r", &k).is_some());
        drop(others);
        assert!(keys.lock().is_empty());
    }
}
