//! The group commit. One task, the writer, takes all operations that wait, commits them in one transaction, answers
//! their callers, and begins again.
//!
//! There is no timer: the operations that arrive during a commit are the next batch. The writer is never cancelled, so
//! an operation is completed even if its caller goes away.

mod publish;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Backend, Cause, Failure};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::health::{Health, PATIENCE};
use crate::inbox::{Caller, Entry, Inbox};
use crate::local::Local;
use crate::operation::Key;
use crate::ops::{Op, Reply};
use crate::space::Space;
use postback_wire::names::metric;

/// The largest number of rows in one batch, unless a single operation has more rows. With more than some hundred rows,
/// a commit does not get cheaper per row, but the operations that arrive during the commit wait longer.
const MOST_ROWS: usize = 256;
/// The largest number of bytes in one batch, unless a single operation has more bytes. One checkpoint copies the same
/// number of bytes.
const MOST_BYTES: usize = 4 << 20;
/// How many turns of the runtime the writer waits for more operations.
const MOST_TURNS: usize = 16;
/// The approximate number of bytes that a commit writes in addition to its rows.
const COMMIT: usize = 32 << 10;
/// The pause between two checks of the disk and the backend: whether enough disk space is free again, and whether the
/// backend works again. The writer pauses only if it has no operations.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The pause after the first failed write. The pause doubles after each further failed write, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The data that the writer shares with all handles to the store.
pub(crate) struct Shared {
    pub inbox: Arc<Inbox>,
    pub local: Local,
    pub health: Health,
    pub space: Space,
}

impl Shared {
    async fn look_for_room(&self, written: u64) {
        self.health.watching(self.space.look(written)).await;
    }

    /// Lets other tasks run as long as they add operations to the next batch, because a larger batch costs little more
    /// than a small batch. If nobody adds anything, this takes one turn of the runtime. If operations wait, first gives
    /// others the time `pause` to add to them.
    async fn let_others_add(&self, pause: Duration) {
        if !pause.is_zero() && (1..MOST_ROWS).contains(&self.inbox.len()) {
            tokio::time::sleep(pause).await;
        }
        let mut waiting = self.inbox.len();
        for _ in 0..MOST_TURNS {
            tokio::task::yield_now().await;
            let before = std::mem::replace(&mut waiting, self.inbox.len());
            if waiting <= before || waiting >= MOST_ROWS {
                break;
            }
        }
    }
}

pub(crate) struct Writer {
    backend: Box<dyn Backend>,
    shared: Arc<Shared>,
    /// Operations that were taken from the inbox, but wait for a later batch, because an earlier operation has the same
    /// key (the same request or report).
    later: VecDeque<Entry>,
    /// The keys (requests and reports) of the operations in the batch that the writer gathers now. The set is not
    /// dropped between two batches, so that its memory is used again.
    keys: HashSet<Key>,
    /// Empty lists for the operations of the next batch. The lists are not dropped between two batches, so that their
    /// memory is used again.
    batch: Batch,
    /// Whether another process has taken over the store, so that this writer must end.
    lost: bool,
}

impl Writer {
    pub(crate) fn new(backend: Box<dyn Backend>, shared: Arc<Shared>) -> Self {
        Self { backend, shared, later: VecDeque::new(), keys: HashSet::new(), batch: Batch::default(), lost: false }
    }

    /// Runs the writer: commits batches until the inbox is closed and empty.
    pub(crate) async fn run(mut self) {
        // When this guard is dropped, it answers all callers. The guard is dropped even if the Tokio runtime is shut
        // down or if this task panics, so that no caller waits for a writer that has ended.
        let _end = WriterEnd(self.shared.clone());
        self.shared.local.backlog.set_gauges();
        self.shared.look_for_room(0).await;
        loop {
            self.shared.let_others_add(self.backend.pause()).await;
            let batch = self.gather();
            if !batch.is_empty() {
                // Each row counts as its bytes plus 1 KiB, because a commit writes whole pages.
                let written = batch.ops.iter().map(|op| op.bytes() + (op.rows() << 10)).sum::<usize>() + COMMIT;
                self.commit(batch).await;
                if self.lost {
                    break;
                }
                self.shared.health.watching(self.backend.tidy()).await;
                self.shared.look_for_room(written as u64).await;
                self.try_to_write().await;
            } else if self.shared.inbox.is_closed() {
                // After this second call of `gather`, no operation can arrive any more, because the inbox was closed
                // before the call.
                let last = self.gather();
                if last.is_empty() {
                    break;
                }
                self.commit(last).await;
            } else if self.shared.space.is_low() || self.shared.health.is_failing() {
                // The writer wakes up regularly, because while no operations arrive nothing else notices that enough
                // disk space is free again or that the backend works again.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.shared.inbox.arrived()).await;
                self.shared.look_for_room(0).await;
                self.try_to_write().await;
            } else {
                self.shared.inbox.arrived().await;
            }
        }
        self.shared.health.watching(self.backend.close()).await;
    }

    /// Tests whether the backend can write again, if the backend has failed and it is time for a test.
    async fn try_to_write(&mut self) {
        let health = &self.shared.health;
        let Some(bytes) = health.bytes_to_probe() else { return };
        match health.watching(self.backend.try_to_write(bytes)).await {
            Ok(()) => health.wrote(bytes),
            Err(cause) => health.failed(&*cause, bytes),
        }
    }

    /// Takes the waiting operations out of the inbox, up to the limits of a batch, and prepares these operations.
    fn gather(&mut self) -> Batch {
        let (batch, keys) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.keys));
        let mut batch = Gathered { batch, keys, rows: 0, bytes: 0 };
        for entry in std::mem::take(&mut self.later) {
            batch.add(entry, &mut self.later);
        }
        while !batch.is_full() && self.later.len() < MOST_ROWS {
            let Some(entry) = self.shared.inbox.pop() else { break };
            batch.add(entry, &mut self.later);
        }
        let Gathered { mut batch, keys, .. } = batch;
        self.keys = keys;
        self.keys.clear();
        let now = self.shared.local.clock.now().due;
        for op in &mut batch.ops {
            op.prepare(&self.shared.local, now);
        }
        batch
    }

    /// Commits a batch. If the backend can never apply one of the operations, splits the batch into halves until that
    /// operation is alone.
    async fn commit(&mut self, batch: Batch) {
        self.shared.health.batch_begins();
        let mut rest = vec![batch];
        while let Some(mut batch) = rest.pop() {
            match self.apply(&mut batch).await {
                Ok(replies) => {
                    self.publish(&mut batch, replies);
                    self.batch = batch;
                }
                Err(cause) if batch.ops.len() > 1 => {
                    tracing::debug!(error = %cause, operations = batch.ops.len(), "a batch is refused; halving it");
                    rest.push(batch.split_off(batch.ops.len() / 2));
                    rest.push(batch);
                }
                Err(cause) => self.fail(batch, &Error::Unwritable(cause)),
            }
        }
        self.shared.health.batch_is_over();
    }

    /// Applies a batch. If the backend returns a temporary failure, pauses and applies the batch again. If a caller has
    /// waited for too long, sends an error to the caller and removes the operation from the batch. Returns an error
    /// only if the backend can never apply the batch.
    async fn apply(&mut self, batch: &mut Batch) -> Result<Vec<Reply>, Cause> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let result = loop {
            if batch.is_empty() {
                break Ok(Vec::new());
            }
            let begun = Instant::now();
            tracing::trace!(operations = batch.ops.len(), "a batch begins");
            let applied = self.backend.apply(std::mem::take(&mut batch.ops), self.shared.local.clock.now());
            let (ops, applied) = self.shared.health.watching(applied).await;
            batch.ops = ops;
            let ops = &batch.ops;
            let cause = match applied {
                Ok(replies) => {
                    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some thousand operations")]
                    metrics::histogram!(metric::COMMIT_OPERATIONS).record(ops.len() as f64);
                    metrics::histogram!(metric::COMMIT_SECONDS).record(begun.elapsed());
                    self.shared.health.wrote(largest(ops));
                    self.shared.local.lease.renew(begun);
                    break Ok(replies);
                }
                Err(Failure::Permanent(cause)) => break Err(cause),
                Err(Failure::Transient(cause)) => cause,
                #[cfg(any(feature = "postgres", test))]
                Err(Failure::Lost(cause)) => {
                    tracing::error!(error = %cause, "the store writes nothing more: {cause}; start the program again");
                    self.lost = true;
                    let batch = std::mem::take(batch);
                    self.fail(batch, &Error::Backend(cause));
                    break Ok(Vec::new());
                }
                Err(Failure::Unknown { replies, cause }) => {
                    self.shared.health.failed(&*cause, largest(ops));
                    tracing::debug!(error = %cause, "the outcome of a commit is unknown; looking it up");
                    if self.was_committed(batch, &cause).await {
                        self.shared.health.wrote(largest(&batch.ops));
                        break Ok(replies);
                    }
                    cause
                }
            };
            self.wait_out(batch, cause, &mut backoff).await;
        };
        self.shared.inbox.set_trouble(None);
        result
    }

    /// Asks the backend whether the batch was committed. Repeats the question until the backend answers.
    async fn was_committed(&mut self, batch: &mut Batch, cause: &Cause) -> bool {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match self.shared.health.watching(self.backend.committed()).await {
                Ok(committed) => return committed,
                Err(error) => self.shared.health.failed(&*error, largest(&batch.ops)),
            }
            // The operations are not removed from the batch, because they may have been written. But the callers that
            // have waited for too long receive an error.
            for caller in batch.callers.iter_mut().filter(|caller| caller.since.elapsed() >= PATIENCE) {
                self.shared.health.gave_up(usize::from(caller.is_awaited()));
                answer(caller, Err(Error::Backend(cause.clone())));
            }
            self.let_go(cause);
            // If the store is being closed, the writer does not wait until the backend works again. The next process
            // that opens the store finds out whether the batch was written.
            if self.shared.inbox.is_closed() && batch.callers.iter().all(|caller| caller.since.elapsed() >= PATIENCE) {
                return false;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Pauses after a temporary failure. Removes the operations whose callers have waited for too long, and sends an
    /// error to these callers. An operation without a caller is not removed, so the writer repeats the operation until
    /// it succeeds. If the store is being closed, operations without a caller are removed, too.
    async fn wait_out(&mut self, batch: &mut Batch, cause: Cause, backoff: &mut Backoff) {
        self.shared.health.failed(&*cause, largest(&batch.ops));
        // The writer reads the free disk space, because the disk may be full. The message "disk full" tells the
        // operator more than the error of the write.
        self.shared.look_for_room(0).await;
        let closing = self.shared.inbox.is_closed();
        let expired = batch.take_out(|caller| caller.since.elapsed() >= PATIENCE && (caller.is_awaited() || closing));
        if !expired.is_empty() {
            self.shared.inbox.set_trouble(Some(Error::Backend(cause.clone())));
        }
        self.shared.health.gave_up(expired.ops.len());
        self.fail(expired, &Error::Backend(cause.clone()));
        self.let_go(&cause);
        if !batch.is_empty() {
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Sends an error to the callers that have waited for too long, either for the commit of an operation or for space
    /// in a queue.
    fn let_go(&mut self, cause: &Cause) {
        let error = Error::Backend(cause.clone());
        let mut expired = Batch::default();
        self.shared.inbox.expire(PATIENCE).into_iter().for_each(|entry| expired.push(entry));
        for entry in std::mem::take(&mut self.later) {
            if entry.caller.is_awaited() && entry.caller.since.elapsed() >= PATIENCE {
                expired.push(entry);
            } else {
                self.later.push_back(entry);
            }
        }
        if !expired.is_empty() {
            self.shared.inbox.set_trouble(Some(error.clone()));
        }
        self.shared.health.gave_up(expired.ops.len());
        self.fail(expired, &error);
    }
}

/// A guard that answers all callers when the writer ends, even if the writer panics.
struct WriterEnd(Arc<Shared>);

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let is_closed = self.0.inbox.is_closed();
        let panicked = std::thread::panicking();
        if panicked {
            tracing::error!(
                "the store's writer panicked: nothing is stored any more until the program is started again"
            );
        }
        if panicked || !is_closed {
            self.0.health.writer_ended();
        }
        self.0.inbox.abandon();
        self.0.local.handoff.detach();
    }
}

/// Returns the size of the largest operation, in bytes.
fn largest(ops: &[Op]) -> usize {
    ops.iter().map(Op::bytes).max().unwrap_or_default()
}

/// Sends the answer to the caller. Returns the answer if no caller receives it.
fn answer(caller: &mut Caller, answer: Result<Reply, Error>) -> Option<Reply> {
    match caller.answer.take() {
        Some(caller) => caller.send(answer).err().and_then(Result::ok),
        None => answer.ok(),
    }
}

/// The operations of a batch, and their callers in the same order.
#[derive(Default)]
struct Batch {
    ops: Vec<Op>,
    callers: Vec<Caller>,
}

impl Batch {
    fn push(&mut self, Entry { op, caller }: Entry) {
        self.ops.push(op);
        self.callers.push(caller);
    }

    fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { ops: self.ops.split_off(at), callers: self.callers.split_off(at) }
    }

    /// Takes out the operations of these callers.
    fn take_out(&mut self, of: impl Fn(&Caller) -> bool) -> Self {
        let (mut out, mut left) = (Self::default(), Self::default());
        for (op, caller) in self.ops.drain(..).zip(self.callers.drain(..)) {
            let side = if of(&caller) { &mut out } else { &mut left };
            side.push(Entry { op, caller });
        }
        *self = left;
        out
    }
}

/// A batch to which the writer is still adding operations.
struct Gathered {
    batch: Batch,
    keys: HashSet<Key>,
    rows: usize,
    bytes: usize,
}

impl Gathered {
    /// Adds the operation to the batch, or to `later` if the operation must wait for a later batch.
    ///
    /// Invariant: operations with the same key keep their order, and a batch has at most one operation with each key.
    fn add(&mut self, entry: Entry, later: &mut VecDeque<Entry>) {
        let waits = self.is_full() || entry.op.keys().any(|key| self.keys.contains(&key));
        // The keys are recorded even if the operation itself must wait. Otherwise a later operation with one of these
        // keys would overtake the operation.
        self.keys.extend(entry.op.keys());
        if waits {
            later.push_back(entry);
            return;
        }
        self.rows += entry.op.rows();
        self.bytes += entry.op.bytes();
        self.batch.push(entry);
    }

    fn is_full(&self) -> bool {
        self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES
    }
}
