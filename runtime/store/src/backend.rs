//! The two traits of a backend: [`Backend`] applies batches of operations, each batch in one transaction, and
//! [`Reader`] reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::backlog::Count;
use crate::begun::Begun;
use crate::cancel::CancelView;
use crate::clock::{Now, Trust};
use crate::handoff::Waiting;
use crate::ops::{Op, Reply};
use crate::record::{Counts, DeliveryRecord, Disabled, RequestRecord};
use crate::summary::{Member, Summary};
use postback_wire::id::RequestId;

/// The error type of a backend. The store logs this error, and the store's own error has it as its source.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// The writing half of a backend. The writer task owns this value, and awaits each of its futures to the end.
pub(crate) trait Backend: Send {
    /// Applies all operations in one transaction. Returns their answers, in the order of the operations. If this fails,
    /// nothing was written; only after [`Failure::Unknown`] may the batch be written nevertheless.
    fn apply<'a>(&'a mut self, ops: &'a [&'a Op], now: Now) -> BoxFuture<'a, Result<Vec<Reply>, Failure>>;
    /// Returns whether the last batch was committed. The writer calls this after [`Failure::Unknown`]. If the call
    /// fails, the writer calls again, and applies no other batch before it has the answer.
    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>>;
    /// Writes this many dummy bytes, commits them, and deletes them. The writer learns from this whether the backend
    /// can write at the moment.
    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>>;
    /// Does housekeeping between two batches. No caller waits for it, but the next batch starts only after it.
    fn tidy(&mut self) -> BoxFuture<'_, ()>;
    /// Closes all files and connections.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The reading half of a backend. It reads committed rows, and can do so while the writer applies a batch.
pub(crate) trait Reader: Send + Sync {
    fn request<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<RequestRecord>, Cause>>;
    fn summary<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<Summary>, Cause>>;
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
    fn parked_origins(&self) -> BoxFuture<'_, Result<Vec<String>, Cause>>;
    fn disabled(&self) -> BoxFuture<'_, Result<Vec<Disabled>, Cause>>;
    fn counts(&self) -> BoxFuture<'_, Result<Counts, Cause>>;
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The batch may succeed later: for example, the disk is full now, or a device fails now.
    Transient(Cause),
    /// The batch can never be applied, because at least one of its operations can never be applied.
    Permanent(Cause),
    /// The commit itself returned an error, but the batch may be written nevertheless. If the batch is written,
    /// `replies` are the answers to its operations.
    Unknown { replies: Vec<Reply>, cause: Cause },
}

/// The two halves of a backend that was just opened, and what an earlier process left in it.
pub(crate) struct Opened {
    pub backend: Box<dyn Backend>,
    pub reader: Arc<dyn Reader>,
    pub left: Left,
    /// Records which runs have begun. `None`: rows do not outlive the process, so nobody would read the record.
    pub begun: Option<Arc<Begun>>,
}

/// What an earlier process left in the store, as the new process reads it at the start.
#[derive(Default)]
pub(crate) struct Left {
    pub waiting: Waiting,
    /// How many requests wait, by route. Requests that the earlier process was running count as waiting, because the
    /// recovery puts them back.
    pub backlog: HashMap<String, Count>,
    /// The URLs that are disabled: their receivers want no more reports there.
    pub disabled: HashSet<String>,
    /// The wall-clock time and the store's own time at the last commit.
    pub clocks: Option<Now>,
    /// How far the earlier process trusted the wall clock. `None`: no process has stored this.
    pub trust: Option<Trust>,
}
