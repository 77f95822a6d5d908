//! Starts an app inside a test.

use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use url::Url;

use super::{TestApp, TestError};
use crate::access::{self, Access};
use crate::api::{self, Served, Server};
use crate::app::{App, apply_route_limits, delivery_options, route_retention};
use crate::delivery::{self, Delivery, InMemory};
use crate::handler::Routes;
use crate::poster::Outbox;
use crate::settings::{self, Settings, Sources};
use crate::testing::Receiver;
use crate::testing::patience::LONGEST;
use crate::worker::Worker;
use postback_store::shutdown::Shutdown;
use postback_store::{Faults, Store, retention};
use postback_wire::line::Causes;
use postback_wire::secret::Secret;
use postback_wire::time::{Clock, Timestamp};

/// The room of the store in memory, in bytes.
const MEMORY: usize = 1 << 30;
/// The largest number of requests, and of reports, that the store keeps.
const KEPT: usize = 10_000;
/// How long the worker waits for runs when the app is dropped.
const GRACE: Duration = Duration::ZERO;
/// How often the worker looks for requests of which no signal has told, and the store for rows that are too old. Often
/// would only cost time, because days pass in a moment.
const SLOW_POLL: Duration = Duration::from_hours(1);
/// A URL for messages about what is trusted. All are.
const ANY: &str = "https://example.com/";

/// Starts an app inside a test: see [`TestApp::new`].
#[must_use = "the app starts with `.await`"]
pub struct NewTestApp<S> {
    app: App<S>,
    settings: String,
    longest: Duration,
}

impl<S: Send + Sync + 'static> NewTestApp<S> {
    pub(super) fn of(app: App<S>) -> Self {
        Self { app, settings: String::new(), longest: LONGEST }
    }

    /// Uses these settings in place of the defaults, in the form of `postback.toml`: for example those of the sections
    /// `[worker]` and `[delivery]`. Neither a file nor the environment is read. The table `[config]` is not, because the
    /// app has its own value already.
    pub fn settings(mut self, toml: impl Into<String>) -> Self {
        self.settings = toml.into();
        self
    }

    /// Sets how long the test waits for a hit, or for the end of a request, by tokio's clock, which may be paused. The
    /// default is 4 days, since the attempts of a delivery take three.
    pub fn longest_wait(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    fn prepared(self) -> Result<(Settings, Routes), TestError> {
        let Self { app, settings, .. } = self;
        let mut settings = read(settings)?;
        settings.results = settings.results.in_memory();
        #[cfg(feature = "forward")]
        let app = app.with_forwards(&settings);
        let routes = app.into_routes().map_err(|error| TestError(error.to_string()))?;
        settings.limit(&routes).map_err(|errors| TestError(errors.to_string()))?;
        Ok((settings, routes))
    }
}

/// Starts the parts of a server that a test needs.
async fn start(settings: Settings, routes: Routes, longest: Duration) -> Result<TestApp, TestError> {
    let (clock, faults, stop) = (clock(), Faults::default(), Shutdown::new());
    let store = Store::open_failing(KEPT, MEMORY, clock.clone(), &faults);
    let mut secrets = settings.delivery.secrets.clone();
    if secrets.is_empty() {
        secrets.push(Secret::generate());
    }
    let receiver = Receiver::new(secrets.clone(), clock.clone(), stop.clone(), longest);
    let options = options_of_delivery(&settings, &secrets, receiver.clone())?;
    let guard = options.guard();
    let delivery = Delivery::new(store.clone(), clock.clone(), options);
    let delivery = delivery.map_err(|error| TestError(Causes(&error).to_string()))?;
    let outbox = Outbox::of_server(store.clone(), clock.clone());
    let outbox = outbox.with_formats(routes.formats().clone()).telling_progress(delivery.control());
    stop.spawn(delivery.run(stop.clone()));
    let worker =
        Worker::new(outbox, routes.clone(), settings.worker, Handle::current(), GRACE).polling_after(SLOW_POLL);
    apply_route_limits(&routes, &store, worker.control().rooms());
    let of_worker = worker.control();
    stop.spawn(worker.run(Vec::new(), stop.clone()));
    #[cfg(feature = "cron")]
    if routes.iter().any(|route| route.schedule.is_some()) {
        stop.spawn(crate::cron::run(store.clone(), clock.clone(), routes.clone(), stop.clone()));
    }
    let (of_routes, keep, schedule) = (routes.clone(), settings.retention, settings.delivery.schedule.total());
    let times = move || (route_retention(&of_routes, keep), schedule);
    stop.spawn(retention::run_every(SLOW_POLL, store.clone(), times, stop.clone()));

    let listen = Some(settings.server.listen);
    let access = Access::start(&access::Options::default(), &store, clock.clone(), listen).await;
    let access = access.map_err(|error| TestError(Causes(&error).to_string()))?;
    let rules = api::Rules {
        access,
        guard,
        run_timeout: Box::new(move || of_worker.timeout()),
        metrics: api::MetricsAccess { metrics: None, is_operator: Box::new(|_, _| None) },
        public_keys: Box::new(Vec::new),
    };
    let stops = api::Stops { draining: stop.clone(), grace: GRACE, shutdown: stop.clone() };
    let served = Served::new("test", "0.0.0", routes.clone());
    let submitter = Server::new(store.clone(), clock.clone(), served, settings.server, rules, stops).submitter();
    Ok(TestApp { store, clock, routes, stop, receiver, faults, submitter, longest })
}

impl<S: Send + Sync + 'static> IntoFuture for NewTestApp<S> {
    type Output = Result<TestApp, TestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let (longest, prepared) = (self.longest, self.prepared());
        Box::pin(async move {
            let (settings, routes) = prepared?;
            start(settings, routes, longest).await
        })
    }
}

impl<S> std::fmt::Debug for NewTestApp<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTestApp").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn read(text: String) -> Result<Settings, TestError> {
    let sources =
        Sources { program: "test".to_owned(), file: None, text: Some(text), flags: Vec::new(), env: Vec::new() };
    settings::load(sources, |_| None).map_err(|errors| TestError(errors.to_string()))
}

fn options_of_delivery(
    settings: &Settings,
    secrets: &[Secret],
    receiver: Receiver,
) -> Result<delivery::Options, TestError> {
    let options = delivery_options(settings, 1);
    let any = Url::parse(ANY).map_err(|error| TestError(error.to_string()))?;
    Ok(delivery::Options {
        destinations: options.destinations.trusting_all(secrets, any),
        in_memory: Some(InMemory::new(move |origin| receiver.connect(origin))),
        ..options
    })
}

/// The clock of tokio, which a test can pause. It begins at the current time of day.
fn clock() -> Clock {
    let (begun, wall) = (Instant::now(), Clock::system().now());
    let elapsed = move || begun.elapsed();
    Clock::new(move || -> Timestamp { wall.saturating_add(elapsed()) }, elapsed)
}
