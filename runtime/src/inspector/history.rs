//! The webhooks that the inspector keeps, bounded in number and bytes, and what has changed since when.
//!
//! Each change has a version, which only grows. A reader that knows the last version that it has seen gets everything
//! that has changed after it, so that it loses nothing however long it was away. What is no longer kept is not sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::hit::{Answered, Hit};

/// The largest number of webhooks that are kept.
pub(super) const MAX_HITS: usize = 1_000;
/// The most memory of all webhooks that are kept, in bytes.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// A webhook in the history.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) hit: Arc<Hit>,
    pub(super) answer: Option<Answered>,
    /// The version of the last change of this entry.
    pub(super) version: u64,
}

pub(super) struct History {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    max_hits: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
    last_number: u64,
    version: u64,
    cleared: u64,
}

/// What a reader gets that has seen everything up to a version.
pub(super) struct Changes {
    /// Whether the reader must first forget all that it has: the history was cleared.
    pub(super) cleared: bool,
    /// The entries that have changed, in the order of their changes.
    pub(super) entries: Vec<Entry>,
    /// The number of the oldest webhook that is kept.
    pub(super) oldest: u64,
    /// The version that the reader has seen after these changes.
    pub(super) version: u64,
}

impl History {
    pub(super) fn new(max_hits: usize, max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), changed: watch::Sender::new(0), max_hits, max_bytes }
    }

    /// Adds a webhook. Gives it its number and the number of its attempt. If there is too much, forgets the oldest ones.
    pub(super) fn add(&self, mut hit: Hit) -> Arc<Hit> {
        let mut inner = self.lock();
        inner.last_number += 1;
        hit.number = inner.last_number;
        if let Some(id) = hit.headers.get(postback_wire::names::header::WEBHOOK_ID) {
            let id = id.as_bytes();
            let same = |entry: &&Entry| {
                entry.hit.inbox == hit.inbox
                    && entry.hit.headers.get("webhook-id").is_some_and(|other| other.as_bytes() == id)
            };
            // The last one knows how many came before it, also of those that are forgotten.
            hit.attempt = inner.entries.iter().rev().find(same).map_or(1, |entry| entry.hit.attempt.saturating_add(1));
        }
        let hit = Arc::new(hit);
        inner.version += 1;
        inner.bytes += hit.size();
        let entry = Entry { hit: hit.clone(), answer: None, version: inner.version };
        inner.entries.push_back(entry);
        while inner.entries.len() > self.max_hits || inner.bytes > self.max_bytes {
            let Some(oldest) = inner.entries.pop_front() else { break };
            inner.bytes -= oldest.hit.size();
        }
        self.tell(inner);
        hit
    }

    /// Records what was answered to a webhook.
    pub(super) fn answered(&self, number: u64, answer: Answered) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version;
        if let Some(entry) = inner.entries.iter_mut().rev().find(|entry| entry.hit.number == number) {
            entry.answer = Some(answer);
            entry.version = version;
        }
        self.tell(inner);
    }

    /// Forgets the webhooks of one inbox, or all.
    pub(super) fn clear(&self, inbox: Option<&str>) {
        let mut inner = self.lock();
        inner.entries.retain(|entry| inbox.is_some_and(|inbox| entry.hit.inbox != inbox));
        inner.bytes = inner.entries.iter().map(|entry| entry.hit.size()).sum();
        inner.version += 1;
        inner.cleared = inner.version;
        // What is left counts as changed, so that a reader which starts anew gets it in pieces like everything else.
        let Inner { entries, version, .. } = &mut *inner;
        for entry in entries {
            *version += 1;
            entry.version = *version;
        }
        self.tell(inner);
    }

    pub(super) fn get(&self, number: u64) -> Option<Entry> {
        self.lock().entries.iter().find(|entry| entry.hit.number == number).cloned()
    }

    /// Returns at most `most` changes after a version.
    pub(super) fn after(&self, seen: u64, most: usize) -> Changes {
        let inner = self.lock();
        let cleared = seen < inner.cleared && seen > 0;
        // After a clear, the reader starts anew.
        let from = if cleared { inner.cleared } else { seen };
        let mut entries: Vec<Entry> = inner.entries.iter().filter(|entry| entry.version > from).cloned().collect();
        entries.sort_unstable_by_key(|entry| entry.version);
        let is_all = entries.len() <= most;
        entries.truncate(most);
        let last = entries.last().map_or(inner.version, |entry| entry.version);
        let version = if is_all { inner.version } else { last };
        let oldest = inner.entries.front().map_or(inner.last_number + 1, |entry| entry.hit.number);
        Changes { cleared, entries, oldest, version }
    }

    /// Returns a signal that changes with each change of the history.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self, inner: MutexGuard<'_, Inner>) {
        let version = inner.version;
        drop(inner);
        // Two changes may be told in the other order. The signal only wakes readers, so this does no harm.
        self.changed.send_replace(version);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inspector::testing::hit;

    fn answered() -> Answered {
        Answered { status: Some(204), what: String::new(), after: Duration::ZERO }
    }

    fn numbers(changes: &Changes) -> Vec<u64> {
        changes.entries.iter().map(|entry| entry.hit.number).collect()
    }

    #[test]
    fn a_reader_gets_each_change_after_the_last_one_that_it_has_seen() {
        let history = History::new(10, MAX_BYTES);
        for _ in 0..5 {
            history.add(hit("/a", &[], b"{}"));
        }
        let first = history.after(0, 3);
        assert_eq!((numbers(&first), first.cleared), (vec![1, 2, 3], false));
        history.answered(1, answered());
        let second = history.after(first.version, 100);
        assert_eq!(numbers(&second), [4, 5, 1]);
        assert!(history.after(second.version, 100).entries.is_empty());
        history.clear(Some("b"));
        let third = history.after(second.version, 2);
        assert_eq!((numbers(&third), third.cleared), (vec![1, 2], true));
        let fourth = history.after(third.version, 100);
        assert_eq!((numbers(&fourth), fourth.cleared), (vec![3, 4, 5], false));
        history.clear(None);
        assert!(history.after(fourth.version, 9).cleared && !history.after(0, 9).cleared);
    }

    #[test]
    fn the_history_is_bounded_in_number_and_bytes() {
        let history = History::new(3, 10_000);
        for _ in 0..5 {
            history.add(hit("/", &[], b"x"));
        }
        assert_eq!((numbers(&history.after(0, 9)), history.after(0, 9).oldest), (vec![3, 4, 5], 3));
        history.add(hit("/", &[], &vec![b'x'; 8_000]));
        assert_eq!(numbers(&history.after(0, 9)), [6]);
        history.add(hit("/", &[], &vec![b'x'; 20_000]));
        assert_eq!((numbers(&history.after(0, 9)), history.lock().bytes), (vec![], 0));
    }

    #[test]
    fn attempts_with_one_id_are_counted_by_inbox() {
        let history = History::new(2, MAX_BYTES);
        let attempt = |path| history.add(hit(path, &[("webhook-id", "r-1")], b"")).attempt;
        assert_eq!([attempt("/a"), attempt("/a"), attempt("/b"), attempt("/a"), attempt("/a")], [1, 2, 1, 3, 4]);
        assert_eq!(history.add(hit("/a", &[], b"")).attempt, 1);
    }
}
