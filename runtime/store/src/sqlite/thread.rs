//! A thread that owns a value. Other threads send it jobs, which it does one after the other.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

type Job<T> = Box<dyn FnOnce(&mut Option<T>) + Send>;

/// A value that lives on a thread of its own, because using the value blocks. When this handle is dropped, the thread
/// ends the job that it is doing, drops the value, and ends.
pub(super) struct OnThread<T> {
    jobs: Option<SyncSender<Job<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> OnThread<T> {
    /// Starts a thread with this name, and makes the value there. Also returns what `make` returns beside the value.
    pub(super) async fn start<R: Send + 'static, E: Send + 'static>(
        name: &str,
        make: impl FnOnce() -> Result<(T, R), E> + Send + 'static,
    ) -> std::io::Result<Result<(Self, R), E>> {
        let (jobs, received) = sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&received))?;
        let mut this = Self { jobs: Some(jobs), thread: Some(thread) };
        let beside = this.run(|value| {
            let (new, beside) = make()?;
            *value = Some(new);
            Ok(beside)
        });
        let beside = beside.await;
        Ok(beside.map(|beside| (this, beside)))
    }

    /// Does a job on the thread, and returns what it returns. The value is `None` only after a job has taken it. A panic
    /// of the job goes on here.
    pub(super) async fn run<R: Send + 'static>(&mut self, job: impl FnOnce(&mut Option<T>) -> R + Send + 'static) -> R {
        let (done, result) = oneshot::channel();
        let job: Job<T> = Box::new(move |value| drop(done.send(job(value))));
        // There is one job at a time, because `run` borrows the handle until its job is done. So the channel has space,
        // except if an earlier call was dropped: then this call waits for that job.
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        match result.await {
            Ok(result) if sent => result,
            _ => self.panicked(),
        }
    }

    /// Continues the panic of the thread.
    fn panicked(&mut self) -> ! {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        // Invariant: the thread ends only after `jobs` is dropped, or by a panic.
        std::panic::resume_unwind(ended.and_then(Result::err).unwrap_or_else(|| Box::new("the thread has ended")))
    }
}

fn work<T>(jobs: &Receiver<Job<T>>) {
    let mut value = None;
    while let Ok(job) = jobs.recv() {
        job(&mut value);
    }
}

impl<T> Drop for OnThread<T> {
    /// Waits until the value is dropped, so that the next owner of a database does not find its lock taken.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The thread has only panicked if its last job has. Then the caller of that job knows.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt as _;

    use super::*;

    async fn counter() -> OnThread<u32> {
        OnThread::start("counter", || Ok::<_, ()>((1, ()))).await.unwrap().unwrap().0
    }

    #[tokio::test]
    async fn jobs_are_done_in_order_and_answered() {
        let mut counter = counter().await;
        for n in 2..10 {
            assert_eq!(counter.run(|value| value.as_mut().map(|value| (*value += 1, *value).1)).await, Some(n));
        }
        assert_eq!(counter.run(Option::take).await, Some(9));
        assert_eq!(counter.run(Option::take).await, None);
    }

    #[tokio::test]
    async fn a_job_whose_caller_went_away_is_done() {
        let mut counter = counter().await;
        let _ = counter.run(|value| *value = Some(7)).now_or_never();
        assert_eq!(counter.run(Option::take).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_of_the_job() {
        let mut counter = counter().await;
        let panicked = AssertUnwindSafe(counter.run(|_| panic!("as the test says"))).catch_unwind().await;
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"as the test says"));
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_made_leaves_no_thread() {
        let failed = OnThread::<u32>::start("counter", || Err::<(u32, ()), _>("no")).await.unwrap();
        assert_eq!(failed.err(), Some("no"));
    }
}
