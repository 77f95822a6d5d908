//! The traits of a backend: one applies batches, each in one transaction; the other reads.

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

/// The backend's own error. It is logged, and it is the source of the store's error.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Writes. The writer task owns it, and never drops one of these futures before it is done.
pub(crate) trait Backend: Send {
    /// Applies all operations in one transaction. Returns their answers, in the order of the operations. After a
    /// failure nothing is written, except that [`Failure::Unknown`] leaves open whether the batch is written.
    fn apply<'a>(&'a mut self, ops: &'a [&'a Op], now: Now) -> BoxFuture<'a, Result<Vec<Reply>, Failure>>;
    /// Whether the batch that ended as [`Failure::Unknown`] was committed. The writer repeats the question after an
    /// error, and applies nothing else before it has the answer.
    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>>;
    /// Writes this many bytes without meaning, commits them, and deletes them. Shows whether the backend can write at
    /// the moment.
    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>>;
    /// Housekeeping between two batches. No caller waits for it, but the next batch does.
    fn tidy(&mut self) -> BoxFuture<'_, ()>;
    /// Closes all files and connections.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Reads committed rows, also while a batch is applied.
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
    /// The batch may succeed later: the disk is full, or a device fails.
    Transient(Cause),
    /// One of the operations can never be applied.
    Permanent(Cause),
    /// The commit itself failed, and may be written nevertheless. If it is, `replies` are the answers.
    Unknown { replies: Vec<Reply>, cause: Cause },
}

/// A backend that was opened, and what it found.
pub(crate) struct Opened {
    pub backend: Box<dyn Backend>,
    pub reader: Arc<dyn Reader>,
    pub left: Left,
    /// Notes which runs have begun. `None`: rows do not outlive the process.
    pub begun: Option<Arc<Begun>>,
}

/// What an earlier process left in the store.
#[derive(Default)]
pub(crate) struct Left {
    pub waiting: Waiting,
    /// The requests of each route that wait, and those that will wait once the claims of the earlier process are void.
    pub backlog: HashMap<String, Count>,
    /// The disabled URLs.
    pub disabled: HashSet<String>,
    /// The times of both clocks at the last commit.
    pub clocks: Option<Now>,
    /// How far the wall clock was trusted.
    pub trust: Option<Trust>,
}
