//! The room that is left on the file system of the store. Some of it is kept for what has been accepted already: outcomes,
//! reports and attempts are still written when new requests are refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Bound;
use crate::names::metric;

/// How often the file system is asked, at most, unless much is written meanwhile.
const INTERVAL: Duration = Duration::from_secs(1);
/// Written since it was last asked before it is asked again, at the latest. What waits for the writer is bounded too; both together
/// are less than the usual reserve.
const MUCH: u64 = 16 << 20;
/// Of a small file system not more than this part is kept.
const LARGEST_PART: u64 = 10;

/// A file system's size, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// For this user.
    pub(crate) free: u64,
    pub(crate) all: u64,
}

/// Asks the file system. Called where it may block.
pub(crate) type Probe = Arc<dyn Fn() -> std::io::Result<Size> + Send + Sync>;

/// The file system that this path is on.
#[cfg(all(feature = "sqlite", unix))]
pub(crate) fn probe(path: std::path::PathBuf) -> Probe {
    Arc::new(move || {
        let size = rustix::fs::statvfs(&path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(size.f_frsize);
        Ok(Size { free: bytes(size.f_bavail), all: bytes(size.f_blocks) })
    })
}

pub(crate) struct Space {
    reserve: u64,
    /// `None`: there is nothing to be kept.
    probe: Option<Probe>,
    low: AtomicBool,
    /// As it was last found.
    free: AtomicU64,
    /// What is really kept, of a small file system less.
    kept: AtomicU64,
    refused: AtomicU64,
    since: Mutex<Since>,
}

#[derive(Default)]
struct Since {
    asked: Option<Instant>,
    written: u64,
    /// The last answer was an error, which was told.
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

    /// Whether a new request may be taken in.
    pub(crate) fn check(&self) -> Result<(), Bound> {
        let Some(bound) = self.bound() else { return Ok(()) };
        metrics::counter!(metric::REQUESTS_REFUSED, "reason" => bound.name()).increment(1);
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(bound)
    }

    /// What would keep a new request out.
    pub(super) fn bound(&self) -> Option<Bound> {
        let (free, reserve) = (self.free.load(Ordering::Relaxed), self.kept.load(Ordering::Relaxed));
        self.is_low().then_some(Bound::Disk { free, reserve })
    }

    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    /// Asks the file system, if it is time after so many bytes were written.
    pub(super) async fn look(&self, written: u64) {
        let Some(probe) = &self.probe else { return };
        {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            since.written = since.written.saturating_add(written);
            // Of a small file system little is kept, and it has to be noticed before that is used up.
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
            // Nothing is known, so nothing is refused: a store that cannot write says so by itself.
            tracing::warn!("the room on the file system of the store cannot be told: {error}");
        }
        since.failed = failed.is_some();
    }

    fn found(&self, size: Size) {
        let kept = self.reserve.min(size.all / LARGEST_PART);
        self.free.store(size.free, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "2^52 bytes fit on no disk")]
        metrics::gauge!(metric::STORE_FREE_BYTES).set(size.free as f64);
        // Not again at the first byte that is free: a purge or another program gives back more than that.
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

    /// A file system with this much free of 1,000.
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
