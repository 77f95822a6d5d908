//! The free space on the store's file system. Some of the space is reserved for accepted requests: when new requests
//! are refused, outcomes, reports and attempts can still be written.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Bound;
use postback_wire::names::metric;

/// The pause between two reads of the free space. If many bytes are written, the next read comes earlier.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of written bytes after which the free space is read again immediately. This number plus the number of
/// bytes that may wait for the writer is less than the default reserve.
const MUCH: u64 = 16 << 20;
/// Limits the reserve on a small file system: the reserve is at most the size of the file system divided by this
/// number.
const LARGEST_PART: u64 = 10;

/// The size of a file system and the size of its free space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The number of bytes that this user may still write.
    pub free: u64,
    pub all: u64,
}

/// A function that reads the size of the file system and of its free space. The function may block its thread.
pub(crate) type Probe = Arc<dyn Fn() -> std::io::Result<Size> + Send + Sync>;

/// Returns a function that reads the size of the file system that contains this path, and of its free space.
#[cfg(all(feature = "sqlite", unix))]
pub(crate) fn probe(path: std::path::PathBuf) -> Probe {
    Arc::new(move || {
        let size = rustix::fs::statvfs(&path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(size.f_frsize);
        Ok(Size { free: bytes(size.f_bavail), all: bytes(size.f_blocks) })
    })
}

/// Watches the free disk space: the number of reserved bytes, and the number of free bytes at the last read.
pub(crate) struct Space {
    reserve: u64,
    /// The function that reads the free space. `None`: no space is reserved, so the free space is not read.
    probe: Option<Probe>,
    low: AtomicBool,
    /// The number of free bytes at the last read.
    free: AtomicU64,
    /// The number of bytes that are reserved. On a small file system this number is smaller than `reserve`.
    kept: AtomicU64,
    /// The number of requests that were refused since the free space became too small.
    refused: AtomicU64,
    since: Mutex<Since>,
}

#[derive(Default)]
struct Since {
    asked: Option<Instant>,
    written: u64,
    /// Whether the last read of the free space failed. If several reads fail one after the other, only the first
    /// failure is logged.
    failed: bool,
}

impl Space {
    pub(crate) fn new(reserve: u64, probe: Option<Probe>) -> Self {
        Self {
            reserve,
            probe: probe.filter(|_| reserve > 0),
            low: AtomicBool::new(false),
            free: AtomicU64::new(u64::MAX),
            kept: AtomicU64::new(reserve),
            refused: AtomicU64::new(0),
            since: Mutex::default(),
        }
    }

    /// Returns an error if too little space is free for a new request. Then the request is also counted as refused.
    pub(crate) fn check(&self) -> Result<(), Bound> {
        let Some(bound) = self.bound() else { return Ok(()) };
        metrics::counter!(metric::REQUESTS_REFUSED, "reason" => bound.name()).increment(1);
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(bound)
    }

    /// Returns the bound that would refuse a new request now, because too little space is free. `None`: enough space is
    /// free.
    pub(super) fn bound(&self) -> Option<Bound> {
        let (free, reserve) = (self.free.load(Ordering::Relaxed), self.kept.load(Ordering::Relaxed));
        self.is_low().then_some(Bound::Disk { free, reserve })
    }

    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    /// Records that `written` more bytes were written. Then reads the free space again, if the last read is too old or
    /// if many bytes were written since the last read.
    pub(super) async fn look(&self, written: u64) {
        let Some(probe) = &self.probe else { return };
        {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            since.written = since.written.saturating_add(written);
            // On a small file system the reserve is small, too, so the free space is read after a smaller number of
            // written bytes. Otherwise the reserve could be used up before the store notices.
            let much = MUCH.min(self.kept.load(Ordering::Relaxed) / 8);
            if since.asked.is_some_and(|asked| asked.elapsed() < INTERVAL) && since.written < much {
                return;
            }
            (since.asked, since.written) = (Some(Instant::now()), 0);
        }
        let probe = probe.clone();
        let answer = tokio::task::spawn_blocking(move || probe()).await;
        let failed = match answer.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(size) => {
                self.found(size);
                None
            }
            Err(error) => Some(error),
        };
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &failed
            && !since.failed
        {
            // While the free space is unknown, the store does not refuse requests because of it. If the disk is full,
            // writes will fail.
            tracing::warn!("cannot read the free space on the store's file system: {error}");
        }
        since.failed = failed.is_some();
    }

    fn found(&self, size: Size) {
        let kept = self.reserve.min(size.all / LARGEST_PART);
        self.free.store(size.free, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "2^52 bytes fit on no disk")]
        metrics::gauge!(metric::STORE_FREE_BYTES).set(size.free as f64);
        // The store accepts requests again only when the free space is a tenth larger than the reserve. Otherwise the
        // log would alternate between "refused" and "accepted" while the free space is near the limit. A purge, or a
        // cleanup by another program, frees more than this tenth.
        let enough = if self.is_low() { kept + kept / 10 } else { kept };
        let low = size.free < enough;
        if low && !self.low.swap(true, Ordering::AcqRel) {
            let bound = Bound::Disk { free: size.free, reserve: kept };
            tracing::warn!("requests are refused until there is more room: {bound}");
        } else if !low && self.low.swap(false, Ordering::AcqRel) {
            let refused = self.refused.swap(0, Ordering::Relaxed);
            tracing::info!("there is room on the disk again; {refused} requests were refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a `Space` for a file system of 1,000 bytes, of which `free` bytes are free.
    fn space(reserve: u64, free: &Arc<AtomicU64>) -> (Space, Arc<AtomicU64>) {
        let (free, asked) = (free.clone(), Arc::new(AtomicU64::new(0)));
        let count = asked.clone();
        let probe: Probe = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            match free.load(Ordering::SeqCst) {
                0 => Err(std::io::Error::other("as the test says")),
                free => Ok(Size { free, all: 1_000 }),
            }
        });
        (Space::new(reserve, Some(probe)), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_kept_until_there_is_clearly_more() {
        let free = Arc::new(AtomicU64::new(60));
        let (space, _) = space(50, &free);
        for (now, is_low) in [(60, false), (50, false), (49, true), (54, true), (55, false), (10, true), (0, true)] {
            free.store(now, Ordering::SeqCst);
            tokio::time::advance(INTERVAL).await;
            space.look(0).await;
            assert_eq!(space.check().is_err(), is_low, "{now}");
        }
        assert_eq!(space.check(), Err(Bound::Disk { free: 10, reserve: 50 }));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_small_file_system_a_part_is_kept() {
        let free = Arc::new(AtomicU64::new(99));
        let (space, _) = space(1 << 30, &free);
        space.look(0).await;
        assert_eq!(space.check(), Err(Bound::Disk { free: 99, reserve: 100 }));
        free.store(500, Ordering::SeqCst);
        tokio::time::advance(INTERVAL).await;
        space.look(0).await;
        space.check().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_once_a_second_or_after_much_was_written() {
        let free = Arc::new(AtomicU64::new(500));
        let (space, asked) = space(80, &free);
        for (written, passes, times) in [(0, 0, 1), (9, 0, 1), (1, 0, 2), (1, 0, 2), (1, 1, 3)] {
            tokio::time::advance(INTERVAL * passes).await;
            space.look(written).await;
            assert_eq!(asked.load(Ordering::SeqCst), times);
        }
        let free = Space::new(0, space.probe.clone());
        free.look(MUCH).await;
        assert_eq!(asked.load(Ordering::SeqCst), 3, "nothing is kept, so nothing is asked");
    }

    #[cfg(all(feature = "sqlite", unix))]
    #[test]
    fn a_file_system_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let Size { free, all } = probe(dir.path().to_owned())().unwrap();
        assert!(free > 0 && free <= all, "{free} {all}");
        probe(dir.path().join("missing"))().unwrap_err();
    }
}
