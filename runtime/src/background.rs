//! A runtime on separate threads, for work that must continue while the user's threads are busy.

use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// A tokio runtime on separate threads. Dropping this value does not block, because the runtime ends in the background.
/// A plain tokio runtime is different: if it is dropped, the drop waits without limit for all work on the runtime. If
/// it is dropped inside another runtime, the drop panics.
pub(crate) struct Background(Option<Runtime>);

impl Background {
    /// Starts a runtime whose threads have the name `name`. The runtime has at least one thread, even if `threads` is
    /// 0.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build();
        runtime.map(|runtime| Self(Some(runtime)))
    }
}

impl Background {
    /// Ends the runtime, and waits at most `timeout` for its tasks. Do not call this method inside a runtime.
    pub(crate) fn join(mut self, timeout: std::time::Duration) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(timeout);
        }
    }
}

impl Deref for Background {
    type Target = Runtime;

    #[expect(clippy::expect_used, reason = "only `join` and the drop take the runtime, and both consume the value")]
    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is there until the drop")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_threads_have_its_name_and_it_has_one_at_least() {
        let background = Background::start("postback-x", 0).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let shutdown = postback_store::shutdown::Shutdown::new();
        let task = async move { sender.send(std::thread::current().name().map(str::to_owned)).unwrap() };
        drop(shutdown.spawn_on(task, background.handle()));
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("postback-x"));
    }

    #[tokio::test]
    async fn it_can_be_dropped_inside_another_runtime_and_with_work_on_it() {
        let background = Background::start("postback-x", 1).unwrap();
        let (started, starts) = tokio::sync::oneshot::channel();
        drop(background.spawn_blocking(move || {
            started.send(()).unwrap();
            std::thread::park();
        }));
        starts.await.unwrap();
        drop(background);
    }
}
