//! Runs an app inside a test: its handlers, limits, retries, schedules and deliveries, with neither a port nor a file.

mod finished;
mod setup;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

pub use self::finished::Finished;
pub use self::setup::NewTestApp;
use super::patience::Patience;
use super::{Caught, Receiver};
use crate::api::Submitter;
use crate::app::App;
use crate::cancel;
use crate::handler::Routes;
use postback_store::overview::DeliveryFilter;
use postback_store::shutdown::Shutdown;
use postback_store::{self as store, Faults, RequestClaim, RequestState, Stage, Store};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::report::{Outcome, Reason, Status, StoredResult};
use postback_wire::time::Clock;
use postback_wire::webhook::Webhook;

/// The largest number of reports of one request that are returned.
const MAX_REPORTS: usize = 100;

/// An app that runs inside a test, with the worker and the deliveries of a server, and a store in memory. It has no port:
/// reports go to the test's own [`Receiver`], whatever their URL is, over connections within the process.
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
/// # Reports
///
/// [`receiver`](Self::receiver) gets every report, and answers 204 unless the test says otherwise. Attempts, retries, circuits
/// and signatures are those of a server. All URLs that the program chooses count as trusted. URLs that a caller chooses get
/// unsigned reports, and no address of a private network.
///
/// ```
/// use postback::testing::TestApp;
/// use postback::{App, Payload};
///
/// async fn count(text: Payload<String>) -> Result<usize, String> {
///     Ok(text.len())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), postback::testing::TestError> {
/// let app = TestApp::new(App::new(()).route("/count", count).webhook("https://example.com/hooks")).await?;
/// // The receiver is down at first. The third attempt comes minutes later, which takes no time.
/// app.receiver().answer([500, 500]);
/// let id = app.submit("/count", "four").await?;
/// let hit = app.receiver().wait_for(|hit| hit.id() == id.as_str() && hit.attempt() == 3).await?;
/// assert_eq!(hit.result(), Some(&4.into()));
/// assert!(hit.is_signed());
/// # Ok(()) }
/// ```
///
/// # Time
///
/// All times are those of tokio's clock. Under `#[tokio::test(start_paused = true)]` the clock jumps whenever all tasks
/// wait, so retries after hours, a schedule in days and a time limit take milliseconds. [`pass`](Self::pass) lets some time
/// pass, and `tokio::time::advance` moves the clock by hand.
///
/// # What it does not have
///
/// A port, tokens, and the operator's API: start the program, or use `App::into_router`, for these. A report that a handler
/// posts outside of its run, such as in a task that it spawns, or with [`postback::poster()`](crate::poster()), goes to the
/// poster of the process.
pub struct TestApp {
    store: Store,
    clock: Clock,
    routes: Routes,
    stop: Shutdown,
    receiver: Receiver,
    faults: Faults,
    submitter: Submitter,
    /// The longest wait by tokio's clock.
    longest: Duration,
}

/// The error of the methods of [`TestApp`], [`Receiver`] and [`Finished`]. Its text says what came instead.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct TestError(pub(super) String);

postback_wire::line::debug_as_message!(TestError);

fn of_store(error: &store::Error) -> TestError {
    TestError(format!("the store in memory cannot be used: {}", Causes(error)))
}

impl TestApp {
    /// Starts the app with the defaults of the settings, as [`new`](Self::new) does.
    ///
    /// # Errors
    ///
    /// Fails if the app has mistakes, such as two routes with the same path. The text lists them.
    pub async fn start<S: Send + Sync + 'static>(app: App<S>) -> Result<Self, TestError> {
        Self::new(app).await
    }

    /// Returns a builder, whose `await` starts the app on the current tokio runtime. The app stops when the value is
    /// dropped.
    ///
    /// # Errors
    ///
    /// The `await` fails if the app or its settings have mistakes, such as two routes with the same path. The text lists
    /// them.
    #[expect(clippy::new_ret_no_self, reason = "the builder becomes the app with `.await`")]
    pub fn new<S: Send + Sync + 'static>(app: App<S>) -> NewTestApp<S> {
        NewTestApp::of(app)
    }

    /// Submits a request with this payload, as JSON. The payload is checked as the server checks it. For a handler that
    /// takes a [`Query`](crate::Query), put the query after the path, as in `/render?lang=en`.
    ///
    /// # Errors
    ///
    /// Fails if there is no such route, or if the payload does not fit.
    pub async fn submit(&self, route: &str, payload: &(impl Serialize + ?Sized)) -> Result<RequestId, TestError> {
        self.submit_with(route, &[], payload).await
    }

    /// Submits a request with this payload and these headers, such as `("postback-run-at", "+2d")`.
    ///
    /// # Errors
    ///
    /// Fails if there is no such route, or if the payload or a header does not fit.
    pub async fn submit_with(
        &self,
        route: &str,
        headers: &[(&str, &str)],
        payload: &(impl Serialize + ?Sized),
    ) -> Result<RequestId, TestError> {
        let body = serde_json::to_vec(payload);
        let body = body.map_err(|error| TestError(format!("the payload cannot be serialised: {error}")))?;
        let mut all = header("content-type", "application/json")?;
        for (name, value) in headers {
            all.extend(header(name, value)?);
        }
        self.post(route, all, body.into()).await
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
        self.post(route, header(CONTENT_TYPE.as_str(), content_type)?, body.into()).await
    }

    async fn post(&self, route: &str, headers: HeaderMap, body: Bytes) -> Result<RequestId, TestError> {
        if self.routes.get(route.split('?').next().unwrap_or_default()).is_none() {
            let known = self.routes.paths().join(", ");
            return Err(TestError(format!("there is no route {route}; the routes are {known}")));
        }
        let submitted = self.submitter.submit(route, headers, Body::from(body)).await;
        submitted.map_err(|problem| TestError(format!("the route {route} refuses the request: {}", problem.detail())))
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
    /// Fails if there is no such request, or if it does not end within 4 days by tokio's clock
    /// ([`longest_wait`](NewTestApp::longest_wait)), or within half a minute.
    pub async fn finished(&self, id: &RequestId) -> Result<Finished, TestError> {
        let of_store = |error: store::Error| of_store(&error);
        let (watch, patience) = (self.store.watch(id), Patience::begin(self.longest));
        loop {
            // The watch tells only of an end that comes after it was made.
            let known = self.store.summary(id).await.map_err(of_store)?.ok_or_else(|| unknown(id))?;
            if known.is_settled() {
                break;
            }
            let Some(step) = patience.step() else {
                let how = if matches!(known.stage, Stage::Running) { "it runs" } else { "it waits to be run" };
                return Err(TestError(format!("the request {id} does not end: {how}, {patience}")));
            };
            let _ = tokio::time::timeout(step, watch.settled()).await;
        }
        self.store.barrier().await.map_err(of_store)?;
        let record = self.store.request(id).await.map_err(of_store)?.ok_or_else(|| unknown(id))?;
        let RequestState::Settled(outcome) = record.state else {
            return Err(TestError(format!("the request {id} has not ended")));
        };
        let runs = self.store.timeline(id).await.map_err(of_store)?.map_or(0, |timeline| timeline.runs.len());
        let reports = self.reports(id, outcome.status).await.map_err(of_store)?;
        let reply = self.reply(id, &outcome).await?;
        Ok(Finished { id: id.clone(), outcome, runs, reports, reply })
    }

    /// Reads the bytes of a reply. `None`: the result is no reply.
    async fn reply(&self, id: &RequestId, outcome: &Outcome) -> Result<Option<Bytes>, TestError> {
        let (Reason::Elsewhere, Some(json), Some(results)) = (outcome.reason, &outcome.result, self.routes.results())
        else {
            return Ok(None);
        };
        let unread = |why: String| TestError(format!("the reply of {id} cannot be read: {why}"));
        let stored: StoredResult = serde_json::from_slice(json.bytes()).map_err(|error| unread(error.to_string()))?;
        if stored.size == 0 {
            return Ok(Some(Bytes::new()));
        }
        let claim = RequestClaim { id: id.clone(), epoch: stored.version };
        results.read(&claim, 0..stored.size).await.map_err(unread)
    }

    /// Returns the receiver of all reports of the app.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Lets this time pass, by tokio's clock. If the clock is paused, that takes no time, and everything that is due
    /// meanwhile happens.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets all writes of the store fail from now on, or succeed again. New requests are refused meanwhile. What has ended
    /// is stored when the store can write again, as after a full disk.
    pub fn fail_writes(&self, fail: bool) {
        self.faults.fail_writes(fail);
    }

    /// Lets all reads of the store fail from now on, or succeed again. Methods of the test kit that read then fail, too.
    pub fn fail_reads(&self, fail: bool) {
        self.faults.fail_reads(fail);
    }

    async fn reports(&self, id: &RequestId, ended: Status) -> Result<Vec<Caught>, store::Error> {
        let of_request = DeliveryFilter { subject: Some(id.to_string()), ..DeliveryFilter::default() };
        let mut reports = Vec::new();
        for line in self.store.list_deliveries(&of_request, None, MAX_REPORTS).await?.rows.into_iter().rev() {
            let detail = self.store.delivery_detail(line.record.id).await?;
            let kept = detail.and_then(|detail| detail.body).map(|body| body.start);
            // The store drops the body of a report that is delivered. The receiver has it.
            let body = kept.or_else(|| self.receiver.body_of(line.record.webhook_id)).unwrap_or_default();
            // The URL of a stored report is valid. A long body is cut off, and is no JSON then.
            if let Ok(webhook) = Webhook::new(&line.record.url) {
                let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
                let told = parsed.get("status").and_then(Value::as_str);
                let status = Status::ALL.into_iter().find(|status| told == Some(status.as_str())).unwrap_or(ended);
                reports.push(Caught { id: line.subject, status, webhook, body, parsed });
            }
        }
        Ok(reports)
    }
}

fn unknown(id: &RequestId) -> TestError {
    TestError(format!("there is no request {id}"))
}

fn header(name: &str, value: &str) -> Result<HeaderMap, TestError> {
    let pair = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
    let pair = pair.ok_or_else(|| TestError(format!("{name}: {value} is not a valid header")))?;
    Ok(HeaderMap::from_iter([pair]))
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

#[cfg(test)]
mod tests;
