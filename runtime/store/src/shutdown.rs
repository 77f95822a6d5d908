//! How a component stops: [`Shutdown::stop`] signals its tasks, and [`Shutdown::finished`] waits until they have ended.
//!
//! Invariant: every task of a component is spawned through its [`Shutdown`], so that [`Shutdown::finished`] means that
//! no task is left.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Stops one component: holds the stop signal of the component and a list of its running tasks. A clone is cheap, and
/// all clones share the signal and the list.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all tasks to end. A second call has no effect.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until [`stop`](Self::stop) is called. Returns immediately if `stop` was called before.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Spawns a task on the current Tokio runtime. [`finished`](Self::finished) waits until the task has ended.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Spawns a task on the given Tokio runtime. [`finished`](Self::finished) waits until the task has ended.
    pub fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn_on(task, runtime)
    }

    /// Waits until no task runs any more. Does not tell the tasks to end.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Watches tasks that must run until their component stops, and records the first task that ended too early. A clone is
/// cheap, and all clones share the record.
#[derive(Clone, Debug, Default)]
pub struct Vital(watch::Sender<Option<&'static str>>);

impl Vital {
    /// Wraps a task, so that the end of the task is logged and recorded if the task ends too early. A panic counts as
    /// an early end. `name` is the name of the task in log lines.
    pub fn watching<F>(
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
            // This line moves the whole value `end` into the future. Without this line, only the field `returned` would
            // be moved.
            let mut end = end;
            task.await;
            end.returned = true;
        }
    }

    /// Waits until one of the watched tasks has ended too early, and returns the name of that task. If several tasks
    /// have ended too early, returns the name of the first.
    pub async fn ended(&self) -> &'static str {
        let first = self.0.subscribe().wait_for(Option::is_some).await.ok().and_then(|name| *name);
        match first {
            Some(name) => name,
            // This branch cannot be reached, because the channel stays open while `self` holds the sender.
            None => std::future::pending().await,
        }
    }
}

/// A guard inside a watched task. If the guard is dropped and the task has ended too early, the guard logs and records
/// the name of the task.
struct Early {
    name: &'static str,
    vital: Vital,
    shutdown: Shutdown,
    returned: bool,
}

impl Drop for Early {
    fn drop(&mut self) {
        // If the task is dropped before its end and without a panic, its Tokio runtime is shutting down and drops every
        // task. Such a drop is not an early end.
        if self.shutdown.is_stopping() || !(self.returned || std::thread::panicking()) {
            return;
        }
        let (name, how) = (self.name, if self.returned { "ended" } else { "panicked" });
        tracing::error!("the {name} {how} unexpectedly; restart the program to start the {name} again");
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
    async fn a_task_that_ends_early_is_reported() {
        let (vital, shutdown) = (Vital::default(), Shutdown::new());
        shutdown.spawn(vital.watching("worker", &shutdown, async { panic!("as the test says") })).await.unwrap_err();
        assert_eq!(vital.ended().await, "worker");
        // Only the first early end is recorded, because the second early end is a consequence of the first.
        shutdown.spawn(vital.watching("server", &shutdown, async {})).await.unwrap();
        assert_eq!(vital.ended().await, "worker");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_it_should_is_not_reported() {
        let (vital, shutdown) = (Vital::default(), Shutdown::new());
        let signal = shutdown.clone();
        let task = shutdown.spawn(vital.watching("worker", &shutdown, async move { signal.stopping().await }));
        // This task is dropped before its end, as if its Tokio runtime shut down.
        drop(vital.watching("server", &shutdown, std::future::pending()));
        shutdown.stop();
        task.await.unwrap();
        assert!(vital.ended().now_or_never().is_none());
    }
}
