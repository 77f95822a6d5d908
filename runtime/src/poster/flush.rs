//! Knowing that reports are safe: flush, and the guard that does it at the end.

use std::fmt;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::{Mode, Poster, ambient};

/// How long a dropped [`PosterGuard`] waits at most.
pub(super) const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// For ending threads, out of a time that was given.
const JOINING: Duration = Duration::from_millis(200);

/// Where the reports of a poster stand after a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Delivered since the poster started.
    pub delivered: u64,
    /// On disk and not delivered yet: the next start goes on with them.
    pub stored: u64,
    /// Not delivered and not known to be on disk: lost if the process ends now.
    pub waiting: u64,
    /// Given up, refused, or never taken in.
    pub lost: u64,
    /// Dropped because reporting is turned off.
    pub discarded: u64,
    /// Whether the flush came to its end, so that the figures are of all reports posted before it.
    pub(super) known: bool,
}

impl Flushed {
    /// Whether the process may end without losing a report that was taken in before the flush. Not if the time was over
    /// before that was known.
    pub fn is_safe(&self) -> bool {
        self.known && self.waiting == 0
    }
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, stored, waiting, lost, discarded, known } = self;
        write!(f, "{delivered} delivered, {stored} stored for later, {waiting} waiting, {lost} lost")?;
        if *discarded > 0 {
            write!(f, ", {discarded} discarded: reporting is turned off")?;
        }
        if *known { Ok(()) } else { f.write_str(", and the flush did not come to its end") }
    }
}

impl Poster {
    /// Returns when every report posted before is safe: committed, if the store is durable, else tried once; or when the
    /// time is over.
    ///
    /// Works on any executor, as the waiting is done on the poster's own thread; [`flush_blocking`](Self::flush_blocking)
    /// needs none.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the waiting, nothing else.
    pub async fn flush(&self, timeout: Duration) -> Flushed {
        self.flusher().flush(timeout).await.unwrap_or_default()
    }

    /// [`flush`](Self::flush), blocking the thread. Not to be called in async code.
    pub fn flush_blocking(&self, timeout: Duration) -> Flushed {
        wait_blocking(self.flusher().flush(timeout), timeout.saturating_add(JOINING)).unwrap_or_default()
    }
}

/// Flushes the poster of the process: the one that was installed, the one that started by itself, or the workload server's.
///
/// As [`Poster::flush`]. With none, there is nothing to flush, and the answer is that all is safe.
///
/// # Cancel safety
///
/// Dropping it ends the waiting, nothing else.
pub async fn flush(timeout: Duration) -> Flushed {
    match ambient::flusher() {
        Some(flusher) => flusher.flush(timeout).await.unwrap_or_default(),
        None => Flushed { known: true, ..Flushed::default() },
    }
}

/// Keeps a poster running; made by [`PosterBuilder::install`](super::PosterBuilder::install). Hold it until the end of `main`.
///
/// Dropped, it flushes and stops for at most 2 seconds and logs what was left. On a current-thread runtime, whose only
/// thread it would block, it does not wait; the poster stops behind it, unless the process ends first.
#[must_use = "dropped, it stops the poster; bind it to a name until the end of `main`"]
pub struct PosterGuard {
    /// Taken by the stop.
    poster: Option<Poster>,
}

impl PosterGuard {
    pub(super) fn new(poster: Poster) -> Self {
        Self { poster: Some(poster) }
    }

    /// The poster that this guards, for posting and flushing by hand.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use postback::{Poster, Report};
    ///
    /// let guard = Poster::builder().install()?;
    /// let poster = guard.poster();
    /// poster.post("https://example.com/hooks", &Report::failed("job-7"))?;
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "only the stop takes it, and consumes the guard"
    )]
    pub fn poster(&self) -> Poster {
        self.poster.clone().expect("a guard has its poster until it is consumed")
    }

    /// Flushes, stops the poster and joins its thread, in at most this time. Reports posted later are counted as lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the poster stops all the same, on its own thread.
    pub async fn shutdown(mut self, timeout: Duration) -> Flushed {
        let Some(poster) = self.poster.take() else { return Flushed::default() };
        match stop(poster, timeout) {
            Stop::Awaited(stopped) => {
                let flushed = stopped.await.unwrap_or_default();
                tell(flushed);
                flushed
            }
            Stop::Nothing(flushed) => flushed,
        }
    }
}

impl Drop for PosterGuard {
    fn drop(&mut self) {
        let Some(poster) = self.poster.take() else { return };
        let Stop::Awaited(stopped) = stop(poster, DROP_TIMEOUT.saturating_sub(JOINING)) else { return };
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        if matches!(flavor, Ok(RuntimeFlavor::CurrentThread)) {
            tracing::warn!(
                "the poster's guard was dropped on a current-thread runtime, so nobody waits for its reports; \
                 call `guard.shutdown(timeout).await`"
            );
        } else if let Some(flushed) = wait_blocking(stopped, DROP_TIMEOUT) {
            tell(flushed);
        } else {
            tracing::warn!("the poster could not be stopped in {} s", DROP_TIMEOUT.as_secs());
        }
    }
}

enum Stop {
    Awaited(oneshot::Receiver<Flushed>),
    /// There is nothing to stop.
    Nothing(Flushed),
}

fn stop(poster: Poster, timeout: Duration) -> Stop {
    match &poster.0 {
        Mode::Active { engine, .. } if engine.is_forked() => {
            // The store is another process's: to close its files here would let go of that one's locks.
            std::mem::forget(poster);
            Stop::Nothing(Flushed::default())
        }
        Mode::Active { engine, .. } => Stop::Awaited(engine.stop(timeout)),
        Mode::Disabled(disabled) => Stop::Nothing(disabled.flushed()),
    }
}

impl fmt::Debug for PosterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PosterGuard")
    }
}

fn tell(flushed: Flushed) {
    if !flushed.is_safe() {
        tracing::warn!("the poster stopped before every report was safe: {flushed}");
    } else if flushed.stored > 0 {
        tracing::info!("the poster stopped: {flushed}");
    }
}

/// Waits for what a background thread answers, on a thread of its own: the caller's may be inside a runtime, where blocking
/// on a tokio channel panics.
fn wait_blocking(answer: oneshot::Receiver<Flushed>, timeout: Duration) -> Option<Flushed> {
    let (given, taken) = std::sync::mpsc::sync_channel(1);
    let waiter = move || {
        // Nobody takes it after the timeout.
        let _ = given.send(answer.blocking_recv().ok());
    };
    std::thread::Builder::new().name("postback-flush".into()).spawn(waiter).ok()?;
    taken.recv_timeout(timeout).ok().flatten()
}
