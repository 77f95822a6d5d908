//! The memory for request bodies: how much memory bodies may use together, how slow a body may be, and which bodies
//! give way.
//!
//! - A body uses memory for the bytes that have arrived. The memory is reserved as the bytes arrive, and becomes free
//!   when the store has the bytes.
//! - Small bodies have a pool of memory that large bodies cannot use. So a small body is accepted, however many large
//!   bodies wait. If a body grows beyond [`SMALL`], all its bytes move to the pool of the large bodies.
//! - If a body arrives too slowly, the server stops reading it and refuses the request; see [`MinRate`]. If there is
//!   not enough memory, the server refuses slow bodies earlier than that, the largest first.
//! - Bodies that each have a part of the memory and wait for more cannot block one another forever, because each wait
//!   has a limit: after [`MAX_WAIT`] the client gets an answer that tells it to retry, and the memory of its body
//!   becomes free for the other bodies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::coding::Coding;
use super::min_rate::{MIN_BYTES_PER_SECOND, MinRate};
use postback_wire::line::Causes;
use postback_wire::names::metric;

/// The largest number of bytes that all large request bodies together may use in memory. If this number is less than
/// twice the largest size of a body, the limit is twice that size, because a compressed body and the inflated body are
/// in memory at the same time.
const LARGE_LIMIT: usize = 224 << 20;
/// The largest number of bytes that all small request bodies together may use in memory.
const SMALL_LIMIT: usize = 32 << 20;
/// The largest size of a small request body, in bytes. Larger bodies are large bodies.
pub(super) const SMALL: usize = 64 << 10;
/// The longest time for which a request body waits for free memory. After this time, the client gets an answer that
/// tells the client to retry.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The interval at which a body that waits for memory checks whether other bodies have become slow.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The time that every request body may take to arrive, even the smallest. A larger body may take longer.
const MIN_TIME: Duration = Duration::from_mins(1);
/// The lowest average rate at which a whole body may arrive, in bytes per second. A body may take at most one minute
/// plus the time that the body needs at this rate.
const AVERAGE_BYTES_PER_SECOND: usize = 64 << 10;

/// Counters of the memory that all bodies use together.
pub(super) struct BodyMemory {
    pools: Mutex<Pools>,
    /// Notified when memory has become free.
    freed: Notify,
    /// The size of the largest body that is allowed, in bytes.
    max_body: usize,
}

/// The reason why the server did not read a body to its end. The server drops the bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLarge,
    /// The body is larger than a limit of the service in which the router is nested.
    TooLargeForService,
    /// The connection or the HTTP/2 stream ended before the whole body had arrived.
    CutOff,
    /// The chunks of the body are malformed. The value says what is wrong with the chunks.
    Chunks(&'static str),
    /// The body arrived more slowly than the minimum rate.
    TooSlow,
    /// The body arrived slowly, and the server refused the body because other bodies waited for memory.
    GaveWay,
    /// The body waited for memory for [`MAX_WAIT`], and there was still not enough memory.
    NoMemory,
    /// The body is not coded as its header `content-encoding` says.
    Coded(Coding),
    /// The body is compressed so much that its sender may have meant it to fill the server's memory.
    Ratio,
}

struct Pools {
    small: Pool,
    large: Pool,
    bodies: Slab<Reading>,
}

/// The memory that all small bodies share, or the memory that all large bodies share.
struct Pool {
    free: usize,
    /// The number of bytes that will become free soon, because the server has refused the bodies that use these bytes.
    coming: usize,
    /// The earliest time at which the server may search for slow bodies again. The server does not search more often,
    /// because a search through many bodies takes long.
    next_look: Instant,
}

/// Memory of a pool that will be free soon.
#[derive(Clone, Copy)]
struct Coming {
    /// Whether the pool is that of small bodies.
    small: bool,
    bytes: usize,
}

/// A body that the server is reading, or a body that the server has read and the store has not stored yet.
struct Reading {
    held: usize,
    rate: MinRate,
    /// If true, the client need not send bytes at the moment, because the body waits for memory or has arrived
    /// completely.
    paused: bool,
    /// The memory that others expect of this body, if the server has refused it. The body may have moved to the other
    /// pool since then.
    cut_off: Option<Coming>,
    /// Notified when the server refuses this body to free its memory for other bodies.
    gives_way: Arc<Notify>,
}

impl Reading {
    fn is_small(&self) -> bool {
        self.held <= SMALL
    }
}

/// The memory that one body uses. The memory becomes free when the share is dropped.
pub(super) struct Share {
    memory: Arc<BodyMemory>,
    key: usize,
    gives_way: Arc<Notify>,
}

impl BodyMemory {
    /// Makes the counters for bodies of at most `max_body` bytes each.
    pub(super) fn new(max_body: usize) -> Arc<Self> {
        Self::with_limits(max_body, SMALL_LIMIT, LARGE_LIMIT.max(max_body.saturating_mul(2)))
    }

    fn with_limits(max_body: usize, small: usize, large: usize) -> Arc<Self> {
        let now = Instant::now();
        let pool = |free| Pool { free, coming: 0, next_look: now };
        let pools = Pools { small: pool(small), large: pool(large), bodies: Slab::new() };
        Arc::new(Self { pools: Mutex::new(pools), freed: Notify::new(), max_body })
    }

    /// Reads a whole request body. `announced` is the length of the body, if the head of the request states a length.
    pub(super) async fn read(
        self: &Arc<Self>,
        mut body: Body,
        announced: Option<usize>,
    ) -> Result<(Bytes, Share), Refused> {
        let begun = Instant::now();
        let time =
            MIN_TIME + Duration::from_secs((announced.unwrap_or(self.max_body) / AVERAGE_BYTES_PER_SECOND) as u64);
        let share = self.enter(begun);
        // The pieces of the body are copied into one buffer. If each of many tiny pieces had its own buffer, the
        // buffers would use many times the size of the body.
        let mut read = Vec::new();
        loop {
            let deadline = share.deadline().min(begun + time);
            let frame = tokio::select! {
                biased;
                () = share.gives_way.notified() => return Err(Refused::GaveWay),
                frame = timeout_at(deadline, body.frame()) => frame.map_err(|_| {
                    metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "slow").increment(1);
                    Refused::TooSlow
                })?,
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                tracing::debug!("a body was not read to its end: {}", Causes(&error));
                read_error(&error)
            })?;
            // A frame without data contains the trailers of the HTTP message, which the API ignores.
            let Ok(piece) = frame.into_data() else { continue };
            if read.len() + piece.len() > self.max_body {
                return Err(Refused::TooLarge);
            }
            share.take(piece.len()).await?;
            read.extend_from_slice(&piece);
        }
        share.is_complete();
        read.shrink_to_fit();
        Ok((read.into(), share))
    }

    fn enter(self: &Arc<Self>, now: Instant) -> Share {
        let gives_way = Arc::new(Notify::new());
        let reading = Reading {
            held: 0,
            rate: MinRate::start(now),
            paused: false,
            cut_off: None,
            gives_way: Arc::clone(&gives_way),
        };
        let key = self.lock().bodies.insert(reading);
        Share { memory: Arc::clone(self), key, gives_way }
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Reserves memory for bytes that have arrived. Waits until enough memory is free, but at most [`MAX_WAIT`].
    pub(super) async fn take(&self, bytes: usize) -> Result<(), Refused> {
        let begun = Instant::now();
        if self.memory.lock().take(self.key, bytes, begun) {
            return Ok(());
        }
        loop {
            let freed = self.memory.freed.notified();
            let now = Instant::now();
            if self.memory.lock().take_after_waiting(self.key, bytes, begun, now) {
                return Ok(());
            }
            if now >= begun + MAX_WAIT {
                metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "no_room").increment(1);
                return Err(Refused::NoMemory);
            }
            tokio::select! {
                () = self.gives_way.notified() => return Err(Refused::GaveWay),
                _ = tokio::time::timeout(LOOK_AGAIN, freed) => {}
            }
        }
    }

    /// Records that the whole body has arrived. After this call, the server does not refuse the body as too slow.
    pub(super) fn is_complete(&self) {
        if let Some(reading) = self.memory.lock().bodies.get_mut(self.key) {
            reading.paused = true;
        }
    }

    fn deadline(&self) -> Instant {
        // Invariant: `bodies` has an entry for this body until the body's `Share` is dropped.
        self.memory.lock().bodies.get(self.key).map_or_else(Instant::now, |reading| reading.rate.deadline())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.lock().leave(self.key);
        self.memory.freed.notify_waiters();
    }
}

impl Pools {
    /// Reserves memory for `bytes` more bytes of a body. Returns whether enough memory was free. If not enough memory
    /// was free, the server refuses slow bodies, so that their memory becomes free.
    fn take(&mut self, key: usize, bytes: usize, now: Instant) -> bool {
        let Some(reading) = self.bodies.get_mut(key) else { return false };
        let (was_small, held) = (reading.is_small(), reading.held + bytes);
        let stays_small = held <= SMALL;
        // A body that has just become large moves to the pool of the large bodies. In this pool, memory is reserved for
        // all bytes of the body, and not only for the bytes that have just arrived.
        let wanted = if was_small && !stays_small { held } else { bytes };
        let pool = if stays_small { &mut self.small } else { &mut self.large };
        if pool.free < wanted {
            reading.paused = true;
            self.cut_off(stays_small, wanted, now);
            return false;
        }
        pool.free -= wanted;
        if was_small && !stays_small {
            self.small.free += reading.held;
        }
        reading.held = held;
        reading.paused = false;
        reading.rate.moved(bytes, now);
        true
    }

    fn take_after_waiting(&mut self, key: usize, bytes: usize, since: Instant, now: Instant) -> bool {
        let taken = self.take(key, bytes, now);
        if let (true, Some(reading)) = (taken, self.bodies.get_mut(key)) {
            reading.rate.pause_over(since, now);
        }
        taken
    }

    /// Refuses bodies that arrive slowly, the largest first. The parameter `small` chooses the pool: the memory of the
    /// small bodies or of the large bodies. Stops when `wanted` bytes of this pool are free or belong to refused
    /// bodies, whose bytes will be free soon.
    fn cut_off(&mut self, small: bool, wanted: usize, now: Instant) {
        let pool = if small { &mut self.small } else { &mut self.large };
        if now < pool.next_look {
            return;
        }
        pool.next_look = now + LOOK_AGAIN / 4;
        let gives_way = |reading: &Reading| {
            reading.is_small() == small
                && reading.held > 0
                && !reading.paused
                && reading.cut_off.is_none()
                && reading.rate.is_slow(now)
        };
        let slow = self.bodies.iter_mut().map(|(_, reading)| reading).filter(|reading| gives_way(reading));
        let mut slow: Vec<_> = slow.collect();
        slow.sort_unstable_by_key(|reading| std::cmp::Reverse(reading.held));
        for reading in slow {
            if pool.free + pool.coming >= wanted {
                break;
            }
            reading.cut_off = Some(Coming { small, bytes: reading.held });
            pool.coming += reading.held;
            reading.gives_way.notify_one();
            metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "gave_way").increment(1);
        }
    }

    fn leave(&mut self, key: usize) {
        let Some(reading) = self.bodies.try_remove(key) else { return };
        let pool = if reading.is_small() { &mut self.small } else { &mut self.large };
        pool.free += reading.held;
        if let Some(Coming { small, bytes }) = reading.cut_off {
            let pool = if small { &mut self.small } else { &mut self.large };
            pool.coming = pool.coming.saturating_sub(bytes);
        }
    }
}

/// Returns the reason why the rest of a body could not be read. The reason is derived from the error of hyper.
fn read_error(error: &(dyn std::error::Error + 'static)) -> Refused {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    // A service that has nested the router may have a smaller limit of its own.
    if causes.clone().any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
        return Refused::TooLargeForService;
    }
    let Some(cause) = causes.find_map(|error| error.downcast_ref::<std::io::Error>()) else { return Refused::CutOff };
    // hyper returns these two kinds of errors only for malformed chunks. Only the text of the error says what is wrong
    // with a chunk.
    if !matches!(cause.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData) {
        return Refused::CutOff;
    }
    let text = cause.to_string().to_ascii_lowercase();
    let reasons = [
        ("size", "the size of a chunk is not a line with a hexadecimal number"),
        ("body", "a chunk is not as long as its size says, or does not end in CR LF"),
        ("extensions over", "there are more than 16 KiB of chunk extensions"),
        ("extension", "a line of a chunk extension does not end in CR LF"),
        ("trailers", "there are too many trailers"),
    ];
    let reason = reasons.into_iter().find(|(word, _)| text.contains(word)).map(|(_, reason)| reason);
    Refused::Chunks(reason.unwrap_or("the last chunk is followed by something that is neither a trailer nor the end"))
}

/// Returns the text of the error answer to a client whose body arrived too slowly.
pub(super) fn too_slow() -> String {
    format!(
        "the body came too slowly: it may pause for 10 s, must come at {MIN_BYTES_PER_SECOND} bytes per second at least, \
         and has one minute plus one second for each {AVERAGE_BYTES_PER_SECOND} bytes; nothing was accepted"
    )
}

#[cfg(test)]
mod tests;
