//! The table `handed_in`: requests and reports that transactions of the program hand in.
//!
//! A transaction of the program, on the database of the store, writes its own rows and one row of this table. So both are
//! committed, or neither is. The transaction writes nothing else of the store: this process numbers rows, counts what
//! waits and hands rows over in memory, and would not know of what others write. `taking` takes the rows.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::options::Location;
use crate::overview::Cause;
use crate::{Error, Store};

/// The largest number of rows that one read lists.
pub(crate) const PAGE: i64 = 100;
/// The number up to which rows are counted.
pub(crate) const MOST_COUNTED: u64 = 10_000;

/// How many rows the table `handed_in` has, each up to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandInCounts {
    /// Those that were not taken yet.
    pub waiting: u64,
    /// Those that cannot be taken, and wait for the operator.
    pub set_aside: u64,
}

/// Reads of the table `handed_in`. Rows that are set aside are only counted.
pub(crate) trait HandInRows: Send + Sync {
    /// Returns the ids after this one, in their order, each with the number of bytes of its content.
    fn hand_ins(&self, after: String) -> BoxFuture<'_, Result<Vec<(String, u64)>, Cause>>;
    /// Returns what was handed in under these ids. What was taken meanwhile is missing.
    fn hand_in_contents(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>>;
    fn hand_in_counts(&self) -> BoxFuture<'_, Result<HandInCounts, Cause>>;
}

/// Returns the statement with which a transaction of the program hands something in. Its two values are the id and the
/// content. `None`: a store in memory is no part of a transaction.
pub(crate) fn statement(place: &Location) -> Option<String> {
    match place {
        Location::Memory { .. } => None,
        #[cfg(feature = "sqlite")]
        Location::Sqlite { .. } => Some("INSERT INTO main.handed_in (id, content) VALUES (?1, ?2)".to_owned()),
        // The name was checked when the URL was read: it has only letters, digits and `_`.
        #[cfg(feature = "postgres")]
        Location::Postgres { url } => {
            Some(format!("INSERT INTO \"{}\".handed_in (id, content) VALUES ($1, $2)", url.schema()))
        }
    }
}

impl Store {
    /// Returns the statement with which a transaction of the program hands something in. Its two values are the id and
    /// the content of a `HandIn`. `None`: the store is in memory.
    pub fn hand_in_statement(&self) -> Option<&str> {
        self.0.hand_in_statement.as_deref()
    }

    /// Says that something may have been handed in, so that the store looks now.
    pub fn look_for_hand_ins(&self) {
        self.0.shared.local.wake.handed_in.notify_one();
    }

    /// Returns how much was handed in and not taken yet.
    pub async fn hand_in_counts(&self) -> Result<HandInCounts, Error> {
        self.reader()?.hand_in_counts().await.map_err(Error::Backend)
    }
}
