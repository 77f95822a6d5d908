//! Handlers that take several requests at once, as inference servers do.
//!
//! Each request is claimed, watched and settled by itself, as every other. Its run hands the payload to the collector of
//! its route (`batch/collect`), and waits there for its own outcome.

mod collect;

use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::collect::Collector;
use super::body::{PayloadKind, read};
use super::extract::Parameter;
use super::{AfterError, Bound, Ended, Extract, Needs, Run, Shared, ended, named};
use crate::panics::contain;
use postback_wire::id::RequestId;

/// The largest number of requests in one batch.
const MAX_SIZE: usize = 1_024;
/// The longest time that the first request of a batch may wait for others.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// The requests that a handler of [`App::batch`](crate::App::batch) takes at once: at least one, and at most as many as
/// the route allows.
///
/// `Batch` dereferences to a slice of its items, and can be iterated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T>(Vec<BatchItem<T>>);

/// One request of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchItem<T> {
    /// The id of the request.
    pub id: RequestId,
    /// The body of the request, read as JSON.
    pub payload: T,
}

impl<T> Batch<T> {
    /// Makes a batch from payloads, so that a test can call a handler directly. Each gets a new id.
    pub fn new(payloads: impl IntoIterator<Item = T>) -> Self {
        let item = |payload| BatchItem { id: RequestId::generate(), payload };
        Self(payloads.into_iter().map(item).collect())
    }
}

impl<T> Deref for Batch<T> {
    type Target = [BatchItem<T>];

    fn deref(&self) -> &[BatchItem<T>] {
        &self.0
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = BatchItem<T>;
    type IntoIter = std::vec::IntoIter<BatchItem<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a BatchItem<T>;
    type IntoIter = std::slice::Iter<'a, BatchItem<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The bodies of a batch on their way to the parameter [`Batch`], and which of them could not be read.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    bodies: Vec<(RequestId, Bytes)>,
    unread: Vec<Option<String>>,
}

/// The bodies of a batch, shared by the code that starts the handler and the parameter.
pub(crate) type SharedBodies = Arc<Mutex<Bodies>>;

impl<T: Send + 'static> Parameter for Batch<T> {}

impl<S, T: DeserializeOwned + Send + 'static> Extract<S> for Batch<T> {
    fn payload() -> Option<PayloadKind> {
        Some(PayloadKind::of::<T>())
    }

    fn needs() -> Needs {
        Needs { batch: true, ..Needs::default() }
    }

    #[cfg(feature = "multipart")]
    fn fault(_: &Shared<S>) -> Option<String> {
        let is_multipart = super::multipart::is_multipart::<T>();
        is_multipart.then(|| "a batch cannot take forms with files; take a `Payload<Multipart>`".to_owned())
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        let bodies = run.info.batch.as_ref().ok_or("a handler that takes a Batch runs by App::batch")?;
        let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut items = Vec::with_capacity(bodies.bodies.len());
        for (id, body) in std::mem::take(&mut bodies.bodies) {
            // The server has checked each body before it accepted the request. But an older version of the program may
            // have accepted it.
            match read(&body) {
                Ok(payload) => {
                    items.push(BatchItem { id, payload });
                    bodies.unread.push(None);
                }
                Err(error) => bodies.unread.push(Some(format!("the payload does not fit the handler: {error}"))),
            }
        }
        Ok(Self(items))
    }
}

/// An async function that can be the handler of [`App::batch`](crate::App::batch).
///
/// This trait is implemented for `async fn(A1, …, A8) -> Vec<Result<T, E>>` where one parameter is a [`Batch`], and each
/// other one belongs to the app: [`Config`](crate::Config), [`State`](crate::State), or an extractor of your own that
/// reads only these. `T: Serialize` and `E: Display + 'static`.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a handler of a batch in an app with settings of type `{S}`",
    label = "not a handler of a batch",
    note = "it is an `async fn` with a parameter `Batch<T>`, and up to 7 others of the types `Config<{S}>` and `State<T>`",
    note = "it returns `Vec<Result<T, E>>`, with an outcome for each request of the batch, and its future is `Send`"
)]
pub trait BatchHandler<A, S>: Send + Sync + 'static {
    #[doc(hidden)]
    fn bind(self, shared: Arc<Shared<S>>, size: usize, wait: Duration) -> Bound;
}

/// Runs a whole batch. Returns the end of each run, in the order of the runs.
type RunBatch = Box<dyn Fn(Vec<Run>) -> super::Pinned<Vec<Ended>> + Send + Sync>;

macro_rules! batch_handlers {
    ($($Arg:ident $arg:ident)+) => {
        impl<F, Fut, S, T, E, $($Arg,)+> BatchHandler<($($Arg,)+), S> for F
        where
            F: Fn($($Arg,)+) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Vec<Result<T, E>>> + Send + 'static,
            T: Serialize + Send + 'static,
            E: Display + Send + 'static,
            S: Send + Sync + 'static,
            $($Arg: Extract<S>,)+
        {
            fn bind(self, shared: Arc<Shared<S>>, size: usize, wait: Duration) -> Bound {
                let payloads: &[Option<PayloadKind>] = &[$($Arg::payload(),)+];
                let needs = Needs::default()$(.and($Arg::needs()))+;
                let mut faults: Vec<Option<String>> = vec![$($Arg::fault(&shared),)+];
                faults.extend(mistakes(needs, size, wait));
                let handler = Arc::new(self);
                let run: RunBatch = Box::new(move |runs| {
                    let (handler, shared) = (Arc::clone(&handler), Arc::clone(&shared));
                    Box::pin(async move {
                        let (lead, bodies) = lead(&runs);
                        $(
                            let $arg = match $Arg::extract(&lead, &shared) {
                                Ok(extracted) => extracted,
                                Err(text) => return all_failed(&runs, &text),
                            };
                        )+
                        drop(shared);
                        let unread = unread(&bodies);
                        if unread.iter().all(Option::is_some) {
                            return outcomes(Vec::<Result<T, E>>::new(), unread, &runs);
                        }
                        match contain(handler($($arg,)+)).await {
                            Ok(returned) => outcomes(returned, unread, &runs),
                            Err(message) => runs.iter().map(|_| Ended::Panicked(message.clone())).collect(),
                        }
                    })
                });
                let collector = Collector::new(run, size.clamp(1, MAX_SIZE), wait.min(MAX_WAIT));
                let run = move |run: Run| -> super::Running { Box::pin(Arc::clone(&collector).run(run)) };
                let bound = Bound::new(Box::new(run), payloads, Needs { batch: false, ..needs }, &faults);
                Bound { names_webhooks: false, error: named::<E>(), ..bound }
            }
        }
    };
}

batch_handlers!(A1 a1);
batch_handlers!(A1 a1 A2 a2);
batch_handlers!(A1 a1 A2 a2 A3 a3);
batch_handlers!(A1 a1 A2 a2 A3 a3 A4 a4);
batch_handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5);
batch_handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6);
batch_handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7);
batch_handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7 A8 a8);

/// Returns what is wrong with a handler of a batch, besides what its parameters say.
fn mistakes(needs: Needs, size: usize, wait: Duration) -> Vec<Option<String>> {
    let range = "a batch has from 1 to 1024 requests";
    vec![
        (!needs.batch).then(|| "the handler takes no `Batch<T>`, which a route of `batch` needs".to_owned()),
        needs.of_one_request.then(|| {
            "the handler takes something of a single request, but a batch has several; take only `Batch<T>`, \
             `Config<S>` and `State<T>`"
                .to_owned()
        }),
        (!(1..=MAX_SIZE).contains(&size)).then(|| format!("the size of the batch is {size}; {range}")),
        (wait > MAX_WAIT).then(|| "a batch waits at most one minute for more requests".to_owned()),
    ]
}

/// Makes the run from which the parameters of the handler are extracted: that of the first request, with all bodies.
fn lead(runs: &[Run]) -> (Run, SharedBodies) {
    let bodies = runs.iter().map(|run| (run.id.clone(), run.body.clone())).collect();
    let bodies = Arc::new(Mutex::new(Bodies { bodies, unread: Vec::new() }));
    // A batch has at least one request.
    let first = runs.first().cloned();
    let mut lead = first.unwrap_or_else(|| Run::of(RequestId::generate(), Arc::default(), Bytes::new()));
    lead.info.batch = Some(Arc::clone(&bodies));
    (lead, bodies)
}

/// Returns why each body could not be read. `None`: it was read.
fn unread(bodies: &SharedBodies) -> Vec<Option<String>> {
    std::mem::take(&mut bodies.lock().unwrap_or_else(PoisonError::into_inner).unread)
}

fn failed(text: String) -> Ended {
    Ended::Failed { text, after: AfterError::Usual }
}

fn all_failed(runs: &[Run], text: &str) -> Vec<Ended> {
    runs.iter().map(|_| failed(text.to_owned())).collect()
}

/// Gives each run its outcome. The handler has returned one for each payload that could be read.
fn outcomes<T: Serialize + 'static, E: Display + 'static>(
    returned: Vec<Result<T, E>>,
    unread: Vec<Option<String>>,
    runs: &[Run],
) -> Vec<Ended> {
    let (wanted, got) = (unread.iter().filter(|why| why.is_none()).count(), returned.len());
    if wanted != got {
        let text = format!("the handler returned {got} outcomes for a batch of {wanted} requests");
        // Dropping the outcomes runs code of the user, which may panic.
        let _ = crate::panics::caught(|| drop(returned));
        return all_failed(runs, &text);
    }
    let mut returned = returned.into_iter();
    let one = |(why, run): (Option<String>, &Run)| match why {
        Some(why) => failed(why),
        // There is an outcome for each payload that was read.
        None => returned.next().map_or_else(|| failed(String::new()), |returned| ended(returned, run)),
    };
    unread.into_iter().zip(runs).map(one).collect()
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
