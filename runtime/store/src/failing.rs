//! A backend that fails while a test says so. What happens then is what happens if a disk or a database is gone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, ready};

use crate::backend::{Applied, Backend, Cause, Failure};
use crate::clock::Now;
use crate::error::Error;
use crate::ops::Op;
use crate::options::{Location, Options};
use crate::{Store, memory};
use postback_wire::time::Clock;

/// Says when the store of a test fails. All clones are about the same store.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    writes: AtomicBool,
    reads: AtomicBool,
}

/// The cause of a failure that a test has asked for.
#[derive(Debug, thiserror::Error)]
#[error("the test lets the store fail")]
struct AsTheTestSays;

impl Faults {
    /// Lets all writes fail from now on, or succeed again.
    pub fn fail_writes(&self, fail: bool) {
        self.0.writes.store(fail, Ordering::Release);
    }

    /// Lets all reads fail from now on, or succeed again.
    pub fn fail_reads(&self, fail: bool) {
        self.0.reads.store(fail, Ordering::Release);
    }

    /// Fails if reads fail now.
    pub(crate) fn check_read(&self) -> Result<(), Error> {
        if self.0.reads.load(Ordering::Acquire) { Err(Error::Backend(Arc::new(AsTheTestSays))) } else { Ok(()) }
    }

    fn of_write(&self) -> Option<Cause> {
        self.0.writes.load(Ordering::Acquire).then(|| Arc::new(AsTheTestSays) as Cause)
    }
}

impl Store {
    /// Opens a store in memory that fails while `faults` say so. It may hold this number of reports and of requests, of
    /// this many bytes.
    pub fn open_failing(rows: usize, bytes: usize, clock: Clock, faults: &Faults) -> Self {
        let (mut opened, quotas) = memory::open(rows, bytes, rows);
        opened.backend = Box::new(Failing { inner: opened.backend, faults: faults.clone() });
        let options = Options::at(Location::Memory { reports: rows, bytes, kept: rows });
        let mut store = Self::start(opened, &options, Some(quotas), None, clock);
        // Nobody else has the new store yet.
        if let Some(inner) = Arc::get_mut(&mut store.0) {
            inner.faults = faults.clone();
        }
        store
    }
}

/// A backend whose writes fail while the faults say so.
struct Failing {
    inner: Box<dyn Backend>,
    faults: Faults,
}

impl Backend for Failing {
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied> {
        match self.faults.of_write() {
            Some(cause) => Box::pin(ready((ops, Err(Failure::Transient(cause))))),
            None => self.inner.apply(ops, now),
        }
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        self.inner.committed()
    }

    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>> {
        match self.faults.of_write() {
            Some(cause) => Box::pin(ready(Err(cause))),
            None => self.inner.try_to_write(bytes),
        }
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        self.inner.tidy()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
