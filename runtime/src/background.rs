//! Threads for what must go on while the user's are busy.

use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// A runtime on threads of its own. Dropped, it ends behind the caller: a plain runtime waits for whatever still runs on
/// it, without limit, and panics where it is dropped inside another.
pub(crate) struct Background(Option<Runtime>);

impl Background {
    /// Threads that bear this name, at least one.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build();
        runtime.map(|runtime| Self(Some(runtime)))
    }
}

impl Background {
    /// Ends it here and now, waiting at most this long. Not to be called inside a runtime.
    pub(crate) fn join(mut self, timeout: std::time::Duration) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(timeout);
        }
    }
}

impl Deref for Background {
    type Target = Runtime;

    #[expect(clippy::expect_used, reason = "taken by the drop alone")]
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
    fn its_threads_bear_its_name_and_it_has_one_at_least() {
        let background = Background::start("postback-x", 0).unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let shutdown = crate::shutdown::Shutdown::new();
        let task = async move { tell.send(std::thread::current().name().map(str::to_owned)).unwrap() };
        drop(shutdown.spawn_on(task, background.handle()));
        assert_eq!(told.recv().unwrap().as_deref(), Some("postback-x"));
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
