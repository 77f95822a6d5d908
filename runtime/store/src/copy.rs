//! Copies the store of a stopped program from SQLite into PostgreSQL.
//!
//! The rows of a table go over in the order of their keys, many in one transaction. A copy that was interrupted goes on
//! after the last row that is there. At the end, all rows of both stores are compared. Until then no program can use the
//! copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Store;
use crate::error::{Error, OpenError};
use crate::options::{DatabaseUrl, Durability, Location, Options};
use crate::postgres::copied::Target;
use crate::sql::tables::{Purpose, TABLES, Table};
use crate::sqlite::copied::{Piece, Source};
use postback_wire::id::NodeId;
use postback_wire::time::Clock;

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// About how many bytes of lines one transaction writes.
const TRANSACTION: usize = 16 << 20;
/// How many pieces of lines wait between the two databases.
const AHEAD: usize = 4;

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// These rows of a table are in the copy. It is their number since the command began.
    Copied { table: &'static str, rows: u64 },
    /// These rows of a table were compared.
    Compared { table: &'static str, rows: u64 },
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The number of rows of all tables, without those that were there before.
    pub rows: u64,
    /// The number of rows that were compared: all of both stores.
    pub compared: u64,
    /// The numbers of requests and of deliveries.
    pub requests: u64,
    pub deliveries: u64,
}

/// The reason why a copy has failed. What is there stays there: a copy with the same arguments goes on.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no database {}", .0.display())]
    Missing(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the claims of the process that was killed cannot be ended")]
    Recover(#[source] Error),
    #[error("the table {table} cannot be copied")]
    Table { table: &'static str, source: Trouble },
    #[error("the copy cannot be finished")]
    Finish(#[source] Trouble),
    #[error("the table {table} of the copy differs from the original: drop the schema, and copy again")]
    Differs { table: &'static str },
}

/// Copies the store in this file into an empty schema. No process may use the file or the schema meanwhile. The function
/// calls `step` after each step.
pub async fn copy(from: &Path, to: &DatabaseUrl, mut step: impl FnMut(Step)) -> Result<Copied, CopyError> {
    if !from.exists() {
        return Err(CopyError::Missing(from.into()));
    }
    let source = Arc::new(settled(from).await?);
    let mut target = Target::open(to, &source.version).await?;
    let mut copied = Copied::default();
    for table in TABLES {
        let failed = |source: Trouble| CopyError::Table { table: table.name, source };
        let last = target.last(table).await.map_err(|error| failed(error.into()))?;
        let (mut pieces, reading) = read(&source, table, last, Purpose::Copy);
        let mut written = 0;
        loop {
            let (mut rows, mut bytes, mut some) = (0, 0, Vec::new());
            while bytes < TRANSACTION
                && let Some(Piece { lines, rows: of_piece }) = pieces.recv().await
            {
                (rows, bytes) = (rows + of_piece, bytes + lines.len());
                some.push(lines);
            }
            if some.is_empty() {
                break;
            }
            target.write(table, &some).await.map_err(|error| failed(error.into()))?;
            written += rows;
            step(Step::Copied { table: table.name, rows: written });
        }
        joined(reading).await.map_err(failed)?;
        copied.rows += written;
    }
    for table in TABLES {
        let rows = compare(&source, &mut target, table, &mut step).await?;
        copied.compared += rows;
        match table.name {
            "request" => copied.requests = rows,
            "report" => copied.deliveries = rows,
            _ => {}
        }
    }
    let detail = format!("{} requests, {} deliveries", copied.requests, copied.deliveries);
    let about = (Clock::system().now().micros(), &*from.display().to_string(), &*detail);
    target.finish(about, source.id.as_deref()).await.map_err(|error| CopyError::Finish(error.into()))?;
    Ok(copied)
}

/// Opens the original. If its process was killed, its claims are ended first: nobody else knows them.
async fn settled(path: &Path) -> Result<Source, CopyError> {
    let source = Source::open(path)?;
    if !source.has_claims {
        return Ok(source);
    }
    drop(source);
    let options = Options::at(Location::Sqlite { path: path.into(), durability: Durability::Full });
    let store = Store::open(options, NodeId::generate(), Clock::system()).await?;
    // The number of crashes after which a request is given up is a setting of the program. So the program decides that.
    let recovered = store.recover(u32::MAX).await;
    store.close().await;
    recovered.map_err(CopyError::Recover)?;
    Ok(Source::open(path)?)
}

/// Reads a table of the original on a thread of its own.
fn read(
    source: &Arc<Source>,
    table: &'static Table,
    after: Option<Vec<String>>,
    purpose: Purpose,
) -> (mpsc::Receiver<Piece>, JoinHandle<Result<(), Trouble>>) {
    let (to, pieces) = mpsc::channel(AHEAD);
    let source = Arc::clone(source);
    let reading = tokio::task::spawn_blocking(move || source.read(table, after.as_deref(), purpose, &to));
    (pieces, reading)
}

async fn joined(reading: JoinHandle<Result<(), Trouble>>) -> Result<(), Trouble> {
    reading.await.map_err(Trouble::from)?
}

/// Compares all rows of a table. Returns their number.
async fn compare(
    source: &Arc<Source>,
    target: &mut Target,
    table: &'static Table,
    step: &mut impl FnMut(Step),
) -> Result<u64, CopyError> {
    let failed = |source: Trouble| CopyError::Table { table: table.name, source };
    let (mut pieces, reading) = read(source, table, None, Purpose::Compare);
    let (mut original, mut rows) = (Sha256::new(), 0);
    while let Some(piece) = pieces.recv().await {
        original.update(piece.lines.as_bytes());
        rows += piece.rows;
    }
    joined(reading).await.map_err(failed)?;
    let mut copy = Sha256::new();
    target.read(table, |lines| copy.update(lines)).await.map_err(|error| failed(error.into()))?;
    if original.finalize() != copy.finalize() {
        return Err(CopyError::Differs { table: table.name });
    }
    step(Step::Compared { table: table.name, rows });
    Ok(rows)
}
