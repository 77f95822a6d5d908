//! The queues in front of the writer. There are two, each with its own limit, so a full intake never delays a
//! settlement. In the intake the lines of origins and routes take turns.

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

/// How many operations may wait in the queue for settlements and claims, and their bytes. An operation with more bytes
/// is let in alone. These limits are rarely reached, because each of these operations has a caller that waits for it.
const CONTROL: (usize, usize) = (4_096, 64 << 20);

/// An operation in a queue, the channel on which its caller waits, and the room that it takes in the queue.
pub(crate) struct Entry {
    pub op: Op,
    /// `None`: nobody waits for the answer, or the answer was sent.
    pub answer: Option<oneshot::Sender<Result<Reply, Error>>>,
    pub since: Instant,
    /// Counts the reports of a post as lost if they are not written.
    pub taken_in: TakenIn,
    _queued: Option<OwnedSemaphorePermit>,
}

/// Where callers put operations and the writer takes them.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
    intake: Room,
    control: Room,
    /// Hashes the names of lines.
    hash: RandomState,
    quotas: Option<Arc<Quotas>>,
    counters: Arc<Counters>,
    /// Set while a batch fails for longer than callers have to wait.
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

    /// Takes in a post without waiting. The post is refused if the queue is full, or if the remaining room is reserved
    /// for other origins.
    pub(crate) fn try_push(&self, mut op: Op) -> Result<(), Error> {
        let room = self.intake.try_take(&op)?;
        let (line, cost, free) = (self.line(&op), room.num_permits(), self.intake.left.available_permits());
        if !self.lock().intake.may_grow(line, cost, free) {
            return Err(Error::Full);
        }
        self.reserve(&mut op)?;
        self.enqueue(Queue::Intake { line, cost }, self.entry(op, None, Some(room)))
    }

    /// Takes in a submission or a post as soon as the queue has room for it.
    pub(crate) async fn push(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        // The writer gives the room back as it takes entries out. The writer never waits for room.
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

    /// Takes in any other operation, such as a settlement or a claim. These have their own queue, so a full intake does
    /// not delay them.
    pub(crate) async fn control(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        let room = self.control.take(&op).await?;
        self.reserve(&mut op)?;
        self.ask(Queue::Control, op, room)
    }

    /// Takes in a barrier, which is answered after all operations that are in the intake now.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Result<Answer, Error> {
        let op = Barrier::default().into();
        let room = self.control.take(&op).await?;
        self.ask(Queue::Mark, op, room)
    }

    /// Puts back a request that was claimed and that nobody took. The operation takes no room in the queue, because
    /// there are never more such operations than claims. If the store is closed, the next owner recovers the row.
    pub(crate) fn release_request(&self, claim: RequestClaim) {
        let op = ReleaseRequest { claim, due: None, failed: false };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    /// Puts back a report that was claimed and that nobody took. If the store is closed, the next owner recovers the
    /// row.
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

    /// The line of the intake in which the operation waits.
    fn line(&self, op: &Op) -> u64 {
        self.hash.hash_one(op.line())
    }

    /// The next operation. Settlements and claims come before the intake.
    pub(crate) fn pop(&self) -> Option<Entry> {
        let mut queues = self.lock();
        queues.control.pop_front().or_else(|| queues.intake.pop())
    }

    /// Returns when an operation may have arrived, or the inbox was closed.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Closes the inbox and drops the operations in it. Their callers receive [`Error::Closed`].
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
                // The end of the channel tells the caller that the reports are not written.
                entry.taken_in.given_back();
            }
            lost += entry.taken_in.reports();
        }
        if lost > 0 {
            tracing::error!(reports = lost, "{lost} reports are lost: the store ended before it wrote them");
        }
    }

    /// Lets no more operations in. Callers that wait for room receive [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.intake.left.close();
        self.control.left.close();
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Tells callers that wait for room whether the backend fails.
    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        self.trouble.send_if_modified(|now| {
            let changed = now.is_some() != trouble.is_some();
            *now = trouble;
            changed
        });
    }

    /// Takes out the operations whose callers have waited for longer than `patience`.
    pub(crate) fn expire(&self, patience: Duration) -> Vec<Entry> {
        let is_expired = |entry: &Entry| entry.is_awaited() && entry.since.elapsed() >= patience;
        let mut queues = self.lock();
        let mut expired = queues.intake.take_out(is_expired);
        let mut control = Vec::from(std::mem::take(&mut queues.control));
        expired.extend(control.extract_if(.., |entry| is_expired(entry)));
        queues.control = control.into();
        expired
    }

    /// Reserves the room that the rows take in the memory backend, which is refused when that backend is full.
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

/// The room of a queue, in bytes. A row takes its bytes, but at least `share`, which limits the number of rows.
struct Room {
    left: Arc<Semaphore>,
    bytes: usize,
    share: usize,
}

impl Room {
    fn new(rows: usize, bytes: usize) -> Self {
        // `acquire_many` counts in `u32`.
        let most = u32::MAX as usize >> 3;
        let rows = rows.clamp(1, most);
        let bytes = bytes.clamp(rows, most);
        Self { left: Arc::new(Semaphore::new(bytes)), bytes, share: bytes / rows }
    }

    fn try_take(&self, op: &Op) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.left.clone().try_acquire_many_owned(self.of(op))
    }

    /// Waits for the room of this operation. The returned future does not borrow the operation.
    fn take(&self, op: &Op) -> impl Future<Output = Result<OwnedSemaphorePermit, Error>> + use<> {
        let taken = self.left.clone().acquire_many_owned(self.of(op));
        async { taken.await.map_err(|_| Error::Closed) }
    }

    /// The room that the operation takes. An operation that is larger than the queue takes all of its room.
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
    /// In the intake, behind all operations that are in it now.
    Mark,
    Control,
}

impl Entry {
    /// Whether a caller waits for the answer. The writer repeats an operation without a caller until it succeeds.
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

/// The answer to come. Dropping it does not undo the operation, but rows that the operation claimed are put back.
pub(crate) struct Answer {
    receiver: oneshot::Receiver<Result<Reply, Error>>,
    inbox: Arc<Inbox>,
    /// How many reports the post has.
    posted: u64,
}

impl Answer {
    pub(crate) async fn wait(mut self) -> Result<Reply, Error> {
        (&mut self.receiver).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Close the channel first: from here on the writer sees that nobody takes the answer.
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Ok(reply)) => self.inbox.give_back(reply),
            // The error came when the caller had just gone away, so nobody has the reports.
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
    /// Puts back the rows of an answer that nobody takes.
    pub(crate) fn give_back(&self, reply: Reply) {
        let mut untaken = Untaken::default();
        reply.untaken(&mut untaken);
        self.release(untaken);
    }

    /// Puts back rows that nobody took.
    pub(crate) fn release(&self, untaken: Untaken) {
        untaken.requests.into_iter().for_each(|claim| self.release_request(claim));
        untaken.reports.into_iter().for_each(|claim| self.release_report(claim));
    }
}
