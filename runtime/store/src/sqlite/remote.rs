//! The backend as the writer sees it: the database is on a thread of its own, and gets whole batches.
//!
//! A batch goes to the thread and comes back once. SQLite blocks, so nothing else runs on the thread.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
#[cfg(test)]
use rusqlite::Connection;

use super::connect::Connector;
use super::readers::Readers;
use super::thread::OnThread;
use super::{Sqlite, read, start};
use crate::backend::{Applied, Backend, Cause, Failure, Opened};
use crate::begun::Record;
use crate::clock::Now;
use crate::error::OpenError;
use crate::ops::Op;
use crate::options::Durability;
use postback_wire::id::NodeId;
use postback_wire::names::metric;
use postback_wire::time::Clock;

/// Opens the database file, and creates the file if it does not exist. Only one process at a time can have the file
/// open. `litestream` says whether Litestream copies the write-ahead log (WAL) of the database.
pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    litestream: bool,
    node: NodeId,
    clock: &Clock,
) -> Result<Opened, OpenError> {
    open_with(Connector::new(path, durability).beside_litestream(litestream), node, clock).await
}

/// Opens the database file like `open`, but `tune` changes the connections that write.
#[cfg(test)]
pub(crate) async fn open_tuned(
    path: &Path,
    clock: &Clock,
    tune: impl Fn(&Connection) -> Result<(), rusqlite::Error> + Send + Sync + 'static,
) -> Result<Opened, OpenError> {
    let connector = Connector::new(path, Durability::Normal).tuned(Arc::new(tune));
    open_with(connector, NodeId::generate(), clock).await
}

async fn open_with(connector: Connector, node: NodeId, clock: &Clock) -> Result<Opened, OpenError> {
    let (path, clock) = (connector.path().to_owned(), clock.clone());
    let started = OnThread::start("postback-sqlite", move || {
        let (sqlite, left) = start(connector, node, &clock)?;
        let beside = (left, sqlite.readers.clone(), sqlite.begun.clone(), sqlite.keys.fresh().clone());
        Ok((sqlite, beside))
    });
    let no_thread = |error: std::io::Error| OpenError::Backend { path, source: error.into() };
    let (sqlite, (left, readers, begun, keys)) = started.await.map_err(no_thread)??;
    let reader = Arc::new(read::Rows::new(readers.clone(), keys));
    Ok(Opened {
        backend: Box::new(Remote { sqlite, readers, untidy: false }),
        reader,
        left,
        begun: Some(Record::File(begun)),
        peers: None,
    })
}

/// The handle to the thread of the database.
struct Remote {
    sqlite: OnThread<Sqlite>,
    readers: Readers,
    /// Whether the housekeeping has something to do. Otherwise the thread need not be asked.
    untidy: bool,
}

fn closed() -> Cause {
    Arc::new(std::io::Error::other("the database is closed"))
}

impl Backend for Remote {
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied> {
        let apply = move |sqlite: &mut Option<Sqlite>| match sqlite {
            Some(sqlite) => {
                let applied = sqlite.apply(&ops, now);
                ((ops, applied), sqlite.is_untidy())
            }
            None => ((ops, Err(Failure::Transient(closed()))), false),
        };
        async {
            let (applied, untidy) = self.sqlite.run(apply).await;
            self.untidy = untidy;
            applied
        }
        .boxed()
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>> {
        self.untidy = true;
        let committed = |sqlite: &mut Option<Sqlite>| {
            let committed = sqlite.as_mut().ok_or_else(closed)?.committed();
            committed.map_err(|error| Arc::new(error) as Cause)
        };
        self.sqlite.run(committed).boxed()
    }

    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>> {
        self.sqlite.run(move |sqlite| sqlite.as_mut().ok_or_else(closed)?.try_to_write(bytes)).boxed()
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        if !std::mem::take(&mut self.untidy) {
            return ready(()).boxed();
        }
        async {
            let log = self.sqlite.run(|sqlite| sqlite.as_mut().and_then(Sqlite::tidy)).await;
            // The metric is set here, because a recorder may belong to the thread of the writer.
            #[expect(clippy::cast_precision_loss, reason = "a log of 2^52 bytes fits on no disk")]
            if let Some(bytes) = log {
                metrics::gauge!(metric::STORE_LOG_BYTES).set(bytes as f64);
            }
        }
        .boxed()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.readers.close().await;
            self.sqlite.run(|sqlite| sqlite.take().into_iter().for_each(Sqlite::close)).await;
        }
        .boxed()
    }
}
