//! A backend that wraps another backend, and fails or waits as a test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::backend::{Applied, Backend, Cause, Failure};
use crate::clock::Now;
use crate::ops::Op;

/// The way in which a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The backend does not write the batch, and returns an error after which the writer tries the batch again.
    Transient,
    /// The backend writes the batch, but returns an error that does not say whether the batch was written.
    UnknownWritten,
    /// The backend does not write the batch, and returns an error that does not say whether the batch was written.
    UnknownLost,
    /// Another process has taken over the store, so the backend never writes again.
    TakenOver,
}

type Bad = fn(&Op) -> bool;

/// The test's instructions to a faulty backend, and counts of what the backend has done.
pub(super) struct Faults {
    /// The faults of the next batches, in order. Each batch removes the first fault from this list.
    script: Mutex<VecDeque<Fault>>,
    /// If true, the commit of every batch fails.
    down: AtomicBool,
    /// If true, the backend panics at the next batch.
    panics: AtomicBool,
    /// A function that returns whether an operation is bad. The backend can never apply a batch that contains a bad
    /// operation.
    bad: Mutex<Option<Bad>>,
    /// If true, each batch waits for a permit of `gate` before it is applied.
    held: AtomicBool,
    /// If true, each batch waits for a permit of `gate` after it is applied.
    held_after: AtomicBool,
    gate: Semaphore,
    /// Gets one permit each time a batch begins to wait for a permit of `gate`, so that a test can wait for this.
    came: Semaphore,
    /// The number of operations in each batch that was applied, in the order of the batches.
    sizes: Mutex<Vec<usize>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            script: Mutex::default(),
            down: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            bad: Mutex::default(),
            held: AtomicBool::new(false),
            held_after: AtomicBool::new(false),
            gate: Semaphore::new(0),
            came: Semaphore::new(0),
            sizes: Mutex::default(),
        }
    }
}

impl Faults {
    pub(super) fn next(&self, fault: Fault) {
        self.script.lock().unwrap().push_back(fault);
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Makes the backend panic at the next batch. The panic ends the writer.
    pub(super) fn panic(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    pub(super) fn refuse(&self, bad: Bad) {
        *self.bad.lock().unwrap() = Some(bad);
    }

    /// Makes every batch wait before it is applied, until the test calls [`Faults::release`].
    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Makes every batch wait after it is committed and before the callers get their answers, until the test calls
    /// [`Faults::release`].
    pub(super) fn hold_after(&self) {
        self.held_after.store(true, Ordering::SeqCst);
    }

    /// Waits until a batch waits because of `hold` or `hold_after`.
    pub(super) async fn held(&self) {
        self.came.acquire().await.unwrap().forget();
    }

    /// Ends the wait of the current batch. Later batches do not wait.
    pub(super) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.held_after.store(false, Ordering::SeqCst);
        self.gate.add_permits(1);
    }

    pub(super) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }
}

pub(super) struct Faulty {
    inner: Box<dyn Backend>,
    faults: Arc<Faults>,
    /// Whether the backend has written the last batch that had an unknown outcome. The method `committed` returns this
    /// value.
    written: bool,
}

impl Faulty {
    pub(super) fn new(inner: Box<dyn Backend>, faults: Arc<Faults>) -> Self {
        Self { inner, faults, written: false }
    }
}

fn cause() -> Cause {
    Arc::new(std::io::Error::other("as the test says"))
}

impl Backend for Faulty {
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied> {
        async move {
            if self.faults.held.load(Ordering::SeqCst) {
                self.faults.came.add_permits(1);
                self.faults.gate.acquire().await.unwrap().forget();
            }
            assert!(!self.faults.panics.load(Ordering::SeqCst), "as the test says");
            if self.faults.down.load(Ordering::SeqCst) {
                return (ops, Err(Failure::Transient(cause())));
            }
            let bad = *self.faults.bad.lock().unwrap();
            if bad.is_some_and(|bad| ops.iter().any(bad)) {
                return (ops, Err(Failure::Permanent(cause())));
            }
            let fault = self.faults.script.lock().unwrap().pop_front();
            match fault {
                Some(Fault::Transient) => return (ops, Err(Failure::Transient(cause()))),
                Some(Fault::TakenOver) => return (ops, Err(Failure::Lost(cause()))),
                Some(Fault::UnknownLost) => {
                    self.written = false;
                    return (ops, Err(Failure::Unknown { replies: Vec::new(), cause: cause() }));
                }
                Some(Fault::UnknownWritten) | None => {}
            }
            let (ops, applied) = self.inner.apply(ops, now).await;
            let Ok(replies) = applied else { return (ops, applied) };
            self.faults.sizes.lock().unwrap().push(ops.len());
            if self.faults.held_after.load(Ordering::SeqCst) {
                self.faults.came.add_permits(1);
                self.faults.gate.acquire().await.unwrap().forget();
            }
            if fault.is_some() {
                self.written = true;
                return (ops, Err(Failure::Unknown { replies, cause: cause() }));
            }
            (ops, Ok(replies))
        }
        .boxed()
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        async { Ok(self.written) }.boxed()
    }

    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>> {
        if self.faults.down.load(Ordering::SeqCst) {
            return async { Err(cause()) }.boxed();
        }
        self.inner.try_to_write(bytes)
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        self.inner.tidy()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
