//! Stopping: one signal down, one count back up.
//!
//! Invariant: every task of a component is spawned here, so that [`Shutdown::finished`] means that none is left.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::watch;
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

/// Tasks that have to go on until their component is told to stop: the first of them that ends before. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vital(watch::Sender<Option<&'static str>>);

impl Vital {
    /// The task, told of when it ends early, be it by a panic. `name` is what the log calls it.
    pub(crate) fn watching<F>(
        &self,
        name: &'static str,
        shutdown: &Shutdown,
        task: F,
    ) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        let end = Early { name, vital: self.clone(), shutdown: shutdown.clone(), returned: false };
        async move {
            // As a whole: else its field alone would be moved in.
            let mut end = end;
            task.await;
            end.returned = true;
        }
    }

    /// Returns when one has ended early: its name.
    #[cfg_attr(not(any(feature = "server", test)), expect(dead_code, reason = "a library cannot end the process"))]
    pub(crate) async fn ended(&self) -> &'static str {
        match self.0.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(name)) => name,
            // Never, since the sender is here.
            _ => std::future::pending().await,
        }
    }
}

struct Early {
    name: &'static str,
    vital: Vital,
    shutdown: Shutdown,
    returned: bool,
}

impl Drop for Early {
    fn drop(&mut self) {
        // Dropped half-way without a panic: its runtime is going away, and with it everything else.
        if self.shutdown.is_stopping() || !(self.returned || std::thread::panicking()) {
            return;
        }
        let (name, how) = (self.name, if self.returned { "ended" } else { "panicked" });
        tracing::error!("the {name} {how}, and goes on only when the program is started again");
        self.vital.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(name);
            is_first
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_is_told_of() {
        let (vital, shutdown) = (Vital::default(), Shutdown::new());
        shutdown.spawn(vital.watching("worker", &shutdown, async { panic!("as the test says") })).await.unwrap_err();
        assert_eq!(vital.ended().await, "worker");
        // The first is the cause, and what follows is not.
        shutdown.spawn(vital.watching("server", &shutdown, async {})).await.unwrap();
        assert_eq!(vital.ended().await, "worker");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_it_should_is_not() {
        let (vital, shutdown) = (Vital::default(), Shutdown::new());
        let told = shutdown.clone();
        let task = shutdown.spawn(vital.watching("worker", &shutdown, async move { told.stopping().await }));
        // One whose runtime goes away.
        drop(vital.watching("server", &shutdown, std::future::pending()));
        shutdown.stop();
        task.await.unwrap();
        assert!(vital.ended().now_or_never().is_none());
    }
}
