//! Bodies on their way in: how much of them may be in memory, how slow they may be, and who gives way to whom.
//!
//! - A body's share of the room is what has come of it. It is taken as the bytes come, and given back when the store has them.
//! - The room of small bodies is their own: however many large ones wait, a small one gets in. A body that outgrows it moves,
//!   with all its bytes, to the room of the large ones.
//! - A body that comes too slowly is cut off; see [`Pace`]. When there is no room, those that are behind are cut off at once,
//!   the largest first.
//! - Bodies that each hold a part and wait for more cannot block one another for good: a wait has a bound. Who has waited for
//!   so long is told to come again, and what it held goes to the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::pace::{LEAST_RATE, Pace};
use crate::line::Causes;
use crate::names::metric;

/// Bytes of large bodies in memory at once, or one body of the largest size.
const LARGE_ROOM: usize = 224 << 20;
/// The same for small ones.
const SMALL_ROOM: usize = 32 << 20;
/// A body of up to so many bytes is a small one.
pub(super) const SMALL: usize = 64 << 10;
/// How long a body waits for room before its client is told to come again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one that waits looks whether others have fallen behind.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What every body has, however small it is.
const LEAST_TIME: Duration = Duration::from_mins(1);
/// A body that is slower than this over its whole length has run out of time.
const AVERAGE_RATE: usize = 64 << 10;

/// The room for bodies. All clones of the `Arc` are one.
pub(super) struct Intake {
    rooms: Mutex<Rooms>,
    /// Somebody gave room back.
    freed: Notify,
    limit: usize,
}

/// Why a body was not taken in. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLarge,
    /// It ended before its end came.
    CutOff,
    /// It came in chunks that are none, for this reason.
    Chunks(&'static str),
    /// Slower than may be.
    TooSlow,
    /// Behind while others had no room.
    GaveWay,
    /// There was no room for too long.
    NoRoom,
}

struct Rooms {
    small: Room,
    large: Room,
    bodies: Slab<Reading>,
}

struct Room {
    free: usize,
    /// What those hold that are cut off already, and will give it back.
    coming: usize,
    /// No look for who is behind before then: it takes time where there are many.
    next_look: Instant,
}

struct Reading {
    held: usize,
    pace: Pace,
    /// Nothing is expected of its client: it waits for room, or all of it has come.
    blameless: bool,
    cut: bool,
    told: Arc<Notify>,
}

impl Reading {
    fn is_small(&self) -> bool {
        self.held <= SMALL
    }
}

/// A body's share of the room; given back when it is dropped.
pub(super) struct Share {
    intake: Arc<Intake>,
    key: usize,
    told: Arc<Notify>,
}

impl Intake {
    /// For bodies of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Self::of(limit, SMALL_ROOM, LARGE_ROOM.max(limit))
    }

    fn of(limit: usize, small: usize, large: usize) -> Arc<Self> {
        let now = Instant::now();
        let room = |free| Room { free, coming: 0, next_look: now };
        let rooms = Rooms { small: room(small), large: room(large), bodies: Slab::new() };
        Arc::new(Self { rooms: Mutex::new(rooms), freed: Notify::new(), limit })
    }

    /// Reads a body to its end. `announced`: its length, as its head says.
    pub(super) async fn read(
        self: &Arc<Self>,
        mut body: Body,
        announced: Option<usize>,
    ) -> Result<(Bytes, Share), Refused> {
        let begun = Instant::now();
        let time = LEAST_TIME + Duration::from_secs((announced.unwrap_or(self.limit) / AVERAGE_RATE) as u64);
        let share = self.enter(begun);
        // One buffer: a body in many tiny pieces would take up many times its size otherwise.
        let mut read = Vec::new();
        loop {
            let due = share.due().min(begun + time);
            let frame = tokio::select! {
                biased;
                () = share.told.notified() => return Err(Refused::GaveWay),
                frame = timeout_at(due, body.frame()) => frame.map_err(|_| {
                    metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "slow").increment(1);
                    Refused::TooSlow
                })?,
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                tracing::debug!("a body was not read to its end: {}", Causes(&error));
                broken(&error)
            })?;
            // Trailers say nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            if read.len() + piece.len() > self.limit {
                return Err(Refused::TooLarge);
            }
            share.take(piece.len()).await?;
            read.extend_from_slice(&piece);
        }
        share.has_come();
        read.shrink_to_fit();
        Ok((read.into(), share))
    }

    fn enter(self: &Arc<Self>, now: Instant) -> Share {
        let told = Arc::new(Notify::new());
        let reading =
            Reading { held: 0, pace: Pace::start(now), blameless: false, cut: false, told: Arc::clone(&told) };
        let key = self.lock().bodies.insert(reading);
        Share { intake: Arc::clone(self), key, told }
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes room for bytes that have come. Waits while there is none, for a bounded time.
    async fn take(&self, bytes: usize) -> Result<(), Refused> {
        let begun = Instant::now();
        if self.intake.lock().take(self.key, bytes, begun) {
            return Ok(());
        }
        loop {
            let freed = self.intake.freed.notified();
            let now = Instant::now();
            if self.intake.lock().take_after_waiting(self.key, bytes, begun, now) {
                return Ok(());
            }
            if now >= begun + PATIENCE {
                metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "no_room").increment(1);
                return Err(Refused::NoRoom);
            }
            tokio::select! {
                () = self.told.notified() => return Err(Refused::GaveWay),
                _ = tokio::time::timeout(LOOK_AGAIN, freed) => {}
            }
        }
    }

    /// All of it has come: what it waits for now is not its client's doing.
    fn has_come(&self) {
        if let Some(reading) = self.intake.lock().bodies.get_mut(self.key) {
            reading.blameless = true;
        }
    }

    fn due(&self) -> Instant {
        // Invariant: the entry is there until the share is dropped.
        self.intake.lock().bodies.get(self.key).map_or_else(Instant::now, |reading| reading.pace.due())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.intake.lock().leave(self.key);
        self.intake.freed.notify_waiters();
    }
}

impl Rooms {
    /// Takes room if there is some; else those that are behind are cut off.
    fn take(&mut self, key: usize, bytes: usize, now: Instant) -> bool {
        let Some(reading) = self.bodies.get_mut(key) else { return false };
        let (was_small, held) = (reading.is_small(), reading.held + bytes);
        let stays_small = held <= SMALL;
        // What it needs of the room that it will be in: all, if it comes there anew.
        let wanted = if was_small && !stays_small { held } else { bytes };
        let room = if stays_small { &mut self.small } else { &mut self.large };
        if room.free < wanted {
            reading.blameless = true;
            self.cut_off(stays_small, wanted, now);
            return false;
        }
        room.free -= wanted;
        if was_small && !stays_small {
            self.small.free += reading.held;
        }
        reading.held = held;
        reading.blameless = false;
        reading.pace.moved(bytes, now);
        true
    }

    fn take_after_waiting(&mut self, key: usize, bytes: usize, since: Instant, now: Instant) -> bool {
        let taken = self.take(key, bytes, now);
        if let (true, Some(reading)) = (taken, self.bodies.get_mut(key)) {
            reading.pace.pause_over(since, now);
        }
        taken
    }

    /// Tells bodies of one room that are behind to give way, the largest first, until so many bytes will come free.
    fn cut_off(&mut self, small: bool, wanted: usize, now: Instant) {
        let room = if small { &mut self.small } else { &mut self.large };
        if now < room.next_look {
            return;
        }
        room.next_look = now + LOOK_AGAIN / 4;
        let gives_way = |reading: &Reading| {
            reading.is_small() == small
                && reading.held > 0
                && !reading.blameless
                && !reading.cut
                && reading.pace.is_behind(now)
        };
        let behind = self.bodies.iter_mut().map(|(_, reading)| reading).filter(|reading| gives_way(reading));
        let mut behind: Vec<_> = behind.collect();
        behind.sort_unstable_by_key(|reading| std::cmp::Reverse(reading.held));
        for reading in behind {
            if room.free + room.coming >= wanted {
                break;
            }
            reading.cut = true;
            room.coming += reading.held;
            reading.told.notify_one();
            metrics::counter!(metric::BODIES_CUT_OFF, "reason" => "gave_way").increment(1);
        }
    }

    fn leave(&mut self, key: usize) {
        let Some(reading) = self.bodies.try_remove(key) else { return };
        let room = if reading.is_small() { &mut self.small } else { &mut self.large };
        room.free += reading.held;
        if reading.cut {
            room.coming = room.coming.saturating_sub(reading.held);
        }
    }
}

/// Why a body could not be read on.
fn broken(error: &(dyn std::error::Error + 'static)) -> Refused {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let Some(cause) = causes.find_map(|error| error.downcast_ref::<std::io::Error>()) else { return Refused::CutOff };
    // The only such errors that hyper makes of what came. It tells them apart by their text alone.
    if !matches!(cause.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData) {
        return Refused::CutOff;
    }
    let text = cause.to_string().to_ascii_lowercase();
    let whys = [
        ("size", "the size of a chunk is a line with a hexadecimal number"),
        ("body", "a chunk is not as long as its size says, and not ended by CR LF"),
        ("extensions over", "there are more than 16 KiB of chunk extensions"),
        ("extension", "a line of a chunk extension is not ended by CR LF"),
        ("trailers", "there are too many trailers"),
    ];
    let why = whys.into_iter().find(|(word, _)| text.contains(word)).map(|(_, why)| why);
    Refused::Chunks(why.unwrap_or("what follows the last chunk is neither trailers nor the end"))
}

/// What a client is told that was too slow.
pub(super) fn too_slow() -> String {
    format!(
        "the body came too slowly: it may stand still for 10 s, has to come at {LEAST_RATE} bytes a second at least, and \
         has one minute and a second for each {AVERAGE_RATE} bytes; nothing was accepted"
    )
}

#[cfg(test)]
mod tests;
