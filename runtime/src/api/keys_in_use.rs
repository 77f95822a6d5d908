//! The idempotency keys of the requests that are being accepted at the moment.
//!
//! The store finds a key only after the first request with it is committed. Until then, a second call with the same key
//! is told to try again, before its body is read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postback_store::IdempotencyKey;

/// The keys in use. Each active call has at most one, so their number is bounded by the number of calls.
#[derive(Clone, Default)]
pub(super) struct KeysInUse(Arc<Mutex<HashSet<IdempotencyKey>>>);

/// A key in use. The key is free again when this value is dropped.
pub(super) struct KeyInUse {
    all: KeysInUse,
    key: IdempotencyKey,
}

impl KeysInUse {
    /// Takes a key. Returns `None` if another call has it.
    pub(super) fn take(&self, key: IdempotencyKey) -> Option<KeyInUse> {
        self.lock().insert(key).then(|| KeyInUse { all: self.clone(), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<IdempotencyKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyInUse {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_once_for_each_owner_and_route() {
        let keys = KeysInUse::default();
        let take = |owner, route, text| keys.take(IdempotencyKey::new(owner, route, text));
        let held = take("a", "/r", "k").unwrap();
        assert!(take("a", "/r", "k").is_none());
        let others = [take("b", "/r", "k"), take("a", "/s", "k"), take("a", "/r", "b")];
        assert!(others.iter().all(Option::is_some));
        drop(held);
        assert!(take("a", "/r", "k").is_some());
        drop(others);
        assert!(keys.lock().is_empty());
    }
}
