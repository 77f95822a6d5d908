//! What a backend does: apply a batch in one transaction, and read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::backlog::Count;
use super::begun::Begun;
use super::cancel::CancelView;
use super::clock::{Now, Trust};
use super::ops::{Op, Reply};
use super::record::{Counts, DeliveryRecord, Disabled, RequestRecord};
use super::summary::{Member, Summary};
use crate::id::RequestId;
use crate::time::Timestamp;

/// The backend's own error, kept for the log and as a source.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Writes. Owned by the writer task, which never drops one of these futures half-way.
pub(crate) trait Backend: Send {
    /// Applies all operations in one transaction and answers each, in their order. On failure nothing was written,
    /// unless it is [`Failure::Unknown`].
    fn apply<'a>(&'a mut self, ops: &'a [&'a Op], now: Now) -> BoxFuture<'a, Result<Vec<Reply>, Failure>>;
    /// Whether the batch that ended as [`Failure::Unknown`] was committed after all. Asked until it knows, before
    /// anything else is applied.
    fn committed(&mut self) -> BoxFuture<'_, Result<bool, Cause>>;
    /// Writes so many bytes that mean nothing, commits them, and takes them away again: whether that can be done at the moment.
    fn try_to_write(&mut self, bytes: usize) -> BoxFuture<'_, Result<(), Cause>>;
    /// Housekeeping between two batches, with nobody waiting for it but the next batch.
    fn tidy(&mut self) -> BoxFuture<'_, ()>;
    /// Lets go of everything.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Reads, while batches are applied. Sees what is committed.
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
    fn standing<'a>(&'a self, id: &'a RequestId) -> BoxFuture<'a, Result<Option<CancelView>, Cause>>;
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
    /// It may work in a moment: the disk is full, a device fails.
    Transient(Cause),
    /// One of the operations will never work.
    Permanent(Cause),
    /// The commit itself failed. `replies` hold if it went through nevertheless.
    Unknown { replies: Vec<Reply>, cause: Cause },
}

/// A backend as it was opened.
pub(crate) struct Opened {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) left: Left,
    /// Where it is noted which runs have begun, if what is claimed outlives the process.
    pub(crate) begun: Option<Arc<Begun>>,
}

/// What an earlier process left in it.
#[derive(Default)]
pub(crate) struct Left {
    pub(crate) waiting: Waiting,
    /// Requests that wait, or will once their claims are void.
    pub(crate) backlog: HashMap<String, Count>,
    /// The disabled URLs.
    pub(crate) disabled: HashSet<String>,
    /// Where the clocks stood at the last commit.
    pub(crate) clocks: Option<Now>,
    /// How far the wall clock was believed.
    pub(crate) trust: Option<Trust>,
}

/// When the unclaimed rows are due: no row is due earlier than this says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// By route; a route that is missing has none.
    pub(crate) requests: HashMap<String, Timestamp>,
    pub(crate) reports: Option<Timestamp>,
}
