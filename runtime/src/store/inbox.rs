//! The way to the writer: two bounded queues, so that a full intake never keeps a settlement out. The intake is fair by origin
//! and by route.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::Instant;

use super::Error;
use super::counters::{Counters, TakenIn};
use super::intake::Intake;
use super::operation::Untaken;
use super::ops::{Barrier, Op, ReleaseReport, ReleaseRequest, Reply};
use super::quota::Quotas;
use super::record::{ReportClaim, RequestClaim};
use crate::line::Causes;

/// Settlements, claims and the like that may wait at once, and their bytes; a larger one goes alone. They are few: each has
/// a caller that waits for it.
const CONTROL: (usize, usize) = (4_096, 64 << 20);

/// An operation on its way, with what its caller waits on and the room that it takes up in the queue.
pub(crate) struct Entry {
    pub(crate) op: Op,
    /// `None`: nobody waits, or was told already.
    pub(crate) answer: Option<oneshot::Sender<Result<Reply, Error>>>,
    pub(crate) since: Instant,
    /// The reports of a post.
    pub(crate) taken_in: TakenIn,
    _queued: Option<OwnedSemaphorePermit>,
}

/// Where callers put operations and the writer takes them.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
    intake: Room,
    control: Room,
    /// Hashes what a line is named after.
    hash: RandomState,
    quotas: Option<Arc<Quotas>>,
    counters: Arc<Counters>,
    /// Set while a batch has been failing for longer than callers are kept waiting.
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

    /// Takes in a post without waiting. Refused while there is no room, or only as much as is kept for other origins.
    pub(crate) fn try_push(&self, mut op: Op) -> Result<(), Error> {
        let room = self.intake.try_take(&op)?;
        let (line, cost, free) = (self.line(&op), room.num_permits(), self.intake.left.available_permits());
        if !self.lock().intake.may_grow(line, cost, free) {
            return Err(Error::Full);
        }
        self.reserve(&mut op)?;
        self.enqueue(Queue::Intake { line, cost }, self.entry(op, None, Some(room)))
    }

    /// Takes in a submission or post once there is room for it.
    pub(crate) async fn push(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        // Given back by the writer, who does not wait for it.
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

    /// Takes in a settlement, a claim and the like: in a queue of their own, so that a full intake is no matter.
    pub(crate) async fn control(self: &Arc<Self>, mut op: Op) -> Result<Answer, Error> {
        let room = self.control.take(&op).await?;
        self.reserve(&mut op)?;
        self.ask(Queue::Control, op, room)
    }

    /// Takes in a mark that is answered after everything that is in the intake now.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Result<Answer, Error> {
        let op = Barrier::default().into();
        let room = self.control.take(&op).await?;
        self.ask(Queue::Mark, op, room)
    }

    /// Gives back what was claimed and then not taken. Bounded by the claims themselves; when the store is closed
    /// already, the next owner recovers the rows.
    pub(crate) fn release_request(&self, claim: RequestClaim) {
        let op = ReleaseRequest { claim, due: None, failed: false };
        drop(self.enqueue(Queue::Control, self.entry(op.into(), None, None)));
    }

    /// See [`release_request`](Self::release_request).
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

    /// The next operation, settlements first.
    pub(crate) fn pop(&self) -> Option<Entry> {
        let mut queues = self.lock();
        queues.control.pop_front().or_else(|| queues.intake.pop())
    }

    /// Returns when something may have arrived, or the inbox was closed.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Closes, and drops what is left: who waits for it is told.
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
                // Stage by the end of its channel.
                entry.taken_in.given_back();
            }
            lost += entry.taken_in.reports();
        }
        if lost > 0 {
            tracing::error!(reports = lost, "{lost} reports are lost: the store ended before it wrote them");
        }
    }

    /// Lets nothing more in; who waits for room is told.
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.intake.left.close();
        self.control.left.close();
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Tells callers that wait for room that the backend fails, or that it does no longer.
    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        self.trouble.send_if_modified(|now| {
            let changed = now.is_some() != trouble.is_some();
            *now = trouble;
            changed
        });
    }

    /// Takes out what has had a caller waiting for longer than `patience`.
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

/// Room for so many rows and bytes: each row takes up its bytes, and at least its share of all.
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

    /// The operation is looked at now, and free while its room is waited for.
    fn take(&self, op: &Op) -> impl Future<Output = Result<OwnedSemaphorePermit, Error>> + use<> {
        let taken = self.left.clone().acquire_many_owned(self.of(op));
        async { taken.await.map_err(|_| Error::Closed) }
    }

    /// Something larger than all the room takes all the room.
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
    /// Of the intake too, and answered after all that is in it.
    Mark,
    Control,
}

impl Entry {
    /// Whether a caller waits who can be told. What nobody waits for is tried until it works.
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

/// What a caller waits on. Dropping it does not undo the operation; rows that it had claimed are given back.
pub(crate) struct Answer {
    receiver: oneshot::Receiver<Result<Reply, Error>>,
    inbox: Arc<Inbox>,
    /// The reports of a post.
    posted: u64,
}

impl Answer {
    pub(crate) async fn wait(mut self) -> Result<Reply, Error> {
        (&mut self.receiver).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Closed first: from here on the writer sees that nobody takes the answer.
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Ok(reply)) => self.inbox.give_back(reply),
            // They were given back to a caller that had just gone away.
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
