//! Stopping: one signal down, one count back up.
//!
//! Invariant: every task of a component is spawned here, so that [`Shutdown::finished`] means that none is left.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stop signal of one component and the tasks that it still has. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Tells everybody to come to an end. Telling twice is the same as once.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when [`stop`](Self::stop) has been called, at once if it was before.
    pub(crate) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Spawns on the current runtime a task that [`finished`](Self::finished) waits for.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// The same on a given runtime.
    pub(crate) fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn_on(task, runtime)
    }

    /// Returns when no task is left. Does not tell anybody to stop.
    pub(crate) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
