//! The two traits of a backend: [`Backend`] applies batches of operations, each batch in one transaction, and
//! [`Reader`] reads. Also what the store needs if other processes use the backend too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::Notify;

use crate::audit::AuditRecord;
use crate::backlog::Count;
use crate::begun::Record;
use crate::cancel::CancelView;
use crate::clock::{Now, Trust};
use crate::handed_in::HandInRows;
use crate::handoff::Waiting;
use crate::list::{Cursor, ListFilter, Page};
use crate::nodes::News;
use crate::ops::{Op, Reply};
use crate::overview::Lists;
use crate::progress::Progress;
use crate::record::{Counts, DeliveryRecord, Disabled, NewRequest, Owner, RequestRecord, Submitted};
use crate::series::SeriesRows;
use crate::summary::{Member, Summary};
use crate::timeline::Timeline;
use crate::tokens::TokenRecord;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The error type of a backend. The store logs these errors, and its own error type has them as the source.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// The half of a backend that writes. The writer task owns this value. The writer task never drops a future of this
/// trait before the future is complete.
pub(crate) trait Backend: Send {
    /// Applies all operations in one transaction. Returns the operations, and their answers in the order of the
    /// operations. If the call fails, nothing was written, except after [`Failure::Unknown`]: then the batch may be
    /// written. The backend gets the operations themselves, so that it can apply them on another thread.
    fn apply(&mut self, ops: Vec<Op>, now: Now) -> BoxFuture<'_, Applied>;
    /// Returns how long the writer waits for more operations before the next batch, if operations wait already.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }
    /// Returns whether the last batch was committed. The writer calls `committed` after [`Failure::Unknown`]. If the
    /// call fails, the writer calls `committed` again, and applies no other batch before it knows the outcome.
    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>>;
    /// Writes this many dummy bytes, commits them, and deletes them, so that the writer learns whether the backend can
    /// write at the moment.
    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>>;
    /// Does housekeeping between two batches, such as a checkpoint. No caller waits for the housekeeping, but the next
    /// batch starts only after the housekeeping.
    fn tidy(&mut self) -> BoxFuture<'_, ()>;
    /// Closes all files and connections.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The half of a backend that reads. A reader returns committed rows, and can read them while the writer applies a
/// batch.
pub(crate) trait Reader: Lists + News + SeriesRows + HandInRows {
    fn request<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestRecord>, Cause>>;
    /// Returns the answer to a request that was accepted before: a request with the same id, or with the same
    /// idempotency key. `None`: no such request was accepted.
    fn accepted<'a>(&'a self, request: &'a NewRequest) -> BoxFuture<'a, Result<Option<Submitted>, Cause>>;
    fn summary<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Summary>, Cause>>;
    fn timeline<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Timeline>, Cause>>;
    fn checkpoint<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Bytes>, Cause>>;
    fn progress<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Progress>, Cause>>;
    fn piece<'a>(
        &'a self,
        id: &'a RequestId,
        member: Member,
        at: usize,
        len: usize,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Cause>>;
    fn cancel_view<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<CancelView>, Cause>>;
    fn unregistered<'a>(
        &'a self,
        id: &'a RequestId,
        route: &'a str,
    ) -> BoxFuture<'a, Result<Option<(HeaderMap, Bytes)>, Cause>>;
    fn deliveries<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRecord>, Cause>>;
    fn list<'a>(
        &'a self,
        route: &'a str,
        owner: &'a str,
        filter: &'a ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Cause>>;
    fn parked_origins(&self) -> BoxFuture<'_, Result<Vec<String>, Cause>>;
    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, Cause>>;
    fn counts(&self) -> BoxFuture<'_, Result<Counts, Cause>>;
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, Cause>>;
    fn token_uses(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>>;
    fn ticks(&self) -> BoxFuture<'_, Result<HashMap<String, Timestamp>, Cause>>;
    fn audited(&self, before: i64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, Cause>>;
}

/// A batch that the backend gives back, and what has become of it.
pub(crate) type Applied = (Vec<Op>, Result<Vec<Reply>, Failure>);

/// The reason why a batch was not applied.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A temporary failure: the batch may succeed later. For example, the disk is full now, or a device fails now.
    Transient(Cause),
    /// A permanent failure: the batch can never be applied, because at least one of its operations can never be
    /// applied.
    Permanent(Cause),
    /// The outcome is unknown: the commit itself returned an error, but the batch may be written. If the batch is
    /// written, `replies` are the answers to its operations.
    Unknown { replies: Vec<Reply>, cause: Cause },
    /// This process may never write again, because another process has taken over the store.
    #[cfg(any(feature = "postgres", test))]
    Lost(Cause),
}

/// The two halves of a backend that was just opened, and the data that an earlier process left in the backend.
pub(crate) struct Opened {
    pub backend: Box<dyn Backend>,
    pub reader: Arc<dyn Reader>,
    pub left: Left,
    /// The record of the runs that have begun. `None`: the rows are lost when the process ends, so no later process
    /// would read the record.
    pub begun: Option<Record>,
    /// What the store needs if other processes use the backend too. `None`: this process is the only one.
    pub peers: Option<Peers>,
}

/// What the store needs if other processes, the other nodes, use the backend too.
pub(crate) struct Peers {
    /// A node that commits nothing for this long loses its claims to the other nodes.
    pub lease: Duration,
    /// The signals for what other nodes tell.
    pub heard: Arc<Heard>,
    /// The task that tells the other nodes what this node does, and that hears what they tell.
    pub bell: BoxFuture<'static, ()>,
}

/// Signals between nodes. A signal carries no data, and may be lost.
#[derive(Default)]
pub(crate) struct Heard {
    /// There may be a row that can be claimed.
    pub work: Notify,
    /// A request may have ended, or may be cancelled.
    pub ends: Notify,
}

/// The data that an earlier process left in the store. The new process reads the data when it starts.
#[derive(Default)]
pub(crate) struct Left {
    pub waiting: Waiting,
    /// The number of waiting requests, by route. The requests that the earlier process was running are counted as
    /// waiting, because the recovery makes them wait again.
    pub backlog: HashMap<String, Count>,
    /// The number of waiting requests, by owner.
    pub owners: HashMap<Owner, Count>,
    /// The disabled URLs and origins, each with whether the operator has disabled it.
    pub disabled: HashMap<String, bool>,
    /// The readings of the clocks at the last commit: the wall-clock time and the store's own time.
    pub clocks: Option<Now>,
    /// How far the earlier process trusted the wall clock. `None`: no process has stored this.
    pub trust: Option<Trust>,
    /// The id of the store. `None`: its rows end with the process.
    pub id: Option<Box<str>>,
}
