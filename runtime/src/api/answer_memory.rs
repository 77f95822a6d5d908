//! The memory for answers: how much memory answers may use together, and what happens to clients that do not read.
//!
//! - A large result is read from the store in *windows*. A window is as large as the free memory allows, and is given
//!   to the connection in small pieces. Windows and pieces are counted; a piece counts until the connection has written
//!   it.
//! - If there is not enough memory, answers that do not move lose their windows. Such a window is read again when its
//!   answer moves. If that is not enough, slow clients are cut off; see [`MinRate`].
//! - An answer that moves too slowly is ended: its connection is cut off, or only its stream if the connection has
//!   other calls that move.
//! - Windows never use all of the memory, so that small answers always get through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::min_rate::{MinRate, STALL_LIMIT};
use super::open_connections::Connection;
use postback_wire::names::metric;

/// Bytes of all answers in memory together.
const LIMIT: isize = 64 << 20;
/// Bytes of the limit that the buffered parts of large answers must leave free for small answers.
const RESERVE: isize = 16 << 20;
/// The smallest part of a large answer that is read from the store at once, unless less is left. Smaller parts would be
/// slow, because SQLite reads the whole row for each part.
const MIN_WINDOW: usize = 256 << 10;
/// The largest part of a large answer that is read from the store at once.
const MAX_WINDOW: usize = 8 << 20;
/// The part of an answer that is read at once may use a quarter of the free memory.
const WINDOW_PARTS: usize = 4;
/// An answer is given to its connection in pieces of at most this many bytes.
pub(super) const PIECE: usize = 16 << 10;
/// How long an answer waits for memory.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How often an answer that waits for memory checks whether other clients have become slow.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// If nothing of an answer was written for this time, the answer may lose its window.
const STILL: Duration = Duration::from_millis(50);

/// Counts the memory that all answers use together.
pub(super) struct AnswerMemory {
    state: Mutex<State>,
    /// Notified when memory was freed.
    freed: Notify,
}

struct State {
    /// Bytes that answers may still use. Below zero if pieces are copied out of windows while nothing is free.
    free: isize,
    slots: Slab<Slot>,
    /// Before this time, the answers are not searched again for slow clients.
    next_look: Instant,
}

/// The memory of one answer.
struct Slot {
    /// Bytes of the answer that are in memory from its start to its end.
    fixed: usize,
    /// Bytes that were read from the store, and that the connection has not got yet.
    window: Bytes,
    /// The size of the window when it was read. This is what counts as used.
    window_size: usize,
    /// Bytes of pieces that the connection has got, but not written yet.
    in_flight: usize,
    /// Since when the answer waits for memory or for the store. That time does not count against its client.
    paused_since: Option<Instant>,
    rate: MinRate,
    /// The answer was ended early, because its client is too slow.
    ended: bool,
    connection: Option<Arc<Connection>>,
}

/// Counts the memory of one answer. The answer and its pieces share this handle; the memory is freed when the last of
/// them is dropped.
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
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Reserves memory for an answer that keeps `fixed` bytes in memory to its end. `None` if not enough memory came
    /// free within [`MAX_WAIT`].
    pub(super) async fn enter(
        self: &Arc<Self>,
        connection: Option<Arc<Connection>>,
        fixed: usize,
    ) -> Option<Arc<AnswerSlot>> {
        let enter = |state: &mut State, now| {
            state.make_room(fixed.cast_signed(), now).then(|| {
                state.free -= fixed.cast_signed();
                state.slots.insert(Slot {
                    fixed,
                    window: Bytes::new(),
                    window_size: 0,
                    in_flight: 0,
                    paused_since: None,
                    rate: MinRate::start(now),
                    ended: false,
                    connection: connection.clone(),
                })
            })
        };
        let key = self.retry(enter).await?;
        Some(Arc::new(AnswerSlot { answers: Arc::clone(self), key }))
    }

    /// Ends the answers whose clients read too slowly.
    pub(super) fn sweep(&self, now: Instant) {
        let mut stalled = Vec::new();
        let mut state = self.lock();
        let State { slots, free, .. } = &mut *state;
        for (_, slot) in slots.iter_mut() {
            if !slot.ended && slot.paused_since.is_none() && slot.rate.deadline() <= now {
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

    /// Calls `take` again whenever memory was freed, until it succeeds or [`MAX_WAIT`] is over.
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
    /// Whether this many bytes are free. If they are not, other answers lose their windows or are cut off.
    fn make_room(&mut self, wanted: isize, now: Instant) -> bool {
        if self.free < wanted && now >= self.next_look {
            self.next_look = now + LOOK_AGAIN / 2;
            self.drop_windows(wanted, now);
            self.cut_off(wanted, now);
        }
        self.free >= wanted
    }

    /// Drops the windows of answers whose clients do not read. The clients that have not read for longest lose theirs
    /// first.
    fn drop_windows(&mut self, wanted: isize, now: Instant) {
        let still = |slot: &&mut Slot| {
            slot.window_size > 0 && slot.paused_since.is_none() && slot.rate.deadline() + STILL <= now + STALL_LIMIT
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

    /// Cuts off clients that read too slowly, until this many bytes will be free. The clients whose answers use the
    /// most memory are cut off first.
    fn cut_off(&mut self, wanted: isize, now: Instant) {
        let mut coming = self.free;
        let mut slow = Vec::new();
        for (_, slot) in &mut self.slots {
            let is_cut = slot.connection.as_ref().is_some_and(|connection| connection.cut.is_cancelled());
            if is_cut {
                coming += slot.held();
            } else if slot.held() > 0 && slot.paused_since.is_none() && slot.rate.is_slow(now) {
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

impl Slot {
    /// The bytes that stay in use until the connection writes them.
    fn held(&self) -> isize {
        (self.fixed + self.in_flight).cast_signed()
    }

    /// Drops the window, and returns the number of bytes that it used.
    fn drop_window(&mut self) -> isize {
        self.window = Bytes::new();
        std::mem::take(&mut self.window_size).cast_signed()
    }
}

impl AnswerSlot {
    /// Whether the answer was ended early, because its client is too slow.
    pub(super) fn is_ended(&self) -> bool {
        self.answers.lock().slots.get(self.key).is_none_or(|slot| slot.ended)
    }

    /// Reserves memory for the part of the answer that is read from the store next, and returns its size: at most
    /// `left` bytes. `None` if not enough memory came free within [`MAX_WAIT`].
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

    /// Sets the window to the bytes that were read from the store.
    pub(super) fn fill_window(&self, window: Bytes) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.window = window;
        }
        self.resume();
    }

    /// The next piece of the window. `None` if the window is used up, or was dropped.
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

    /// A piece of text, which counts until it is written. The text is copied, so that a piece does not keep a whole
    /// window alive.
    pub(super) fn piece(self: &Arc<Self>, text: &[u8]) -> Bytes {
        let mut state = self.answers.lock();
        state.free -= text.len().cast_signed();
        if let Some(slot) = state.slots.get_mut(self.key) {
            slot.in_flight += text.len();
        }
        drop(state);
        Bytes::from_owner(Piece { text: text.into(), slot: Arc::clone(self) })
    }

    /// To be called when an answer is dropped. If the answer was ended early, its connection no longer counts it as
    /// stalled, even if pieces of it are not written yet.
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

    /// From now on the answer waits for memory or for the store, which does not count against its client.
    fn pause(&self) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key) {
            slot.paused_since.get_or_insert_with(Instant::now);
        }
    }

    /// From now on the client has to read again.
    fn resume(&self) {
        if let Some(slot) = self.answers.lock().slots.get_mut(self.key)
            && let Some(since) = slot.paused_since.take()
        {
            slot.rate.pause_over(since, Instant::now());
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

/// Bytes that a connection has got, and has to write.
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
