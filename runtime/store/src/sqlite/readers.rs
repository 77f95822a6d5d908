//! The connections that read. A read blocks, so each connection is on a thread of its own.
//!
//! The threads are always the same few: SQLite takes much memory for a large row, and the allocator keeps memory for
//! each thread that has used it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Error};
use tokio::sync::{Semaphore, oneshot};

use super::connect::{BUSY, Connector, READERS};
use crate::backend::Cause;

/// A read. It gets the connection of its thread, which is `None` until the first read of the thread has opened it.
type Job = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

/// The connections that read. They and their threads are made when they are needed.
#[derive(Clone)]
pub(super) struct Readers(Arc<Inner>);

struct Inner {
    connector: Connector,
    /// One permit for each read that may run at the same time.
    turns: Arc<Semaphore>,
    threads: Mutex<Threads>,
}

struct Threads {
    /// The way to the threads. It has space for a read of each. `None`: the readers are closed.
    jobs: Option<SyncSender<Job>>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    started: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn new(connector: Connector) -> Self {
        let (jobs, waiting) = sync_channel(READERS);
        let threads =
            Threads { jobs: Some(jobs), waiting: Arc::new(Mutex::new(waiting)), started: Vec::with_capacity(READERS) };
        let turns = Arc::new(Semaphore::new(READERS));
        Self(Arc::new(Inner { connector, turns, threads: Mutex::new(threads) }))
    }

    /// Runs a read, and returns what it returns. If all connections are in use for five seconds, returns an error. If
    /// the caller goes away, a read that has begun is completed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Cause> {
        let turn = tokio::time::timeout(BUSY, self.0.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| failed("all connections that read the database are in use"))?;
        let turn = turn.map_err(|_| failed("the database is closed"))?;
        let (done, result) = oneshot::channel();
        let connector = self.0.connector.clone();
        let job = move |conn: &mut Option<Connection>| {
            let result = conn.take().map_or_else(|| connector.read(), Ok).and_then(|open| {
                let result = read(&open);
                // A connection whose read has failed may be broken, so it is closed.
                *conn = result.is_ok().then_some(open);
                result
            });
            // The turn ends first, so that the caller finds the thread free.
            drop(turn);
            drop(done.send(result));
        };
        self.start(Box::new(job))?;
        match result.await {
            Ok(result) => result.map_err(|error| Arc::new(error) as Cause),
            Err(_) => Err(failed("a read of the database panicked")),
        }
    }

    /// Gives a read to a thread, and starts one more thread if all may be busy.
    fn start(&self, job: Job) -> Result<(), Cause> {
        let mut threads = self.threads();
        let busy = READERS - self.0.turns.available_permits();
        if busy > threads.started.len() {
            let waiting = Arc::clone(&threads.waiting);
            let thread = std::thread::Builder::new().name("postback-reader".to_owned()).spawn(move || work(&waiting));
            threads.started.push(thread.map_err(|error| Arc::new(error) as Cause)?);
        }
        // The channel has space, because each read has a turn.
        let jobs = threads.jobs.clone();
        drop(threads);
        jobs.and_then(|jobs| jobs.send(job).ok()).ok_or_else(|| failed("the database is closed"))
    }

    /// Closes the connections, after the reads that have begun.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        let turns = self.0.turns.acquire_many(all).await;
        self.0.turns.close();
        drop(turns);
        let started = {
            let mut threads = self.threads();
            threads.jobs = None;
            std::mem::take(&mut threads.started)
        };
        // No thread has work, so each closes its connection and ends.
        for thread in started {
            drop(thread.join());
        }
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.0.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    let mut conn = None;
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The panic hook has logged a panic. The caller gets an error, and the thread opens a new connection.
        if catch_unwind(AssertUnwindSafe(|| job(&mut conn))).is_err() {
            conn = None;
        }
    }
}

fn failed(why: &'static str) -> Cause {
    Arc::new(std::io::Error::other(why))
}
