//! Runs one request without a server, for the command `run`: in a store in memory that ends with the run, with the
//! worker of a server, and without a delivery. So the reports stay in the store, and are shown instead of sent.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::runtime::Handle;

use crate::handler::{Limits, PayloadError, Routes};
use crate::panics::caught;
use crate::poster::{Flusher, Outbox, Poster, Requests, ambient};
use crate::settings::Settings;
use crate::worker::{self, Worker};
use postback_store::overview::{DeliveryFilter, Excerpt};
use postback_store::shutdown::Shutdown;
use postback_store::{self as store, DeliveryRecord, Location, NewRequest, RequestState, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::line::Causes;
use postback_wire::report::Outcome;
use postback_wire::time::Clock;

/// The room of the store in memory: enough for the largest payload and a result as large.
const MEMORY: usize = 4 << 30;
/// The largest number of reports that are shown.
const MAX_REPORTS: usize = 100;
/// The largest number of routes that an error names.
const MAX_NAMED: usize = 20;

/// What a run has brought about.
pub(crate) struct Ran {
    pub(crate) id: RequestId,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// The reports, each with its body.
    pub(crate) reports: Vec<(DeliveryRecord, Excerpt)>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("there is no route {route}; the routes are {known}")]
    Route { route: String, known: String },
    #[error("the route does not take this payload: {0}")]
    Payload(String),
    #[error("the route does not take this query: {0}")]
    Query(String),
    #[error("the code that reads the payload panicked; the lines above say where")]
    Panicked,
    #[error("the store in memory cannot be used: {0}")]
    Store(String),
    #[error("a poster is already installed; a run installs its own, so remove the call of `install`")]
    Poster,
}

impl RunError {
    /// Whether the caller of the command has made a mistake.
    pub(crate) fn is_mistake(&self) -> bool {
        matches!(self, Self::Route { .. } | Self::Payload(_) | Self::Query(_))
    }
}

fn of_store(error: &(dyn std::error::Error + 'static)) -> RunError {
    RunError::Store(Causes(error).to_string())
}

/// Runs the handler of the route once with this payload, on the tokio runtime `handlers`. The payload is checked as the
/// API checks it.
pub(crate) async fn run_once(
    settings: &Settings,
    routes: Routes,
    handlers: Handle,
    (route, headers, body): (&str, HeaderMap, Bytes),
) -> Result<Ran, RunError> {
    let Some(known) = routes.get(route) else {
        let known = routes.iter().take(MAX_NAMED).map(|route| route.path.clone()).collect::<Vec<_>>().join(", ");
        return Err(RunError::Route { route: route.to_owned(), known });
    };
    let payload = || known.payload.map_or(Ok(()), |payload| payload.check(&headers, &body));
    let checked = caught(|| known.check_query(&headers).and_then(|()| payload()));
    let checked = checked.map_err(|_| RunError::Panicked)?;
    checked.map_err(|error| match error {
        PayloadError::Query { .. } => RunError::Query(error.to_string()),
        _ => RunError::Payload(Causes(&error).to_string()),
    })?;
    // A second run would come after a pause, and would hide the failure of the first one.
    let of_route = |path: &str| routes.get(path).map(|route| route.limits()).unwrap_or_default();
    routes.limit(|path| Limits { max_attempts: Some(1), concurrency: None, ..of_route(path) });

    let clock = Clock::system();
    let options = store::Options::at(Location::Memory { reports: MAX_REPORTS * 100, bytes: MEMORY, kept: MAX_REPORTS });
    let store = Store::open(options, NodeId::generate(), clock.clone()).await.map_err(|error| of_store(&error))?;
    let outbox = Outbox::of_server(store.clone(), clock.clone()).with_formats(routes.formats().clone());
    let flusher = Flusher::new(store.clone(), Handle::current());
    let poster = Poster::of_server(outbox.clone(), flusher, &Requests::default());
    ambient::install(&poster).map_err(|_| RunError::Poster)?;
    let options = worker::Options { concurrency: 1, ..settings.worker };
    let worker = Worker::new(outbox, routes.clone(), options, handlers, settings.grace);
    let stop = Shutdown::new();
    let working = stop.spawn(worker.run(Vec::new(), stop.clone()));

    let ran = submitted(
        &store,
        &clock,
        NewRequest { headers, ..NewRequest::new(RequestId::generate(), route, body, clock.now()) },
    );
    let ran = ran.await;
    stop.stop();
    // A panic of the worker is logged, and there is nothing left to do.
    let _ = working.await;
    store.close().await;
    ran.map_err(|error| of_store(&error))?.ok_or_else(|| RunError::Store("the request is gone".to_owned()))
}

/// Submits the request, and waits until it has ended. Returns `None` if the store has dropped the request.
async fn submitted(store: &Store, clock: &Clock, request: NewRequest) -> Result<Option<Ran>, store::Error> {
    let (id, begun) = (request.id.clone(), clock.elapsed());
    let watch = store.watch(&id);
    store.submit(request).await?;
    watch.settled().await;
    let took = clock.elapsed().saturating_sub(begun);
    // Reports that the handler has posted by itself may still be on their way.
    store.barrier().await?;
    let record = store.request(&id).await?;
    let mut reports = Vec::new();
    for line in store.list_deliveries(&DeliveryFilter::default(), None, MAX_REPORTS).await?.rows.into_iter().rev() {
        let body = store.delivery_detail(line.record.id).await?.and_then(|detail| detail.body);
        reports.push((line.record, body.unwrap_or_default()));
    }
    Ok(record.and_then(|record| match record.state {
        RequestState::Settled(outcome) => Some(Ran { id, outcome, took, reports }),
        RequestState::Queued | RequestState::Running => None,
    }))
}
