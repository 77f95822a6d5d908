//! What one answer holds, and whether its client is slow.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::api::min_rate::MinRate;
use crate::api::open_connections::Connection;

/// The counters of the memory that one answer uses.
pub(super) struct Slot {
    /// The number of bytes of the answer that stay in memory until the whole answer was sent.
    pub(super) fixed: usize,
    /// The window of the answer: the bytes that were read from the store, and that the connection has not received yet.
    pub(super) window: Bytes,
    /// The size, in bytes, that `window` had when it was read from the store. All of these bytes count as used memory
    /// until `window` is dropped.
    pub(super) window_size: usize,
    /// The number of bytes that the connection has received from the answer, but has not yet written to the client.
    pub(super) in_flight: usize,
    /// The time at which the answer began to wait for memory or for the store. `None` if the answer does not wait.
    /// While the answer waits, its client does not count as slow.
    pub(super) paused_since: Option<Instant>,
    pub(super) rate: MinRate,
    /// Whether the answer may have nothing to send for long. Its client counts as slow only while the connection has
    /// bytes for the client.
    pub(super) may_idle: bool,
    /// Whether the server ended the answer early, because the client read too slowly.
    pub(super) ended: bool,
    pub(super) connection: Option<Arc<Connection>>,
}

impl Slot {
    pub(super) fn new(connection: Option<Arc<Connection>>, fixed: usize, may_idle: bool, now: Instant) -> Self {
        Self {
            fixed,
            window: Bytes::new(),
            window_size: 0,
            in_flight: 0,
            paused_since: None,
            rate: MinRate::start(now),
            may_idle,
            ended: false,
            connection,
        }
    }

    /// Counts bytes that the connection gets.
    pub(super) fn send(&mut self, bytes: usize, now: Instant) {
        if self.is_idle() {
            self.rate = MinRate::start(now);
        }
        self.in_flight += bytes;
    }

    /// Records that the answer no longer waits for memory or for the store.
    pub(super) fn resume(&mut self, now: Instant) {
        let Some(since) = self.paused_since.take() else { return };
        if self.may_idle && self.in_flight == 0 {
            self.rate = MinRate::start(now);
        } else {
            self.rate.pause_over(since, now);
        }
    }

    /// Returns the number of bytes that stay in use until the connection has written them to the client.
    pub(super) fn held(&self) -> isize {
        (self.fixed + self.in_flight).cast_signed()
    }

    /// Whether the client has nothing to read at the moment.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_since.is_some() || self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.may_idle && self.in_flight == 0 && self.window_size == 0
    }

    /// Drops the window, which is the buffered part of the answer. Returns the number of bytes that become free.
    pub(super) fn drop_window(&mut self) -> isize {
        self.window = Bytes::new();
        std::mem::take(&mut self.window_size).cast_signed()
    }
}
