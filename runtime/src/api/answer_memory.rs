//! The memory for answers: how much memory answers may use together, and what happens to clients that do not read.
//!
//! - A large result is read from the store in *windows*: parts whose size depends on the free memory. The connection
//!   gets a window in small pieces. Windows and pieces count as used memory; a piece counts until the connection has
//!   written it.
//! - If there is not enough memory, answers whose clients do not read lose their windows. If such a client reads again,
//!   the window is read from the store again. If dropping windows frees too little memory, the server closes the
//!   connections of slow clients; see [`MinRate`](super::min_rate::MinRate).
//! - If the client of an answer reads too slowly, the answer ends early. The server closes the connection. If other
//!   calls of the connection still make progress, the server ends only the stream of this answer.
//! - Windows never use all of the memory, so that small answers always get through.

mod slot;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::slot::Slot;
use super::coding::Encoders;
use super::min_rate::STALL_LIMIT;
use super::open_connections::Connection;
use postback_wire::names::metric;

/// The largest number of bytes that all HTTP answers together may use in memory.
const LIMIT: isize = 64 << 20;
/// The number of bytes of [`LIMIT`] that are reserved for small answers. The windows of large answers must not use
/// these bytes. A window is the part of a large answer that is buffered in memory.
const RESERVE: isize = 16 << 20;
/// The smallest window, in bytes. A window is the part of a large answer that one read of the store returns. With
/// smaller windows, answers would be slow, because SQLite reads the whole row for each window. Only the last window of
/// an answer may be smaller.
const MIN_WINDOW: usize = 256 << 10;
/// The largest window, in bytes. A window is the part of a large answer that one read of the store returns.
const MAX_WINDOW: usize = 8 << 20;
/// The divisor for the size of a window: a window may use at most a quarter of the free memory. A window is the part of
/// a large answer that one read of the store returns.
const WINDOW_PARTS: usize = 4;
/// The largest size, in bytes, of the pieces in which a connection gets an answer.
pub(super) const PIECE: usize = 16 << 10;
/// The longest time for which an HTTP answer waits for free memory.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The interval at which an answer that waits for memory checks whether other clients have become slow.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a connection must have written no byte of an answer before the server may drop the window of this answer.
/// The window is the part of the answer that is buffered in memory.
const STILL: Duration = Duration::from_millis(50);

/// Counters of the memory that all answers use together.
pub(super) struct AnswerMemory {
    state: Mutex<State>,
    /// Notified when memory becomes free.
    freed: Notify,
    /// The encoders of compressed answers. Their memory is bounded by their number.
    pub(super) encoders: Encoders,
}

struct State {
    /// The number of bytes that answers may still use. The number is negative if bytes were copied for a connection
    /// while no memory was free.
    free: isize,
    slots: Slab<Slot>,
    /// The earliest time at which the server may search all answers for slow clients again.
    next_look: Instant,
}

/// A handle that counts the memory of one HTTP answer. The answer and its pieces share the handle. The memory becomes
/// free when the last clone of the handle is dropped.
pub(super) struct AnswerSlot {
    answers: Arc<AnswerMemory>,
    key: usize,
}

impl AnswerMemory {
    pub(super) fn new() -> Arc<Self> {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: isize) -> Arc<Self> {
        let state = State { free: limit, slots: Slab::new(), next_look: Instant::now() };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new(), encoders: Encoders::new() })
    }

    /// Reserves memory for an answer. `fixed` is the number of bytes that stay in memory until the whole answer was
    /// sent. Returns `None` if not enough memory became free within [`MAX_WAIT`].
    pub(super) async fn enter(
        self: &Arc<Self>,
        connection: Option<Arc<Connection>>,
        fixed: usize,
    ) -> Option<Arc<AnswerSlot>> {
        self.enter_as(connection, fixed, false).await
    }

    /// Reserves a place for an event stream. In contrast to other answers, its client is not slow while there is
    /// nothing to send.
    pub(super) async fn enter_stream(self: &Arc<Self>, connection: Option<Arc<Connection>>) -> Option<Arc<AnswerSlot>> {
        self.enter_as(connection, 0, true).await
    }

    async fn enter_as(
        self: &Arc<Self>,
        connection: Option<Arc<Connection>>,
        fixed: usize,
        may_idle: bool,
    ) -> Option<Arc<AnswerSlot>> {
        let enter = |state: &mut State, now| {
            state.make_room(fixed.cast_signed(), now).then(|| {
                state.free -= fixed.cast_signed();
                state.slots.insert(Slot::new(connection.clone(), fixed, may_idle, now))
            })
        };
        let key = self.retry(enter).await?;
        Some(Arc::new(AnswerSlot { answers: Arc::clone(self), key }))
    }

    /// Ends the answers of clients that read too slowly. The rest of such an answer is not sent.
    pub(super) fn sweep(&self, now: Instant) {
        let mut stalled = Vec::new();
        let mut state = self.lock();
        let State { slots, free, .. } = &mut *state;
        for (_, slot) in slots.iter_mut() {
            if !slot.ended && !slot.is_paused() && slot.rate.deadline() <= now {
                slot.ended = true;
                *free += slot.drop_window();
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

    /// Calls `take` immediately, and again when memory becomes free, until `take` returns a value. Returns `None` if
    /// `take` has returned no value within [`MAX_WAIT`].
    async fn retry<T>(&self, mut take: impl FnMut(&mut State, Instant) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        loop {
            let freed = self.freed.notified();
            let now = Instant::now();
            if let Some(taken) = take(&mut self.lock(), now) {
                return Some(taken);
            }
            if now >= begun + MAX_WAIT {
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
    /// Returns whether `wanted` bytes are free. If too few bytes are free, first tries to free bytes: drops the windows
    /// (the buffered parts) of other answers, and if this is not enough, closes the connections of slow clients.
    fn make_room(&mut self, wanted: isize, now: Instant) -> bool {
        if self.free < wanted && now >= self.next_look {
            self.next_look = now + LOOK_AGAIN / 2;
            self.drop_windows(wanted, now);
            self.cut_off(wanted, now);
        }
        self.free >= wanted
    }

    /// Drops the windows (the buffered parts) of answers whose clients do not read, until `wanted` bytes are free.
    /// Begins with the client that has not read for the longest time.
    fn drop_windows(&mut self, wanted: isize, now: Instant) {
        let still = |slot: &&mut Slot| {
            slot.window_size > 0 && !slot.is_paused() && slot.rate.deadline() + STILL <= now + STALL_LIMIT
        };
        let mut still: Vec<_> = self.slots.iter_mut().map(|(_, slot)| slot).filter(still).collect();
        still.sort_unstable_by_key(|slot| slot.rate.deadline());
        for slot in still {
            if self.free >= wanted {
                return;
            }
            self.free += slot.drop_window();
        }
    }

    /// Closes the connections of clients that read slowly, until `wanted` bytes are free or will be free soon. Begins
    /// with the client whose answer uses the most memory.
    fn cut_off(&mut self, wanted: isize, now: Instant) {
        let mut coming = self.free;
        let mut slow = Vec::new();
        for (_, slot) in &mut self.slots {
            let is_cut = slot.connection.as_ref().is_some_and(|connection| connection.cut.is_cancelled());
            if is_cut {
                coming += slot.held();
            } else if slot.held() > 0 && !slot.is_paused() && slot.rate.is_slow(now) {
                slow.push(slot);
            }
        }
        slow.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.held()));
        for slot in slow {
            if coming >= wanted {
                return;
            }
            coming += slot.held();
            slot.ended = true;
            metrics::counter!(metric::ANSWERS_CUT_OFF, "reason" => "gave_way").increment(1);
            if let Some(connection) = &slot.connection {
                connection.cut.cancel();
            }
        }
    }
}

impl AnswerSlot {
    /// Returns whether the server ended the answer early, because the client read too slowly.
    pub(super) fn is_ended(&self) -> bool {
        self.answers.lock().slots.get(self.key).is_none_or(|slot| slot.ended)
    }

    /// Reserves memory for the next part of the answer, which the caller then reads from the store. Returns the size of
    /// the part in bytes, at most `left`. Returns `None` if not enough memory became free within [`MAX_WAIT`].
    pub(super) async fn reserve_window(&self, left: usize) -> Option<usize> {
        self.pause();
        let least = left.min(MIN_WINDOW);
        let take = |state: &mut State, now| {
            if !state.make_room(least.cast_signed() + RESERVE, now) {
                return None;
            }
            let part = (state.free - RESERVE).unsigned_abs() / WINDOW_PARTS;
            let bytes = part.clamp(least, MAX_WINDOW.max(least)).min(left);
            let slot = state.slots.get_mut(self.key)?;
            state.free -= bytes.cast_signed();
            slot.window_size = bytes;
            Some(bytes)
        };
        self.answers.retry(take).await
    }

    /// Sets the window, the buffered part of the answer, to bytes that were read from the store.
    pub(super) fn fill_window(&self, window: Bytes) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.window = window;
        }
        self.resume();
    }

    /// Removes the next piece from the window, the buffered part of the answer, and returns the piece. Returns `None`
    /// if the window is empty or was dropped.
    pub(super) fn next_piece(self: &Arc<Self>) -> Option<Bytes> {
        let mut state = self.answers.lock();
        let State { slots, free, .. } = &mut *state;
        let slot = slots.get_mut(self.key).filter(|slot| !slot.window.is_empty())?;
        let piece = slot.window.split_to(slot.window.len().min(PIECE));
        if slot.window.is_empty() {
            *free += slot.drop_window();
        }
        drop(state);
        Some(self.piece(&piece))
    }

    /// Copies `text` into a piece for the connection. The piece counts as used memory until the connection has written
    /// the piece. The text is copied because a piece that shared the memory of a window would prevent the whole window
    /// from becoming free.
    pub(super) fn piece(self: &Arc<Self>, text: &[u8]) -> Bytes {
        let mut state = self.answers.lock();
        state.free -= text.len().cast_signed();
        if let Some(slot) = state.slots.get_mut(self.key) {
            slot.send(text.len(), Instant::now());
        }
        drop(state);
        Bytes::from_owner(Piece { text: text.into(), slot: Arc::clone(self) })
    }

    /// Must be called when an answer is dropped. The connection counts its stalled answers, which the client does not
    /// read. If the server ended this answer early, the connection no longer counts this answer as stalled, even if the
    /// connection has not yet written all pieces of the answer.
    pub(super) fn ended_early(&self) {
        let ended = self
            .answers
            .lock()
            .slots
            .get_mut(self.key)
            .filter(|slot| slot.ended)
            .and_then(|slot| slot.connection.take());
        if let Some(connection) = ended {
            connection.no_longer_stalled();
        }
    }

    /// Records that the answer now waits for memory or for the store. The client does not count as slow during this
    /// wait.
    fn pause(&self) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.paused_since.get_or_insert_with(Instant::now);
        }
    }

    /// Records that the answer no longer waits for memory or for the store. From now on, the client counts as slow if
    /// the client does not read.
    fn resume(&self) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.resume(Instant::now());
        }
    }
}

impl Drop for AnswerSlot {
    fn drop(&mut self) {
        let mut state = self.answers.lock();
        let Some(mut slot) = state.slots.try_remove(self.key) else { return };
        state.free += slot.held() + slot.drop_window();
        drop(state);
        if let (true, Some(connection)) = (slot.ended, &slot.connection) {
            connection.no_longer_stalled();
        }
        self.answers.freed.notify_waiters();
    }
}

/// Bytes of an answer that the connection must still write to the client. The bytes count as used memory until this
/// value is dropped.
struct Piece {
    text: Box<[u8]>,
    slot: Arc<AnswerSlot>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let answers = &self.slot.answers;
        let mut state = answers.lock();
        state.free += self.text.len().cast_signed();
        if let Some(slot) = state.slots.get_mut(self.slot.key) {
            slot.in_flight -= self.text.len();
            slot.rate.moved(self.text.len(), Instant::now());
        }
        drop(state);
        answers.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
