//! Runs an app inside a test: its handlers, limits, retries and schedules, with neither a port nor a file.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::Caught;
use crate::app::App;
use crate::cancel;
use crate::handler::Routes;
use crate::panics::caught;
use crate::poster::Outbox;
use crate::worker::{self, Worker};
use postback_store::overview::DeliveryFilter;
use postback_store::shutdown::Shutdown;
use postback_store::{self as store, Location, NewRequest, RequestState, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::line::Causes;
use postback_wire::report::{EndReason, Outcome, Status};
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::Webhook;

/// The room of the store in memory, in bytes.
const MEMORY: usize = 1 << 30;
/// The largest number of finished requests that the store keeps.
const KEPT: usize = 10_000;
/// The largest number of reports of one request that are returned.
const MAX_REPORTS: usize = 100;
/// How long a request may take by tokio's clock.
const LONGEST: Duration = Duration::from_hours(24 * 400);
/// How long the worker waits for runs when the app is dropped.
const GRACE: Duration = Duration::ZERO;

/// An app that runs inside a test, with the worker of a server and a store in memory. It has no port, and sends nothing:
/// reports are read with [`Finished::reports`].
///
/// ```
/// use postback::testing::TestApp;
/// use postback::{App, Config, HandlerError, IntoHandlerError as _, Payload, RequestId, async_handler};
/// # #[derive(serde::Deserialize)] struct Settings { webhook_url: String }
///
/// #[async_handler(webhook = config.webhook_url, error = display)]
/// async fn divide(
///     config: Config<Settings>,
///     numbers: Payload<(u32, u32)>,
///     request_id: RequestId,
/// ) -> Result<u32, HandlerError> {
///     numbers.0.0.checked_div(numbers.0.1).ok_or_else(|| "it is divided by zero".permanent())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), postback::testing::TestError> {
/// let settings = Settings { webhook_url: "https://example.com/hooks".to_owned() };
/// let app = TestApp::start(App::new(settings).route("/divide", divide)).await?;
///
/// let id = app.submit("/divide", &(6, 2)).await?;
/// let finished = app.finished(&id).await?;
/// assert_eq!(finished.result::<u32>()?, 3);
/// assert_eq!(finished.reports()[0].url().as_str(), "https://example.com/hooks");
///
/// let id = app.submit("/divide", &(6, 0)).await?;
/// assert_eq!(app.finished(&id).await?.failure()?, "it is divided by zero");
/// assert!(app.submit("/divide", &"six").await.is_err());
/// # Ok(()) }
/// ```
///
/// # Time
///
/// All times are those of tokio's clock. Under `#[tokio::test(start_paused = true)]` the clock jumps whenever all tasks
/// wait, so retries after hours, a schedule in days and a time limit take milliseconds. `tokio::time::advance` moves it by
/// hand.
///
/// # What it does not have
///
/// The HTTP API, access, and deliveries: start the program for these. The limits are those of the program, and otherwise
/// the defaults of the settings. A report that a handler posts outside of its run, such as in a task that it spawns, or with
/// [`postback::poster()`](crate::poster()), goes to the poster of the process.
pub struct TestApp {
    store: Store,
    clock: Clock,
    routes: Routes,
    stop: Shutdown,
}

/// The error of the methods of [`TestApp`] and [`Finished`]. Its text says what came instead.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct TestError(String);

postback_wire::line::debug_as_message!(TestError);

fn of_store(error: &store::Error) -> TestError {
    TestError(format!("the store in memory cannot be used: {}", Causes(error)))
}

impl TestApp {
    /// Starts the app on the current tokio runtime. It stops when the value is dropped.
    ///
    /// # Errors
    ///
    /// Fails if the app has mistakes, such as two routes with the same path. The text lists them.
    pub async fn start<S: Send + Sync + 'static>(app: App<S>) -> Result<Self, TestError> {
        let routes = app.into_routes().map_err(|error| TestError(error.to_string()))?;
        let clock = clock();
        let place = Location::Memory { reports: KEPT, bytes: MEMORY, kept: KEPT };
        let store = Store::open(store::Options::at(place), NodeId::generate(), clock.clone()).await;
        let store =
            store.map_err(|error| TestError(format!("the store in memory cannot be opened: {}", Causes(&error))))?;
        let outbox = Outbox::of_server(store.clone(), clock.clone());
        let worker = Worker::new(outbox, routes.clone(), options(), Handle::current(), GRACE);
        let stop = Shutdown::new();
        stop.spawn(worker.run(Vec::new(), stop.clone()));
        #[cfg(feature = "cron")]
        stop.spawn(crate::cron::run(store.clone(), clock.clone(), routes.clone(), stop.clone()));
        Ok(Self { store, clock, routes, stop })
    }

    /// Submits a request with this payload, as JSON. The payload is checked as the server checks it.
    ///
    /// # Errors
    ///
    /// Fails if there is no such route, or if the payload does not fit.
    pub async fn submit(&self, route: &str, payload: &(impl Serialize + ?Sized)) -> Result<RequestId, TestError> {
        let body = serde_json::to_vec(payload);
        let body = body.map_err(|error| TestError(format!("the payload cannot be serialised: {error}")))?;
        self.submit_body(route, "application/json", body).await
    }

    /// Submits a request with this body and content type.
    ///
    /// # Errors
    ///
    /// Fails if there is no such route, or if the body or its content type does not fit.
    pub async fn submit_body(
        &self,
        route: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<RequestId, TestError> {
        let (path, body) = (route, body.into());
        let Some(route) = self.routes.get(path) else {
            return Err(TestError(format!(
                "there is no route {path}; the routes are {}",
                self.routes.paths().join(", ")
            )));
        };
        let content_type = HeaderValue::from_str(content_type);
        let content_type = content_type.map_err(|_| TestError("the content type is not a valid header".to_owned()))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        if let Some(payload) = route.payload {
            let checked = caught(|| payload.check(&headers, &body));
            let checked = checked.map_err(|text| TestError(format!("reading the payload panicked: {text}")))?;
            checked.map_err(|error| TestError(format!("the route {path} does not take the payload: {error}")))?;
        }
        let id = RequestId::generate();
        let request = NewRequest { headers, ..NewRequest::new(id.clone(), path, body, self.clock.now()) };
        self.store.submit(request).await.map_err(|error| of_store(&error))?;
        Ok(id)
    }

    /// Cancels a request. If it runs, its run is stopped. Nothing happens if it is over.
    ///
    /// # Errors
    ///
    /// Fails if there is no such request.
    pub async fn cancel(&self, id: &RequestId) -> Result<(), TestError> {
        let record = self.store.request(id).await.map_err(|error| of_store(&error))?;
        let record = record.ok_or_else(|| unknown(id))?;
        let cancelled = cancel::cancel(&self.store, &self.clock, (&record.route, &self.routes), id, None).await;
        cancelled.map(drop).map_err(|error| of_store(&error))
    }

    /// Waits until a request has ended. A request of a schedule is known by its id, too.
    ///
    /// # Errors
    ///
    /// Fails if there is no such request, or if it does not end.
    pub async fn finished(&self, id: &RequestId) -> Result<Finished, TestError> {
        let watch = self.store.watch(id);
        let known = self.store.request(id).await.map_err(|error| of_store(&error))?.ok_or_else(|| unknown(id))?;
        // The watch tells only of an end that comes after it was made.
        let is_over = matches!(known.state, RequestState::Settled(_));
        if !is_over && timeout(LONGEST, watch.settled()).await.is_err() {
            return Err(TestError(format!("the request {id} does not end, although nothing else happens any more")));
        }
        let of_store = |error: store::Error| of_store(&error);
        self.store.barrier().await.map_err(of_store)?;
        let record = self.store.request(id).await.map_err(of_store)?.ok_or_else(|| unknown(id))?;
        let RequestState::Settled(outcome) = record.state else {
            return Err(TestError(format!("the request {id} has not ended")));
        };
        let runs = self.store.timeline(id).await.map_err(of_store)?.map_or(0, |timeline| timeline.runs.len());
        let reports = self.reports(id, outcome.status).await.map_err(of_store)?;
        Ok(Finished { id: id.clone(), outcome, runs, reports })
    }

    async fn reports(&self, id: &RequestId, ended: Status) -> Result<Vec<Caught>, store::Error> {
        let of_request = DeliveryFilter { subject: Some(id.to_string()), ..DeliveryFilter::default() };
        let mut reports = Vec::new();
        for line in self.store.list_deliveries(&of_request, None, MAX_REPORTS).await?.rows.into_iter().rev() {
            let detail = self.store.delivery_detail(line.record.id).await?;
            let body = detail.and_then(|detail| detail.body).map(|body| body.start).unwrap_or_default();
            // The URL of a stored report is valid. A long body is cut off, and is no JSON then.
            if let Ok(webhook) = Webhook::new(&line.record.url) {
                let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
                let all = [Status::Completed, Status::Failed, Status::Cancelled];
                let told = parsed.get("status").and_then(Value::as_str);
                let status = all.into_iter().find(|status| told == Some(status.as_str())).unwrap_or(ended);
                reports.push(Caught { id: line.subject, status, webhook, body, parsed });
            }
        }
        Ok(reports)
    }
}

fn unknown(id: &RequestId) -> TestError {
    TestError(format!("there is no request {id}"))
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl std::fmt::Debug for TestApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestApp").field("routes", &self.routes.paths()).finish_non_exhaustive()
    }
}

/// The clock of tokio, which a test can pause. It begins at the current time of day.
fn clock() -> Clock {
    let (begun, wall) = (Instant::now(), Clock::system().now());
    let elapsed = move || begun.elapsed();
    Clock::new(move || -> Timestamp { wall.saturating_add(elapsed()) }, elapsed)
}

/// The defaults of the settings.
fn options() -> worker::Options {
    worker::Options {
        concurrency: 64,
        threads: None,
        timeout: Duration::from_hours(1),
        max_attempts: 1,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_mins(1),
        max_crashes: 3,
    }
}

/// A request of a [`TestApp`] that has ended.
#[derive(Clone)]
pub struct Finished {
    id: RequestId,
    outcome: Outcome,
    runs: usize,
    reports: Vec<Caught>,
}

impl Finished {
    /// Returns the id of the request.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Returns how the request ended.
    pub fn status(&self) -> Status {
        self.outcome.status
    }

    /// Returns why the request was not completed: also if its reports do not say it.
    pub fn reason(&self) -> Option<EndReason> {
        EndReason::of(self.outcome.status, self.outcome.reason)
    }

    /// Returns the result.
    ///
    /// # Errors
    ///
    /// Fails if the request was not completed, or if its result does not fit the type. The text says what came instead.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        if self.outcome.status != Status::Completed {
            return Err(TestError(format!("the request has no result: {self:?}")));
        }
        let json = self.outcome.result.as_ref().map_or(&b"null"[..], |json| json.bytes());
        serde_json::from_slice(json).map_err(|error| TestError(format!("{error}: {self:?}")))
    }

    /// Returns the text of the failure, as the log shows it.
    ///
    /// # Errors
    ///
    /// Fails if the request did not fail. The text says what came instead.
    pub fn failure(&self) -> Result<&str, TestError> {
        match (self.outcome.status, &self.outcome.detail) {
            (Status::Failed, detail) => Ok(detail.as_deref().unwrap_or_default()),
            _ => Err(TestError(format!("the request did not fail: {self:?}"))),
        }
    }

    /// Returns the number of runs.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// Returns the reports about the request, in the order in which they were made. Of a body of more than 64 KiB, only
    /// the start is there.
    pub fn reports(&self) -> &[Caught] {
        &self.reports
    }
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, outcome, runs, .. } = self;
        write!(f, "{id} {} after {runs} runs", outcome.status.as_str())?;
        match (&outcome.result, &outcome.detail) {
            (Some(result), _) => write!(f, ", with the result {}", String::from_utf8_lossy(result.bytes())),
            (None, Some(detail)) => write!(f, ": {detail}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
