//! The queues in front of the writer. There are two queues, each with its own limit, so that a full intake never delays
//! a settlement. The intake is the queue for new requests and posts; in the intake, origins and routes take turns.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::Instant;

use crate::counters::{Counters, TakenIn};
use crate::error::Error;
use crate::intake::Intake;
use crate::operation::Untaken;
use crate::ops::{Barrier, Op, ReleaseReport, ReleaseRequest, Reply};
use crate::quota::Quotas;
use crate::record::{ReportClaim, RequestClaim};
use postback_wire::line::Causes;

/// The limits of the queue for settlements and claims: the largest number of operations, and their largest number of
/// bytes. An operation with more bytes than that can enter only the empty queue. The limits are rarely reached, because
/// each of these operations has a caller that waits for it.
const CONTROL: (usize, usize) = (4_096, 64 << 20);

/// An operation that waits in a queue, the channel on which its caller gets the answer, and the part of the queue's
/// limit that it uses.
pub(crate) struct Entry {
    pub op: Op,
    /// `None`: no caller waits for the answer, or the answer was sent already.
    pub answer: Option<oneshot::Sender<Result<Reply, Error>>>,
    pub since: Instant,
    /// A guard that counts the reports of the operation as lost if they are not written.
    pub taken_in: TakenIn,
    _queued: Option<OwnedSemaphorePermit>,
}

/// The queues between callers and the writer: callers put operations in, and the writer takes operations out.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
    intake: Room,
    control: Room,
    /// Hashes a queue's name (a route or an origin) to the number of the queue.
    hash: RandomState,
    quotas: Option<Arc<Quotas>>,
    counters: Arc<Counters>,
    /// The error that callers get while a batch has been failing for longer than a caller has to wait. `None` at all
    /// other times.
    trouble: watch::Sender<Option<Error>>,
}

struct Queues {
    intake: Intake<Entry>,
    control: VecDeque<Entry>,
    open: bool,
}

impl Inbox {
    pub(crate) fn new(slots: usize, bytes: usize, quotas: Option<Arc<Quotas>>, counters: Arc<Counters>) -> Self {
        Self {
            queues: Mutex::new(Queues { intake: Intake::new(), control: VecDeque::new(), open: true }),
            arrived: Notify::new(),
            intake: Room::new(slots, bytes),
            control: Room::new(CONTROL.0, CONTROL.1),
            hash: RandomState::new(),
            quotas,
            counters,
            trouble: watch::Sender::new(None),
        }
    }

    /// Puts a post into the queue without waiting. Refuses the post if the queue is full, or if the rest of the queue
    /// is reserved for other origins.
    pub(crate) fn try_push(&self, mut op: Op) -> Result<(), Error> {
        let room = self.intake.try_take(&op)?;
        let (line, cost, free) = (self.line(&op), room.num_permits(), self.intake.left.available_permits());
        if !self.lock().intake.may_grow(line, cost, free) {
            return Err(Error::Full);
        }
        self.reserve(&mut op)?;
        self.enqueue(Queue::Intake { line, cost }, self.entry(op, None, Some(room)))
    }

    /// Puts a new request or a post into the queue. Waits while the queue has no space for it.
    pub(crate) async fn push(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        // The writer frees space when it takes entries out of the queue. The writer itself never waits for space.
        let room = pin!(self.intake.take(&op));
        let mut trouble = self.trouble.subscribe();
        let trouble = pin!(trouble.wait_for(Option::is_some));
        let room = match select(room, trouble).await {
            Either::Left((room, _)) => room?,
            Either::Right((error, _)) => {
                return Err(error.ok().and_then(|error| error.clone()).unwrap_or(Error::Closed));
            }
        };
        self.reserve(&mut op)?;
        let queue = Queue::Intake { line: self.line(&op), cost: room.num_permits() };
        self.ask(queue, op, room)
    }

    /// Puts any other operation, such as a settlement or a claim, into a queue of its own, so that a full intake does
    /// not delay the operation.
    pub(crate) async fn control(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        let room = self.control.take(&op).await?;
        self.reserve(&mut op)?;
        self.ask(Queue::Control, op, room)
    }

    /// Puts in a barrier. It is answered after all operations that are in the intake now.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Result<Answer, Error> {
        let op = Barrier::default().into();
        let room = self.control.take(&op).await?;
        self.ask(Queue::Mark, op, room)
    }

    /// Puts back a claimed request, because its worker did not receive it. The operation uses nothing of the queue's
    /// limit, because there are never more such operations than claims. If the store is closed, the next process that
    /// opens the store recovers the row.
    pub(crate) fn release_request(&self, claim: RequestClaim) {
        let op = ReleaseRequest { claim, due: None, failed: false };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    /// Puts back a claimed report, because the delivery did not receive it. If the store is closed, the next process
    /// that opens the store recovers the row.
    pub(crate) fn release_report(&self, claim: ReportClaim) {
        let op = ReleaseReport { claim, due: None };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    fn ask(self: &Arc<Self>, queue: Queue, op: Op, room: OwnedSemaphorePermit) -> Result<Answer, Error> {
        let (answer, receiver) = oneshot::channel();
        let entry = self.entry(op, Some(answer), Some(room));
        let posted = entry.taken_in.reports();
        self.enqueue(queue, entry)?;
        Ok(Answer { receiver, inbox: self.clone(), posted })
    }

    fn entry(
        &self,
        op: Op,
        answer: Option<oneshot::Sender<Result<Reply, Error>>>,
        queued: Option<OwnedSemaphorePermit>,
    ) -> Entry {
        let taken_in = TakenIn::new(self.counters.clone(), op.posted());
        Entry { op, answer, since: Instant::now(), taken_in, _queued: queued }
    }

    fn enqueue(&self, queue: Queue, mut entry: Entry) -> Result<(), Error> {
        {
            let mut queues = self.lock();
            if !queues.open {
                entry.taken_in.given_back();
                return Err(Error::Closed);
            }
            match queue {
                Queue::Intake { line, cost } => queues.intake.push(line, cost, entry),
                Queue::Mark => queues.intake.mark(entry),
                Queue::Control => queues.control.push_back(entry),
            }
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// The number of the queue inside the intake in which the operation waits. Each origin and each route has such a
    /// queue.
    fn line(&self, op: &Op) -> u64 {
        self.hash.hash_one(op.line())
    }

    /// Takes the next operation out. Settlements and claims come before the operations of the intake.
    pub(crate) fn pop(&self) -> Option<Entry> {
        let mut queues = self.lock();
        queues.control.pop_front().or_else(|| queues.intake.pop())
    }

    /// Returns when an operation may have arrived, or when the inbox was closed.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Closes the inbox and drops the operations that are in it. Their callers receive [`Error::Closed`].
    pub(crate) fn abandon(&self) {
        self.close();
        let left: Vec<Entry> = {
            let mut queues = self.lock();
            let mut left = queues.intake.take_out(|_| true);
            left.extend(queues.control.drain(..));
            left
        };
        let mut lost = 0;
        for mut entry in left {
            if entry.is_awaited() {
                // The reports are not counted as lost. The channel for the answer is closed here, so the caller gets an
                // error and knows that the reports are not written.
                entry.taken_in.given_back();
            }
            lost += entry.taken_in.reports();
        }
        if lost > 0 {
            tracing::error!(reports = lost, "{lost} reports are lost: the store ended before it wrote them");
        }
    }

    /// Accepts no more operations. Callers that wait for space in a queue receive [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.intake.left.close();
        self.control.left.close();
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Sets the error that callers get while they wait for space in a queue. `None`: the backend works.
    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        self.trouble.send_if_modified(|now| {
            let changed = now.is_some() != trouble.is_some();
            *now = trouble;
            changed
        });
    }

    /// Removes and returns the operations whose callers have waited for longer than `patience`.
    pub(crate) fn expire(&self, patience: Duration) -> Vec<Entry> {
        let is_expired = |entry: &Entry| entry.is_awaited() && entry.since.elapsed() >= patience;
        let mut queues = self.lock();
        let mut expired = queues.intake.take_out(is_expired);
        let mut control = Vec::from(std::mem::take(&mut queues.control));
        expired.extend(control.extract_if(.., |entry| is_expired(entry)));
        queues.control = control.into();
        expired
    }

    /// Reserves memory for the rows of the operation, if the backend keeps rows in memory. Refuses the operation if
    /// that backend is full.
    fn reserve(&self, op: &mut Op) -> Result<(), Error> {
        match &self.quotas {
            Some(quotas) if !op.reserve(quotas) => Err(Error::Full),
            Some(_) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The free space of a queue, counted in bytes. An operation uses its bytes, but at least `share` for each row, so that
/// the number of rows is limited too.
struct Room {
    left: Arc<Semaphore>,
    bytes: usize,
    share: usize,
}

impl Room {
    fn new(rows: usize, bytes: usize) -> Self {
        // `acquire_many` takes a `u32`, so a queue cannot have more bytes than this.
        let most = u32::MAX as usize >> 3;
        let rows = rows.clamp(1, most);
        let bytes = bytes.clamp(rows, most);
        Self { left: Arc::new(Semaphore::new(bytes)), bytes, share: bytes / rows }
    }

    fn try_take(&self, op: &Op) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.left.clone().try_acquire_many_owned(self.of(op))
    }

    /// Waits for the space that this operation needs. The returned future does not borrow the operation.
    fn take(&self, op: &Op) -> impl Future<Output = Result<OwnedSemaphorePermit, Error>> + use<> {
        let taken = self.left.clone().acquire_many_owned(self.of(op));
        async { taken.await.map_err(|_| Error::Closed) }
    }

    /// The space that the operation needs in the queue, in bytes. An operation that is larger than the queue needs the
    /// whole queue.
    fn of(&self, op: &Op) -> u32 {
        let amount = op.bytes().max(op.rows().saturating_mul(self.share)).clamp(1, self.bytes);
        u32::try_from(amount).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Copy)]
enum Queue {
    Intake {
        line: u64,
        cost: usize,
    },
    /// A mark in the intake: the operation comes out after all operations that are in the intake now.
    Mark,
    Control,
}

impl Entry {
    /// Whether a caller waits for the answer. If no caller waits, the writer repeats the operation until it succeeds.
    pub(crate) fn is_awaited(&self) -> bool {
        self.answer.as_ref().is_some_and(|caller| !caller.is_closed())
    }
}

impl From<TryAcquireError> for Error {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::Full,
            TryAcquireError::Closed => Self::Closed,
        }
    }
}

/// A future answer to an operation. Dropping this value does not undo the operation, but the store puts back the rows
/// that the operation claimed.
pub(crate) struct Answer {
    receiver: oneshot::Receiver<Result<Reply, Error>>,
    inbox: Arc<Inbox>,
    /// How many reports the operation posts; 0 if it is not a post.
    posted: u64,
}

impl Answer {
    pub(crate) async fn wait(mut self) -> Result<Reply, Error> {
        (&mut self.receiver).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The channel is closed first, so that from now on the writer sees that nobody receives the answer.
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Ok(reply)) => self.inbox.give_back(reply),
            // The writer sent the error just before the caller went away. Nobody has the reports any more, so they are
            // counted as lost.
            Ok(Err(error)) if self.posted > 0 => {
                let reports = usize::try_from(self.posted).unwrap_or(usize::MAX);
                tracing::error!(error = %Causes(&error), reports, "{reports} reports are lost: the store cannot write them");
                drop(TakenIn::new(self.inbox.counters.clone(), reports));
            }
            _ => {}
        }
    }
}

impl Inbox {
    /// Puts back the rows that an answer claims, because nobody receives the answer.
    pub(crate) fn give_back(&self, reply: Reply) {
        let mut untaken = Untaken::default();
        reply.untaken(&mut untaken);
        self.release(untaken);
    }

    /// Puts back claimed rows, because nobody received them.
    pub(crate) fn release(&self, untaken: Untaken) {
        untaken.requests.into_iter().for_each(|claim| self.release_request(claim));
        untaken.reports.into_iter().for_each(|claim| self.release_report(claim));
    }
}
