//! Answers on their way out: how much of them may be in memory, and what becomes of clients that do not read.
//!
//! - What is large of an answer is read from the store in *windows*, as large as the room allows, and handed on in small pieces.
//!   Both are counted, a piece until the connection has written it.
//! - When there is no room, windows of answers that do not move are taken away: they are read again if they move. If that is
//!   not enough, connections that are behind are cut off, see [`Pace`].
//! - An answer that moves too slowly is over: its connection is cut off, or, if other calls go on there, its stream ends.
//! - Windows never take all the room, so that small answers always get out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::{CREDIT, Pace};
use super::room::Connection;
use crate::names::metric;

/// Bytes of answers in memory at once.
const ROOM: isize = 64 << 20;
/// What of it windows leave free.
const RESERVE: isize = 16 << 20;
/// The smallest window, if there is so much left to read: SQLite reads the whole row for each.
const LEAST_WINDOW: usize = 256 << 10;
const LARGEST_WINDOW: usize = 8 << 20;
/// The part of the free room that a window takes.
const PART: usize = 4;
/// What a connection is given at once.
pub(super) const PIECE: usize = 16 << 10;
/// How long an answer waits for room.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one that waits looks whether others have fallen behind.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// An answer of which nothing was written for so long may lose its window.
const STILL: Duration = Duration::from_millis(50);

/// The room for answers.
pub(super) struct Answers {
    state: Mutex<State>,
    /// Somebody gave room back.
    freed: Notify,
}

struct State {
    /// Below zero where pieces are given out of windows while there is no room.
    free: isize,
    slots: Slab<Slot>,
    /// No look for who is behind before then.
    next_look: Instant,
}

/// One answer.
struct Slot {
    /// Text of its own, which it keeps to its end.
    own: usize,
    /// What was read and not handed on.
    window: Bytes,
    /// What the window took up as it was read.
    taken: usize,
    /// Pieces that are not written yet.
    in_flight: usize,
    /// It waits for room or for the store: its client can do nothing.
    blameless_since: Option<Instant>,
    pace: Pace,
    over: bool,
    connection: Option<Arc<Connection>>,
}

/// An answer's place in the room. Shared with its pieces; given back with the last of them.
pub(super) struct AnswerSlot {
    answers: Arc<Answers>,
    key: usize,
}

impl Answers {
    pub(super) fn new() -> Arc<Self> {
        Self::of(ROOM)
    }

    fn of(room: isize) -> Arc<Self> {
        let state = State { free: room, slots: Slab::new(), next_look: Instant::now() };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// A place for an answer with so many bytes of its own. `None`: there was no room for too long.
    pub(super) async fn enter(
        self: &Arc<Self>,
        connection: Option<Arc<Connection>>,
        own: usize,
    ) -> Option<Arc<AnswerSlot>> {
        let enter = |state: &mut State, now| {
            state.has_room(own.cast_signed(), now).then(|| {
                state.free -= own.cast_signed();
                state.slots.insert(Slot {
                    own,
                    window: Bytes::new(),
                    taken: 0,
                    in_flight: 0,
                    blameless_since: None,
                    pace: Pace::start(now),
                    over: false,
                    connection: connection.clone(),
                })
            })
        };
        let key = self.when(enter).await?;
        Some(Arc::new(AnswerSlot { answers: Arc::clone(self), key }))
    }

    /// Ends answers that move too slowly.
    pub(super) fn sweep(&self, now: Instant) {
        let mut stalled = Vec::new();
        let mut state = self.lock();
        let State { slots, free, .. } = &mut *state;
        for (_, slot) in slots.iter_mut() {
            if !slot.over && slot.blameless_since.is_none() && slot.pace.due() <= now {
                slot.over = true;
                *free += slot.empty();
                stalled.extend(slot.connection.clone());
                metrics::counter!(metric::ANSWERS_CUT_OFF, "reason" => "slow").increment(1);
            }
        }
        drop(state);
        for connection in stalled {
            connection.stalled();
        }
        self.freed.notify_waiters();
    }

    /// Tries again whenever room was given back, for a bounded time.
    async fn when<T>(&self, mut take: impl FnMut(&mut State, Instant) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        loop {
            let freed = self.freed.notified();
            let now = Instant::now();
            if let Some(taken) = take(&mut self.lock(), now) {
                return Some(taken);
            }
            if now >= begun + PATIENCE {
                metrics::counter!(metric::ANSWERS_CUT_OFF, "reason" => "no_room").increment(1);
                return None;
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether so many bytes are free, if need be because others give way.
    fn has_room(&mut self, wanted: isize, now: Instant) -> bool {
        if self.free < wanted && now >= self.next_look {
            self.next_look = now + LOOK_AGAIN / 2;
            self.take_windows(wanted, now);
            self.cut_off(wanted, now);
        }
        self.free >= wanted
    }

    /// Takes windows of answers that do not move, those first that have stood still longest.
    fn take_windows(&mut self, wanted: isize, now: Instant) {
        let still = |slot: &&mut Slot| {
            slot.taken > 0 && slot.blameless_since.is_none() && slot.pace.due() + STILL <= now + CREDIT
        };
        let mut still: Vec<_> = self.slots.iter_mut().map(|(_, slot)| slot).filter(still).collect();
        still.sort_unstable_by_key(|slot| slot.pace.due());
        for slot in still {
            if self.free >= wanted {
                return;
            }
            self.free += slot.empty();
        }
    }

    /// Cuts off connections of answers that are behind, those first that hold most, until so many bytes will come free.
    fn cut_off(&mut self, wanted: isize, now: Instant) {
        let mut coming = self.free;
        let mut behind = Vec::new();
        for (_, slot) in &mut self.slots {
            let is_cut = slot.connection.as_ref().is_some_and(|connection| connection.cut.is_cancelled());
            if is_cut {
                coming += slot.held();
            } else if slot.held() > 0 && slot.blameless_since.is_none() && slot.pace.is_behind(now) {
                behind.push(slot);
            }
        }
        behind.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.held()));
        for slot in behind {
            if coming >= wanted {
                return;
            }
            coming += slot.held();
            slot.over = true;
            metrics::counter!(metric::ANSWERS_CUT_OFF, "reason" => "gave_way").increment(1);
            if let Some(connection) = &slot.connection {
                connection.cut.cancel();
            }
        }
    }
}

impl Slot {
    /// What it holds for as long as its connection does not write.
    fn held(&self) -> isize {
        (self.own + self.in_flight).cast_signed()
    }

    /// Lets go of the window; what comes free by that.
    fn empty(&mut self) -> isize {
        self.window = Bytes::new();
        std::mem::take(&mut self.taken).cast_signed()
    }
}

impl AnswerSlot {
    /// Whether the answer is over before its end: its client is too slow.
    pub(super) fn is_over(&self) -> bool {
        self.answers.lock().slots.get(self.key).is_none_or(|slot| slot.over)
    }

    /// Room for the next window, of at most `left` bytes. `None`: there was none for too long.
    pub(super) async fn window(&self, left: usize) -> Option<usize> {
        self.blameless(true);
        let least = left.min(LEAST_WINDOW);
        let take = |state: &mut State, now| {
            if !state.has_room(least.cast_signed() + RESERVE, now) {
                return None;
            }
            let part = (state.free - RESERVE).unsigned_abs() / PART;
            let bytes = part.clamp(least, LARGEST_WINDOW.max(least)).min(left);
            let slot = state.slots.get_mut(self.key)?;
            state.free -= bytes.cast_signed();
            slot.taken = bytes;
            Some(bytes)
        };
        self.answers.when(take).await
    }

    /// The window was read.
    pub(super) fn fill(&self, window: Bytes) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.window = window;
        }
        self.blameless(false);
    }

    /// The next piece of the window; `None` if there is nothing left of it, or it was taken away.
    pub(super) fn next(self: &Arc<Self>) -> Option<Bytes> {
        let mut state = self.answers.lock();
        let State { slots, free, .. } = &mut *state;
        let slot = slots.get_mut(self.key).filter(|slot| !slot.window.is_empty())?;
        let piece = slot.window.split_to(slot.window.len().min(PIECE));
        if slot.window.is_empty() {
            *free += slot.empty();
        }
        drop(state);
        Some(self.piece(&piece))
    }

    /// A piece of text, counted until it is written. Copied: it must not keep a whole window alive.
    pub(super) fn piece(self: &Arc<Self>, text: &[u8]) -> Bytes {
        let mut state = self.answers.lock();
        state.free -= text.len().cast_signed();
        if let Some(slot) = state.slots.get_mut(self.key) {
            slot.in_flight += text.len();
        }
        drop(state);
        Bytes::from_owner(Piece { text: text.into(), place: Arc::clone(self) })
    }

    /// The answer has ended early: it is none of its connection's calls any more, whatever is left of its pieces.
    pub(super) fn ended_early(&self) {
        let ended = self
            .answers
            .lock()
            .slots
            .get_mut(self.key)
            .filter(|slot| slot.over)
            .and_then(|slot| slot.connection.take());
        if let Some(connection) = ended {
            connection.no_longer_stalled();
        }
    }

    fn blameless(&self, is: bool) {
        let now = Instant::now();
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            match slot.blameless_since.take() {
                Some(since) if is => slot.blameless_since = Some(since),
                None if is => slot.blameless_since = Some(now),
                Some(since) => slot.pace.pause_over(since, now),
                None => {}
            }
        }
    }
}

impl Drop for AnswerSlot {
    fn drop(&mut self) {
        let mut state = self.answers.lock();
        let Some(mut slot) = state.slots.try_remove(self.key) else { return };
        state.free += slot.held() + slot.empty();
        drop(state);
        if let (true, Some(connection)) = (slot.over, &slot.connection) {
            connection.no_longer_stalled();
        }
        self.answers.freed.notify_waiters();
    }
}

/// Bytes in the hands of a connection.
struct Piece {
    text: Box<[u8]>,
    place: Arc<AnswerSlot>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let answers = &self.place.answers;
        let mut state = answers.lock();
        state.free += self.text.len().cast_signed();
        if let Some(slot) = state.slots.get_mut(self.place.key) {
            slot.in_flight -= self.text.len();
            slot.pace.moved(self.text.len(), Instant::now());
        }
        drop(state);
        answers.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
