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
/// bytes. A larger operation can enter only the empty queue. The queue rarely reaches these limits, because a caller
/// waits for each of these operations.
const CONTROL: (usize, usize) = (4_096, 64 << 20);

/// An operation that waits in a queue, and its caller.
pub(crate) struct Entry {
    pub op: Op,
    pub caller: Caller,
}

/// The caller of an operation: the channel on which it receives the answer, and the space that the operation takes in
/// the queue.
pub(crate) struct Caller {
    /// The channel on which the caller receives the answer. `None`: no caller waits for the answer, or the answer was
    /// already sent.
    pub answer: Option<oneshot::Sender<Result<Reply, Error>>>,
    pub since: Instant,
    /// A guard that counts the reports of the operation as lost if the reports are not written.
    pub taken_in: TakenIn,
    _queued: Option<OwnedSemaphorePermit>,
}

/// The queues between the callers and the writer. Callers put operations into the queues, and the writer takes
/// operations out of the queues.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
    intake: Room,
    control: Room,
    /// Hashes the name of a queue (a route or an origin) to the number of the queue.
    hash: RandomState,
    quotas: Option<Arc<Quotas>>,
    counters: Arc<Counters>,
    /// The error that callers receive while a batch has been failing for longer than a caller has to wait. `None`: no
    /// batch has been failing for so long.
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

    /// Puts a `Post` operation into the queue without waiting. Returns an error if the queue is full, or if the rest of
    /// the queue is reserved for other origins.
    pub(crate) fn try_push(&self, mut op: Op) -> Result<(), Error> {
        let room = self.intake.try_take(&op)?;
        let (line, cost, free) = (self.line(&op), room.num_permits(), self.intake.left.available_permits());
        if !self.lock().intake.may_grow(line, cost, free) {
            return Err(Error::Full);
        }
        self.reserve(&mut op)?;
        self.enqueue(Queue::Intake { line, cost }, self.entry(op, None, Some(room)))
    }

    /// Puts a new request or a `Post` operation into the queue. Waits until the queue has space for the operation.
    pub(crate) async fn push(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        // The writer frees space in the queue when it takes operations out of the queue. The writer itself never waits
        // for space.
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

    /// Puts an operation that is not a new request or a `Post`, such as a settlement or a claim, into a separate queue,
    /// so that a full intake does not delay the operation.
    pub(crate) async fn control(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        let room = self.control.take(&op).await?;
        self.reserve(&mut op)?;
        self.ask(Queue::Control, op, room)
    }

    /// Puts a barrier into the queue of new operations. The barrier is answered after all operations that are in this
    /// queue now.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Result<Answer, Error> {
        let op = Barrier::default().into();
        let room = self.control.take(&op).await?;
        self.ask(Queue::Mark, op, room)
    }

    /// Makes a claimed request wait for a worker again, because no worker received the request. For this, puts an
    /// operation into the queue of the writer, even if the queue is full. The number of such operations is limited by
    /// the number of claims. If the store is closed, the next process that opens the store recovers the request.
    pub(crate) fn release_request(&self, claim: RequestClaim) {
        let op = ReleaseRequest { claim, due: None, begun: false, failed: false, detail: None };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    /// Makes a claimed report wait for a delivery again, because no delivery received the report. For this, puts an
    /// operation into the queue of the writer, even if the queue is full. If the store is closed, the next process that
    /// opens the store recovers the report.
    pub(crate) fn release_report(&self, claim: ReportClaim) {
        let op = ReleaseReport { claim, due: None };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    fn ask(self: &Arc<Self>, queue: Queue, op: Op, room: OwnedSemaphorePermit) -> Result<Answer, Error> {
        let (answer, receiver) = oneshot::channel();
        let entry = self.entry(op, Some(answer), Some(room));
        let posted = entry.caller.taken_in.reports();
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
        Entry { op, caller: Caller { answer, since: Instant::now(), taken_in, _queued: queued } }
    }

    fn enqueue(&self, queue: Queue, mut entry: Entry) -> Result<(), Error> {
        {
            let mut queues = self.lock();
            if !queues.open {
                entry.caller.taken_in.given_back();
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

    /// Returns a hash that identifies the queue in which the operation waits for the writer. Each origin and each route
    /// has its own queue.
    fn line(&self, op: &Op) -> u64 {
        self.hash.hash_one(op.line())
    }

    /// Takes the next operation out of the queues. Settlements and claims come before all new operations.
    pub(crate) fn pop(&self) -> Option<Entry> {
        let mut queues = self.lock();
        queues.control.pop_front().or_else(|| queues.intake.pop())
    }

    /// Returns the number of operations that wait.
    pub(crate) fn len(&self) -> usize {
        let queues = self.lock();
        queues.control.len() + queues.intake.len()
    }

    /// Waits until an operation may have arrived, or until the inbox is closed.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Closes the inbox and drops the operations that are in the inbox. The callers of these operations receive
    /// [`Error::Closed`].
    pub(crate) fn abandon(&self) {
        self.close();
        let left: Vec<Entry> = {
            let mut queues = self.lock();
            let mut left = queues.intake.take_out(|_| true);
            left.extend(queues.control.drain(..));
            left
        };
        let mut lost = 0;
        for Entry { mut caller, .. } in left {
            if caller.is_awaited() {
                // The channel for the answer is closed here, so the caller receives an error and knows that the reports
                // are not written. So the reports are not counted as lost.
                caller.taken_in.given_back();
            }
            lost += caller.taken_in.reports();
        }
        if lost > 0 {
            tracing::error!(reports = lost, "{lost} reports are lost: the store ended before it wrote them");
        }
    }

    /// Closes the inbox: from now on it accepts no operations. Callers that wait for space in a queue receive
    /// [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.intake.left.close();
        self.control.left.close();
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Sets the error that callers receive while they wait for space in a queue. `None`: the backend works.
    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        self.trouble.send_if_modified(|now| {
            let changed = now.is_some() != trouble.is_some();
            *now = trouble;
            changed
        });
    }

    /// Removes and returns the operations whose callers have waited for longer than `patience`.
    pub(crate) fn expire(&self, patience: Duration) -> Vec<Entry> {
        let is_expired = |entry: &Entry| entry.caller.is_awaited() && entry.caller.since.elapsed() >= patience;
        let mut queues = self.lock();
        let mut expired = queues.intake.take_out(is_expired);
        let mut control = Vec::from(std::mem::take(&mut queues.control));
        expired.extend(control.extract_if(.., |entry| is_expired(entry)));
        queues.control = control.into();
        expired
    }

    /// Whether the backend keeps rows in memory, and may have too little memory left.
    pub(crate) fn has_quotas(&self) -> bool {
        self.quotas.is_some()
    }

    /// Reserves memory for the rows of the operation, if the backend keeps rows in memory. Returns an error if the
    /// backend has too little memory left.
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

/// The free space of a queue, in bytes. An operation takes its own number of bytes, but at least `share` bytes for each
/// row, so that the number of rows is limited, too.
struct Room {
    left: Arc<Semaphore>,
    bytes: usize,
    share: usize,
}

impl Room {
    fn new(rows: usize, bytes: usize) -> Self {
        // The largest number of bytes of a queue. `acquire_many` takes a `u32`, so a queue cannot have more bytes.
        let most = u32::MAX as usize >> 3;
        let rows = rows.clamp(1, most);
        let bytes = bytes.clamp(rows, most);
        Self { left: Arc::new(Semaphore::new(bytes)), bytes, share: bytes / rows }
    }

    fn try_take(&self, op: &Op) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.left.clone().try_acquire_many_owned(self.of(op))
    }

    /// Waits until the queue has space for this operation. The returned future does not borrow the operation.
    fn take(&self, op: &Op) -> impl Future<Output = Result<OwnedSemaphorePermit, Error>> + use<> {
        let taken = self.left.clone().acquire_many_owned(self.of(op));
        async { taken.await.map_err(|_| Error::Closed) }
    }

    /// Returns the space that the operation takes in the queue, in bytes. An operation that is larger than the queue
    /// takes the whole queue.
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
    /// The operation is a mark: the mark comes out after all new operations that wait for the writer now.
    Mark,
    Control,
}

impl Caller {
    /// Returns whether a caller waits for the answer. If no caller waits, the writer repeats the operation until it
    /// succeeds.
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

/// The answer to an operation, which arrives later. If this value is dropped, the operation is not undone, but the
/// store makes the rows that the operation claimed wait again.
pub(crate) struct Answer {
    receiver: oneshot::Receiver<Result<Reply, Error>>,
    inbox: Arc<Inbox>,
    /// The number of reports that the operation posts. The number is 0 if the operation is not a `Post`.
    posted: u64,
}

impl Answer {
    pub(crate) async fn wait(mut self) -> Result<Reply, Error> {
        (&mut self.receiver).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The channel is closed first, so that from now on the writer notices that the caller is gone.
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Ok(reply)) => self.inbox.give_back(reply),
            // The writer sent the error just before the caller went away. The caller does not have the reports any
            // more, so the reports are counted as lost.
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
    /// Makes the rows that an answer claims wait again, because no caller receives the answer.
    pub(crate) fn give_back(&self, reply: Reply) {
        let mut untaken = Untaken::default();
        reply.untaken(&mut untaken);
        self.release(untaken);
    }

    /// Makes claimed rows wait again, because no caller, worker or delivery received them.
    pub(crate) fn release(&self, untaken: Untaken) {
        untaken.requests.into_iter().for_each(|claim| self.release_request(claim));
        untaken.reports.into_iter().for_each(|claim| self.release_report(claim));
    }
}
