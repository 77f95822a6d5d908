//! The sink of the whole process. A sink takes the outcomes of annotated calls. The process installs it once.

use std::sync::{Arc, PoisonError, RwLock};

use super::Poster;
use super::call::Sink;
use super::engine::Flusher;
use super::fork_guard::ForkGuard;

/// The sink, which receives the outcomes of annotated function calls, and the flusher, which waits until their reports
/// are stored. Both are installed for the process.
#[derive(Clone)]
pub(super) struct Installed {
    sink: Arc<dyn Sink>,
    /// The flusher, which waits until all reports of the process's poster are safe: committed in a durable store, or
    /// attempted once in an in-memory store. `None` if the process has no poster.
    flusher: Option<Flusher>,
    /// The poster. `None` if the process has none, because the default poster could not be started.
    poster: Option<Poster>,
    /// The id of the process that installed this sink. A forked process, which has another id, may install another
    /// sink.
    fork_guard: ForkGuard,
}

impl Installed {
    /// The poster is kept without its hold on its threads, which end when the program drops its guard.
    pub(super) fn of(poster: &Poster) -> Self {
        let (sink, flusher) = (poster.sink(), Some(poster.flusher()));
        Self { sink, flusher, poster: Some(poster.without_hold()), fork_guard: ForkGuard::here() }
    }

    /// Makes what a process without a poster has.
    pub(super) fn none(sink: Arc<dyn Sink>) -> Self {
        Self { sink, flusher: None, poster: None, fork_guard: ForkGuard::here() }
    }
}

static PROCESS: RwLock<Option<Installed>> = RwLock::new(None);

/// The error that the process has a sink already. The earlier sink was installed by the program, or it was started by
/// the first report.
pub(crate) struct AlreadyInstalled;

/// Installs the poster, whose sink receives the outcomes of annotated function calls, for the whole process. It stays
/// until the process ends.
pub(crate) fn install(poster: &Poster) -> Result<(), AlreadyInstalled> {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    if process.as_ref().is_some_and(|installed| !installed.fork_guard.is_forked()) {
        return Err(AlreadyInstalled);
    }
    let of_parent = process.replace(Installed::of(poster));
    // `forget` prevents the drop of the parent process's sink, because the drop would close the files of the store. In
    // a forked process, this would release the locks of the parent process on these files.
    std::mem::forget(of_parent);
    Ok(())
}

/// Removes the poster of this process, so that the process can install another one.
#[cfg(feature = "server")]
pub(crate) fn uninstall() {
    let of_node = PROCESS.write().unwrap_or_else(PoisonError::into_inner).take();
    drop(of_node);
}

/// Whether this process has a sink, which receives the outcomes of annotated function calls. The sink was installed by
/// the program, or it was started by the first report.
pub(super) fn is_installed() -> bool {
    let process = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    process.as_ref().is_some_and(|installed| !installed.fork_guard.is_forked())
}

pub(super) fn sink() -> Option<Arc<dyn Sink>> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|installed| Arc::clone(&installed.sink))
}

/// Returns the sink of the process, which receives the outcomes of annotated function calls. If the process has no
/// sink, calls `start` and installs the returned sink. The lock is held while `start` runs, so that only one sink is
/// started.
pub(super) fn sink_or_start(start: impl FnOnce() -> Installed) -> Arc<dyn Sink> {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&process.get_or_insert_with(start).sink)
}

/// Returns the poster of the process. Returns `None` if the process has no poster.
pub(super) fn poster() -> Option<Poster> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|installed| installed.poster.clone())
}

/// Returns the flusher of the process's poster. Returns `None` if the process has no poster.
pub(super) fn flusher() -> Option<Flusher> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|installed| installed.flusher.clone())
}
