//! Waits until reports are safe. Contains `flush`, and the guard that flushes and stops a poster at the end of a
//! program.

use std::fmt;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::flushed::Flushed;
use super::{Mode, Poster, process};

/// The longest time that the drop of a [`PosterGuard`] waits.
pub(super) const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// The part of the timeout that is reserved for the end of the threads.
const JOINING: Duration = Duration::from_millis(200);

impl Poster {
    /// Waits until every report that was posted before this call is safe, or until the timeout ends. In a durable
    /// store, a report is safe when it is committed. In an in-memory store, a report is safe when it was attempted
    /// once.
    ///
    /// This method works on any executor, because the poster's own threads do the waiting. If you have no executor,
    /// call [`flush_blocking`](Self::flush_blocking).
    ///
    /// # Cancel safety
    ///
    /// You can drop the future at any time. The poster continues to store and deliver the reports.
    pub async fn flush(&self, timeout: Duration) -> Flushed {
        self.flusher().flush(timeout).await.unwrap_or_default()
    }

    /// Does the same as [`flush`](Self::flush), but blocks the current thread while this method waits. Do not call this
    /// method in async code.
    pub fn flush_blocking(&self, timeout: Duration) -> Flushed {
        wait_blocking(self.flusher().flush(timeout), timeout.saturating_add(JOINING)).unwrap_or_default()
    }
}

/// Waits, like [`Poster::flush`], until the reports of the process's poster are safe: committed in a durable store, or
/// attempted once in an in-memory store. The process's poster is the installed poster, the poster that started by
/// itself, or the poster of the workload server.
///
/// If the process has no poster, there is nothing to flush, and the returned value says that all reports are safe.
///
/// # Cancel safety
///
/// You can drop the future at any time. The poster continues to store and deliver the reports.
pub async fn flush(timeout: Duration) -> Flushed {
    match process::flusher() {
        Some(flusher) => flusher.flush(timeout).await.unwrap_or_default(),
        None => Flushed { known: true, ..Flushed::default() },
    }
}

/// A guard that keeps a poster running. [`PosterBuilder::install`](super::PosterBuilder::install) and
/// [`PosterBuilder::start`](super::PosterBuilder::start) return a guard. Keep the guard until the end of `main`.
///
/// The drop of the guard flushes and stops the poster, takes at most 2 seconds, and logs how many reports were not
/// delivered. On a current-thread runtime, the drop does not wait, because waiting would block the only thread. In this
/// case, the poster stops in the background, unless the process ends earlier.
#[must_use = "dropped, it stops the poster; bind it to a name until the end of `main`"]
pub struct PosterGuard {
    /// The poster that the guard keeps running. `None` after the poster has begun to stop.
    poster: Option<Poster>,
}

impl PosterGuard {
    pub(super) fn new(poster: Poster) -> Self {
        Self { poster: Some(poster) }
    }

    /// Returns the poster that this guard keeps running, so that you can post and flush yourself.
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

    /// Flushes, stops the poster and joins its threads. The shutdown takes at most as long as `timeout`. A report that
    /// is posted after the shutdown is refused and counted as lost.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future, the poster still stops, because a separate thread stops it.
    pub async fn shutdown(mut self, timeout: Duration) -> Flushed {
        let Some(poster) = self.poster.take() else { return Flushed::default() };
        match stop(poster, timeout) {
            Stop::Awaited(stopped) => {
                let flushed = stopped.await.unwrap_or_default();
                log_stop(flushed);
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
                "the poster's guard was dropped on a current-thread runtime, so nothing waits until its reports are safe; \
                 call `guard.shutdown(timeout).await` before the end of main"
            );
        } else if let Some(flushed) = wait_blocking(stopped, DROP_TIMEOUT) {
            log_stop(flushed);
        } else {
            tracing::warn!(
                "the poster did not stop within {} s; call `guard.shutdown(timeout).await` to give it more time",
                DROP_TIMEOUT.as_secs()
            );
        }
    }
}

enum Stop {
    Awaited(oneshot::Receiver<Flushed>),
    /// The poster has no threads that must be stopped. The value is the result of its flush.
    Nothing(Flushed),
}

fn stop(poster: Poster, timeout: Duration) -> Stop {
    match &poster.0 {
        Mode::Active { engine: Some(engine), .. } if engine.is_forked() => {
            // `forget` prevents the drop of the poster, because the drop would close the files of the store. In a
            // forked process, this would release the locks of the parent process on these files.
            std::mem::forget(poster);
            Stop::Nothing(Flushed::default())
        }
        Mode::Active { engine: Some(engine), .. } => Stop::Awaited(engine.stop(timeout)),
        // A guard is made with the threads of its poster.
        Mode::Active { engine: None, .. } => Stop::Nothing(Flushed::default()),
        Mode::Disabled(disabled) => Stop::Nothing(disabled.flushed()),
    }
}

impl fmt::Debug for PosterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PosterGuard")
    }
}

fn log_stop(flushed: Flushed) {
    if !flushed.is_safe() {
        tracing::warn!("the poster stopped before every report was safe: {flushed}");
    } else if flushed.stored > 0 {
        tracing::info!("the poster stopped: {flushed}");
    }
}

/// Blocks the current thread until a background thread sends the result, or until the timeout ends. A separate thread
/// reads the channel, because a blocking read of a tokio channel panics inside a runtime, and the caller may be inside
/// a runtime.
fn wait_blocking(answer: oneshot::Receiver<Flushed>, timeout: Duration) -> Option<Flushed> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let waiter = move || {
        // `send` fails if the timeout has ended, because the receiver of this channel is then dropped. This error is
        // ignored.
        let _ = sender.send(answer.blocking_recv().ok());
    };
    std::thread::Builder::new().name("postback-flush".into()).spawn(waiter).ok()?;
    receiver.recv_timeout(timeout).ok().flatten()
}
