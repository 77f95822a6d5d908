//! Handlers, their extractors, and the routes that lead to them.
//!
//! A handler is an `async fn` with up to 8 extractors in any order, at most one of them a [`Payload`]. It returns
//! `Result<T, E>`: `T` is serialised as the result, and the text of `E` goes to log and store.

mod attempt;
mod attribute;
mod batch;
mod body;
mod cancellation;
pub mod check;
mod checkpoint;
mod deadline;
mod error;
mod extract;
mod form;
mod limits;
mod metadata;
#[cfg(feature = "multipart")]
mod multipart;
mod payload;
mod place;
mod progress;
mod query;
mod reply;
mod routes;
mod schedule;
mod schema;
mod trace;
mod unbound;

use std::any::{TypeId, type_name};
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

pub use self::attempt::Attempt;
pub(crate) use self::attribute::Asked;
pub use self::attribute::{Announcement, Reads, WebhookProbe, type_path};
pub use self::batch::{Batch, BatchHandler, BatchItem};
#[cfg(feature = "forward")]
pub(crate) use self::body::is_json_type;
pub(crate) use self::body::{FORM, MULTIPART, PayloadError, PayloadKind};
pub use self::cancellation::{CancelReason, Cancellation};
pub(crate) use self::checkpoint::Keeper;
pub use self::checkpoint::{Checkpoint, CheckpointError};
pub use self::deadline::Deadline;
pub(crate) use self::error::{AfterError, RetryIf};
pub use self::error::{HandlerError, IntoHandlerError};
pub use self::extract::Shared;
pub(crate) use self::extract::States;
pub use self::extract::{Config, Extract, Headers, Parameter, State};
pub use self::form::Form;
pub use self::metadata::Metadata;
#[cfg(feature = "multipart")]
pub(crate) use self::multipart::delete_left_files;
#[cfg(feature = "multipart")]
pub use self::multipart::{Multipart, Part};
pub use self::payload::Payload;
pub(crate) use self::place::Place;
pub use self::progress::Progress;
pub(crate) use self::progress::Telling;
pub use self::query::Query;
pub(crate) use self::query::QueryCheck;
pub use self::reply::Reply;
pub(crate) use self::reply::{Ready, Replied};

pub(crate) use self::limits::{Limits, allowed};
pub(crate) use self::routes::{Route, RouteError, Routes};
pub(crate) use self::schedule::ShownSchedule;
pub(crate) use self::schema::Described;
pub use self::trace::Trace;
pub(crate) use self::unbound::Unbound;
use crate::panics::{caught, contain};
use postback_store::Extras;
use postback_wire::id::RequestId;
use postback_wire::report::Json;

/// A request for which a handler runs. Extractors make the parameters of the handler from it.
#[derive(Clone)]
pub struct Run {
    pub(crate) id: RequestId,
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) body: Bytes,
    /// Returns whether the handler's result must still be serialised. Returns `false` if an annotated function call has
    /// already serialised the result.
    pub(crate) wanted: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) info: RunInfo,
}

/// What a handler may ask about its run. The default is that of a handler that is called outside of a worker.
#[derive(Clone, Default)]
pub(crate) struct RunInfo {
    /// Where the handler tells its progress.
    pub(crate) progress: Progress,
    pub(crate) attempt: Attempt,
    /// `None`: the handler does not ask for it.
    pub(crate) cancellation: Option<Cancellation>,
    /// The longest time that the run may take, from its beginning.
    pub(crate) limit: Option<Duration>,
    /// What the caller brought in headers.
    pub(crate) extras: Option<Arc<Extras>>,
    /// What keeps the checkpoints of the run.
    pub(crate) checkpoint: Keeper,
    /// Whether the request runs again after an error of the handler. `None`: always.
    pub(crate) retry_if: Option<RetryIf>,
    /// The files of the payload, on disk, or why they could not be written. `None`: the payload has none, or no run.
    #[cfg(feature = "multipart")]
    pub(crate) multipart: Option<Result<Multipart, Arc<str>>>,
    /// The bodies of a batch of requests.
    pub(crate) batch: Option<batch::SharedBodies>,
}

/// What the parameters of a handler need of the worker. The worker prepares nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The handler tells its progress.
    pub(crate) progress: bool,
    /// The handler asks whether its run is stopped.
    pub(crate) cancellation: bool,
    /// The handler asks how the last run failed.
    pub(crate) last_error: bool,
    /// The handler saves checkpoints.
    pub(crate) checkpoint: bool,
    /// The handler takes something that a single request has, and a batch of requests has not.
    pub(crate) of_one_request: bool,
    /// The handler takes a batch of requests.
    pub(crate) batch: bool,
    /// The handler takes files, which the worker writes to disk.
    pub(crate) files: bool,
}

impl Needs {
    /// The needs of a parameter that belongs to a single request.
    fn of_one_request() -> Self {
        Self { of_one_request: true, ..Self::default() }
    }

    fn and(self, other: Self) -> Self {
        Self {
            progress: self.progress || other.progress,
            cancellation: self.cancellation || other.cancellation,
            last_error: self.last_error || other.last_error,
            checkpoint: self.checkpoint || other.checkpoint,
            of_one_request: self.of_one_request || other.of_one_request,
            batch: self.batch || other.batch,
            files: self.files || other.files,
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run({})", self.id)
    }
}

impl Run {
    /// Returns the id of the request. For a handler of a batch, the id of its first request.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Returns the headers with which the request was submitted, without those that carry credentials.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the body of the request.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Makes a run for this request. The result of the handler must be serialised.
    pub(crate) fn of(id: RequestId, headers: Arc<HeaderMap>, body: Bytes) -> Self {
        Self { id, headers, body, wanted: Arc::new(|| true), info: RunInfo::default() }
    }
}

/// How a run of a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The handler returned `Ok`. The value is the result as JSON, or `Err` with the reason why the result could not be
    /// serialised. The value is `None` if an annotated function call has already serialised the result.
    Completed(Option<Result<Option<Json>, String>>),
    /// The handler returned a [`Reply`]. Its stream, if it has one, must still be read.
    Replying(Box<Replied>),
    /// The handler returned a [`Reply`], whose bytes can be read.
    Replied(Box<Ready>),
    /// The handler returned `Err`, or a parameter of it could not be made. `text` is the text of the error.
    Failed { text: String, after: AfterError },
    /// The handler's function panicked, or the future that it returned, or the `Drop` of a value in one of these. The
    /// value is the message of the panic.
    Panicked(String),
}

pub(crate) type Running = Pinned<Ended>;

/// A future on the heap.
type Pinned<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An async function that can be the handler of a route, which [`App::route`](crate::App::route) adds.
///
/// This trait is implemented for `async fn(A1, …, A8) -> Result<T, E>` where each `A` implements [`Extract`], `T:
/// Serialize + 'static` and `E: Display + 'static`. The function's future must be `Send`. The error is formatted with `{:#}`, which makes
/// some error types show their causes. The text of the error is logged and stored. Reports and API responses show this
/// text only if the attribute has the argument `error`.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a handler of an app with settings of type `{S}`",
    label = "not a handler",
    note = "a handler is an `async fn` with up to 8 parameters of the types `Config<{S}>`, `State<T>`, `Payload<T>`, `Headers`, `RequestId`, `Progress`, `Attempt`, `Cancellation`, `Deadline`, `Checkpoint<T>`, `Metadata`, `Query<T>`, `Trace`",
    note = "it returns `Result<T, E>` with `T: Serialize + 'static` and `E: Display + 'static`, and its future is `Send`",
    note = "write `#[postback::debug_handler]` above the function to see which part does not fit"
)]
pub trait Handler<A, S>: Send + Sync + 'static {
    #[doc(hidden)]
    fn bind(self, shared: Arc<Shared<S>>) -> Bound;
}

/// A handler together with the app's settings and states, ready to run. Users of the crate cannot read its fields.
pub struct Bound {
    pub(crate) run: Box<dyn Fn(Run) -> Running + Send + Sync>,
    /// The kind of the handler's payload. `None` if the handler takes no payload.
    pub(crate) payload: Option<PayloadKind>,
    /// The checks of the query, one for each parameter that reads it.
    pub(crate) queries: Vec<QueryCheck>,
    pub(crate) needs: Needs,
    /// Whether the handler may name webhooks itself, with the attribute.
    pub(crate) names_webhooks: bool,
    /// The type of the handler's error, and its name.
    pub(crate) error: (TypeId, &'static str),
    /// Messages about the handler's parameters, one message for each thing that a parameter needs and the app lacks.
    pub(crate) faults: Vec<String>,
}

impl Bound {
    fn new(
        run: Box<dyn Fn(Run) -> Running + Send + Sync>,
        payloads: &[Option<PayloadKind>],
        needs: Needs,
        faults: &[Option<String>],
    ) -> Self {
        let mut faults: Vec<_> = faults.iter().flatten().cloned().collect();
        let payloads: Vec<_> = payloads.iter().flatten().copied().collect();
        if payloads.len() > 1 {
            faults.push(format!("the handler takes {} payloads, but a request has only one", payloads.len()));
        }
        let (payload, error) = (payloads.first().copied(), named::<()>());
        Self { run, payload, queries: Vec::new(), needs, names_webhooks: true, error, faults }
    }

    /// Makes a bound handler without extractors, from a function that runs a request with any body.
    #[cfg(feature = "forward")]
    pub(crate) fn of_bytes(run: impl Fn(Run) -> Running + Send + Sync + 'static) -> Self {
        let bound = Self::new(Box::new(run), &[Some(PayloadKind::Bytes)], Needs::default(), &[]);
        Self { names_webhooks: false, ..bound }
    }

    /// Makes a bound handler that cannot run, because of a fault in the declaration of its route.
    #[cfg(feature = "forward")]
    pub(crate) fn at_fault(fault: String) -> Self {
        let failed = |fault: &str| Ended::Failed { text: fault.to_owned(), after: AfterError::Permanent };
        let text = fault.clone();
        Self { faults: vec![fault], ..Self::of_bytes(move |_| Box::pin(std::future::ready(failed(&text)))) }
    }

    fn checking(self, queries: &[Option<QueryCheck>]) -> Self {
        Self { queries: queries.iter().flatten().copied().collect(), ..self }
    }

    fn failing_with<E: 'static>(self) -> Self {
        Self { error: named::<E>(), ..self }
    }
}

/// Returns a type and its name.
pub(crate) fn named<T: 'static>() -> (TypeId, &'static str) {
    (TypeId::of::<T>(), type_name::<T>())
}

macro_rules! handlers {
    ($($Arg:ident $arg:ident)*) => {
        impl<F, Fut, S, T, E, $($Arg,)*> Handler<($($Arg,)*), S> for F
        where
            F: Fn($($Arg,)*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<T, E>> + Send + 'static,
            T: Serialize + 'static,
            E: Display + 'static,
            S: Send + Sync + 'static,
            $($Arg: Extract<S>,)*
        {
            fn bind(self, shared: Arc<Shared<S>>) -> Bound {
                let payloads: &[Option<PayloadKind>] = &[$($Arg::payload(),)*];
                let needs = Needs::default()$(.and($Arg::needs()))*;
                let batch = needs.batch.then(|| "the handler takes a `Batch`, so add it with `App::batch`".to_owned());
                let faults: &[Option<String>] = &[batch, $($Arg::fault(&shared),)*];
                let handler = Arc::new(self);
                let run = move |run: Run| -> Running {
                    let (handler, shared) = (Arc::clone(&handler), Arc::clone(&shared));
                    Box::pin(async move {
                        $(
                            let $arg = match $Arg::extract(&run, &shared) {
                                Ok(extracted) => extracted,
                                Err(text) => return Ended::Failed { text, after: AfterError::Usual },
                            };
                        )*
                        drop(shared);
                        match contain(handler($($arg,)*)).await {
                            Ok(returned) => ended(returned, &run),
                            Err(message) => Ended::Panicked(message),
                        }
                    })
                };
                Bound::new(Box::new(run), payloads, needs, faults).checking(&[$($Arg::query(),)*]).failing_with::<E>()
            }
        }
    };
}

handlers!();
handlers!(A1 a1);
handlers!(A1 a1 A2 a2);
handlers!(A1 a1 A2 a2 A3 a3);
handlers!(A1 a1 A2 a2 A3 a3 A4 a4);
handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5);
handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6);
handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7);
handlers!(A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7 A8 a8);

/// Converts the `Result` that a handler has returned into an `Ended`. Drops the `Result`, and catches a panic of this
/// drop.
fn ended<T: Serialize + 'static, E: Display + 'static>(returned: Result<T, E>, run: &Run) -> Ended {
    caught(|| rendered(returned, run)).unwrap_or_else(Ended::Panicked)
}

fn rendered<T: Serialize + 'static, E: Display + 'static>(returned: Result<T, E>, run: &Run) -> Ended {
    let mut returned = returned.map(Some);
    if let Ok(result) = &mut returned
        && let Some(replied) = reply::taken(result)
    {
        return Ended::Replying(Box::new(replied));
    }
    match returned {
        Ok(_) if !(run.wanted)() => Ended::Completed(None),
        Ok(result) => Ended::Completed(Some(match caught(|| Json::of(&result)) {
            Ok(json) => json.map_err(|error| error.to_string()),
            Err(_) => Err("its Serialize implementation panicked".into()),
        })),
        Err(error) => {
            let text = caught(|| format!("{error:#}"));
            let text = text.unwrap_or_else(|_| "an error whose Display implementation panicked".into());
            Ended::Failed { text, after: error::after(&error, run.info.retry_if.as_ref()) }
        }
    }
}
