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

/// The stop signal of one component, and the component's running tasks. A clone is cheap, and all clones share the
/// signal and the tasks.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all tasks to end. A second call changes nothing.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when [`stop`](Self::stop) is called, or immediately if it was called before.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Spawns a task on the current runtime. [`finished`](Self::finished) waits for the task.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Spawns a task on the given runtime. [`finished`](Self::finished) waits for the task.
    pub fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn_on(task, runtime)
    }

    /// Returns when no task runs any more. Does not tell the tasks to end.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Watches tasks that must run until their component stops, and remembers the first task that ended too early. A clone
/// is cheap, and all clones remember the same task.
#[derive(Clone, Debug, Default)]
pub struct Vital(watch::Sender<Option<&'static str>>);

impl Vital {
    /// Wraps a task, so that an early end of the task is logged and remembered. A panic counts as an early end. `name`
    /// is the name of the task in log lines.
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
            // This line moves the whole value `end` into the future. Without it, only the field `returned` would move.
            let mut end = end;
            task.await;
            end.returned = true;
        }
    }

    /// Waits until one of the watched tasks ends too early, and returns the task's name. If several do, it returns the
    /// first.
    pub async fn ended(&self) -> &'static str {
        match self.0.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(name)) => name,
            // This cannot happen, because the channel stays open while `self` holds its sender.
            _ => std::future::pending().await,
        }
    }
}

/// A guard inside a watched task. When the guard is dropped and the task has ended early, the guard reports the task.
struct Early {
    name: &'static str,
    vital: Vital,
    shutdown: Shutdown,
    returned: bool,
}

impl Drop for Early {
    fn drop(&mut self) {
        // If the task is dropped before its end without a panic, its runtime is shutting down and drops every task.
        // That is not an early end.
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
        // The first early end is the cause. The second early end is a consequence, so it is not reported.
        shutdown.spawn(vital.watching("server", &shutdown, async {})).await.unwrap();
        assert_eq!(vital.ended().await, "worker");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_it_should_is_not_reported() {
        let (vital, shutdown) = (Vital::default(), Shutdown::new());
        let signal = shutdown.clone();
        let task = shutdown.spawn(vital.watching("worker", &shutdown, async move { signal.stopping().await }));
        // This task is dropped before its end, as happens when its runtime shuts down.
        drop(vital.watching("server", &shutdown, std::future::pending()));
        shutdown.stop();
        task.await.unwrap();
        assert!(vital.ended().now_or_never().is_none());
    }
}
