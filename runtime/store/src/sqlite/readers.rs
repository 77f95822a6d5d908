//! The connections that read. A read blocks, so it runs on a thread for blocking work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{BUSY, Connector, READERS};
use crate::backend::Cause;

/// The connections that read. They are opened when they are needed.
#[derive(Clone)]
pub(super) struct Readers(Arc<Inner>);

struct Inner {
    connector: Connector,
    /// Connections that no read uses at the moment.
    idle: Mutex<Vec<Connection>>,
    /// One permit for each read that may run at the same time.
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(connector: Connector) -> Self {
        let turns = Arc::new(Semaphore::new(READERS));
        Self(Arc::new(Inner { connector, idle: Mutex::default(), turns }))
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
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.read(read, turn)).await;
        match done {
            Ok(read) => read.map_err(|error| Arc::new(error) as Cause),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(failed("the program ends")),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Error>,
        _turn: OwnedSemaphorePermit,
    ) -> Result<T, Error> {
        let idle = self.idle().pop();
        let conn = idle.map_or_else(|| self.0.connector.read(), Ok)?;
        let result = read(&conn);
        // A connection whose read has failed may be broken, so it is closed.
        if result.is_ok() {
            self.idle().push(conn);
        }
        result
    }

    /// Closes the connections, after the reads that have begun.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        let turns = self.0.turns.acquire_many(all).await;
        self.0.turns.close();
        drop(turns);
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(why: &'static str) -> Cause {
    Arc::new(std::io::Error::other(why))
}
