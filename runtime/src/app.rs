//! The composition root: the only module that uses all the others.

mod beat;
mod delivery_options;
mod gauges;
mod limits;
mod node;
mod open_files;
mod reload;
mod route_limits;
mod run_once;
mod start_log;

use std::fmt::Display;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::delivery_options::delivery_options;
pub(crate) use self::node::{Front, Node, Routers, StartError};
pub(crate) use self::reload::Reread;
#[cfg(feature = "testing")]
pub(crate) use self::route_limits::{apply as apply_route_limits, retention as route_retention};
pub(crate) use self::run_once::{Ran, run_once};
#[cfg(feature = "cron")]
use crate::cron;
#[cfg(feature = "forward")]
use crate::forward::{self, Target};
#[cfg(feature = "schemars")]
use crate::handler::Described;
use crate::handler::{BatchHandler, Handler, Place, RouteError, Routes, Shared, States, Unbound};
#[cfg(feature = "cron")]
use crate::policy::cron::{CronSchedule, Missed};
#[cfg(feature = "forward")]
use crate::settings::Settings;
#[cfg(feature = "cron")]
use postback_wire::time::Clock;
use postback_wire::webhook::{IntoWebhook, Webhooks};

/// A workload server: settings, state, and routes that lead to handlers.
///
/// The function that has the attribute [`#[postback::main]`](crate::main) returns an `App`. Tests can make an `App`,
/// too:
///
/// ```
/// use postback::{App, Config, Payload, RequestId, async_handler};
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     webhook_url: String,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Text {
///     text: String,
/// }
///
/// #[async_handler(webhook = config.webhook_url)]
/// async fn count(config: Config<Settings>, payload: Payload<Text>, request_id: RequestId) -> Result<usize, String> {
///     Ok(payload.text.chars().count())
/// }
///
/// fn app(settings: Settings) -> App<Settings> {
///     App::new(settings).route("/count", count).example(r#"{"text":"hello"}"#)
/// }
/// ```
#[must_use = "an app does nothing until it is returned to `#[postback::main]`, or is made a router"]
pub struct App<S> {
    settings: S,
    states: States,
    routes: Vec<Unbound<S>>,
    /// The mistakes in the calls of this app's methods. If there are mistakes, the app does not start, and the error
    /// lists all of the mistakes.
    mistakes: Vec<String>,
}

impl<S: Send + Sync + 'static> App<S> {
    /// Makes an app with these settings and no routes.
    pub fn new(settings: S) -> Self {
        Self { settings, states: States::default(), routes: Vec::new(), mistakes: Vec::new() }
    }

    /// Gives a value to the handlers that have a parameter of type [`State<T>`](crate::State). An app has at most one
    /// value per type.
    #[track_caller]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if self.states.insert(value) {
            let (place, name) = (Location::caller(), std::any::type_name::<T>());
            self.mistakes.push(format!(
                "{place}: a state of type {name} is given twice; wrap one of the values in a type of its own"
            ));
        }
        self
    }

    /// Adds a route: the handler runs for each request that a client sends to the path as an HTTP `POST`.
    ///
    /// The path is absolute. The segments of the path consist of `A-Z a-z 0-9 - _ . ~`. The route also answers `GET
    /// path/{id}` and `DELETE path/{id}`, so no other route may be directly below the path. This method never panics.
    /// If something is wrong with the route, the app does not start, and the error lists all mistakes together.
    #[track_caller]
    pub fn route<A>(mut self, path: impl Into<String>, handler: impl Handler<A, S>) -> Self {
        self.routes.push(Unbound::new(path.into(), handler, Location::caller()));
        self
    }

    /// Adds a route whose handler takes up to `size` requests at once, as inference servers do: from 1 to 1,024.
    ///
    /// A batch begins when it has `size` requests, or when its first request has waited for `wait`, at most a minute.
    /// The handler gets them as a [`Batch`](crate::Batch), and returns an outcome for each, in their order. Each request
    /// is retried, cancelled and reported by itself. A handler that panics, or returns another number of outcomes, fails
    /// all of its batch.
    ///
    /// Requests that wait for a batch to be full count as running. So `worker.concurrency`, and the
    /// [`concurrency`](Self::concurrency) of the route, should be at least `size`. The reports of the route go to the
    /// webhook that [`webhook`](Self::webhook) sets; the attribute `async_handler` cannot be used, because a batch has
    /// many ids.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use postback::{App, Batch, State};
    ///
    /// struct Model;
    /// # impl Model { fn embed(&self, texts: &[&str]) -> Vec<Vec<f32>> { vec![Vec::new(); texts.len()] } }
    ///
    /// async fn embed(model: State<Model>, batch: Batch<String>) -> Vec<Result<Vec<f32>, String>> {
    ///     let texts: Vec<&str> = batch.iter().map(|item| item.payload.as_str()).collect();
    ///     model.embed(&texts).into_iter().map(Ok).collect()
    /// }
    ///
    /// let app = App::new(()).state(Model).batch("/embed", 32, Duration::from_millis(20), embed);
    /// ```
    #[track_caller]
    pub fn batch<A>(
        mut self,
        path: impl Into<String>,
        size: usize,
        wait: Duration,
        handler: impl BatchHandler<A, S>,
    ) -> Self {
        let (name, place) = (std::any::type_name_of_val(&handler), Place::Code(Location::caller()));
        let bind = move |shared| handler.bind(shared, size, wait);
        self.routes.push(Unbound::bound(path.into(), name.into(), place, bind));
        self
    }

    /// Adds a route whose requests another HTTP server answers: a container that knows nothing of Postback, in any
    /// language.
    ///
    /// Each run posts the request's body to the target, with its content type and its other headers, and with the id of
    /// the request in the header `x-cortex-request-id`. The answer 200 with JSON is the result. Any other answer fails
    /// the request. After a server error another run may follow, as [`max_attempts`](Self::max_attempts) says. A target
    /// that cannot be reached fails nothing: the runs wait for it, at most as long as the time limit of a run.
    ///
    /// The target gets one request at a time. [`concurrency`](Self::concurrency) changes this. The reports of the route
    /// go to the webhook that [`webhook`](Self::webhook) sets.
    ///
    /// ```
    /// # use postback::App;
    /// # fn app() -> App<()> {
    /// App::new(()).forward("/classify", "http://127.0.0.1:8080/").webhook("https://example.com/hooks")
    /// # }
    /// ```
    #[cfg(feature = "forward")]
    #[track_caller]
    pub fn forward(mut self, path: impl Into<String>, target: impl Into<Target>) -> Self {
        self.routes.push(forward::route(path.into(), target.into(), Place::Code(Location::caller())));
        self
    }

    /// Sets a webhook for the last route that was added. The webhook gets the report of each request for which the
    /// handler has named no webhook.
    ///
    /// A handler without `#[async_handler]` names no webhook. If the attribute of a handler is hidden, for example in a
    /// closure, the handler names its webhook only when the handler runs. If a request of such a handler is cancelled
    /// or lost before its run begins, this webhook gets the report.
    #[track_caller]
    pub fn webhook(self, webhook: impl IntoWebhook) -> Self {
        let webhook = Webhooks::of(&webhook);
        self.of_last_route("webhook", |route| route.set_webhook(webhook))
    }

    /// Allows the callers of the last route that was added to bring a webhook of their own, in the header
    /// `Postback-Webhook`.
    ///
    /// The caller's webhook gets the report beside the webhooks of the handler: unsigned, and only at addresses that a
    /// caller may reach, which are public ones. Without this call, a request with the header is refused.
    #[track_caller]
    pub fn caller_webhook(self) -> Self {
        self.of_last_route("caller_webhook", Unbound::allow_caller_webhook)
    }

    /// Sets after which errors a failed request of the last route that was added runs again. After another error, the
    /// request fails at once, even if `worker.max_attempts` would allow more runs.
    ///
    /// The closure takes the error that the handler returns. A panic, or a run that takes too long, is no error of the
    /// handler: after these the request runs again. If the error is a [`HandlerError`](crate::HandlerError), it also has
    /// a say.
    ///
    /// ```
    /// use postback::App;
    ///
    /// async fn fetch() -> Result<(), std::io::Error> {
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(())
    ///     .route("/fetch", fetch)
    ///     .max_attempts(5)
    ///     .retry_if(|error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset);
    /// ```
    #[track_caller]
    pub fn retry_if<E: 'static>(self, condition: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.of_last_route("retry_if", |route| route.set_retry_if(condition))
    }

    /// Sets an example of a payload for the last route that was added. When the server starts, the server prints a
    /// command that sends this example.
    #[track_caller]
    pub fn example(self, payload: impl Into<String>) -> Self {
        let payload = payload.into();
        self.of_last_route("example", |route| route.set_example(payload))
    }

    /// Describes the last route that was added in `/openapi.json`: `In` is the type of its payload, and `Out` the type
    /// of its result. Without this call the document says that both are any JSON.
    ///
    /// The types implement `schemars::JsonSchema`, from version 1 of the crate `schemars`. They may differ from the
    /// types of the handler, for example if its payload is a `serde_json::Value` of a known form.
    ///
    /// ```
    /// use postback::{App, Payload};
    /// use schemars::JsonSchema;
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Text {
    ///     text: String,
    /// }
    ///
    /// async fn count(payload: Payload<Text>) -> Result<usize, String> {
    ///     Ok(payload.text.chars().count())
    /// }
    ///
    /// let app = App::new(()).route("/count", count).schema::<Text, usize>();
    /// ```
    #[cfg(feature = "schemars")]
    #[track_caller]
    pub fn schema<In: schemars::JsonSchema, Out: schemars::JsonSchema>(self) -> Self {
        self.of_last_route("schema", |route| route.set_schema(Described::of::<In, Out>))
    }

    #[track_caller]
    fn of_last_route(mut self, what: &str, set: impl FnOnce(&mut Unbound<S>)) -> Self {
        match self.routes.last_mut() {
            Some(route) => set(route),
            None => self
                .mistakes
                .push(format!("{}: `{what}` must come after a route; call `App::route` first", Location::caller())),
        }
        self
    }

    /// Adds the routes that the operator has declared in the settings. A route without a webhook of its own reports to
    /// `config.webhook_url`.
    #[cfg(feature = "forward")]
    pub(crate) fn with_forwards(mut self, settings: &Settings) -> Self {
        let usual = settings.config.webhook_url();
        self.routes.extend(settings.forwards.iter().enumerate().map(|(at, given)| {
            let mut target = Target::new(given.url.as_str()).max_answer(given.max_answer);
            target = given.ready.iter().fold(target, Target::ready);
            target = given.ca_file.iter().fold(target, Target::ca_file);
            let mut route = forward::route(given.path.clone(), target, Place::Settings(format!("forward[{at}]")));
            let own = given.webhook.as_ref().map(url::Url::as_str);
            route.set_webhook(Webhooks::of(&own.or(usual)));
            route
        }));
        self
    }

    /// Adds a route whose requests a schedule makes. Each tick of the schedule becomes one ordinary request, even if many
    /// nodes share the store: it runs, is retried, reported and listed as every other request.
    ///
    /// `schedule` has the five fields of cron, or six with seconds first: `"0 3 * * *"` is at 03:00 on each day. The
    /// crate `croner` documents what else it may have. `time_zone` is a name such as `"Europe/Berlin"`, or `"UTC"`. If
    /// clocks are set forward over the time of a tick, it comes right after; if they are set back, a time of day has one
    /// tick. A schedule that is wrong, or that never fires, is an error when the app starts.
    ///
    /// The handler takes no payload, or [`Payload<Tick>`](crate::Tick), which has the time of the tick. The path of
    /// the route is `/cron/` and the name of the handler's function. [`missed`](Self::missed) says what follows if no
    /// server ran when the schedule was due. Callers may post to the route too, as to any other; the scopes of tokens
    /// say who.
    ///
    /// ```
    /// use postback::{App, Missed, Payload, Tick};
    ///
    /// async fn clean_up(tick: Payload<Tick>) -> Result<(), String> {
    ///     println!("what is older than {}", tick.scheduled_at);
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).cron("0 3 * * *", "Europe/Berlin", clean_up).missed(Missed::Skip);
    /// ```
    #[cfg(feature = "cron")]
    #[track_caller]
    pub fn cron<A>(mut self, schedule: &str, time_zone: &str, handler: impl Handler<A, S>) -> Self {
        let (place, name) = (Location::caller(), std::any::type_name_of_val(&handler));
        let Some(path) = cron::path(name) else {
            self.mistakes.push(format!("{place}: the handler of `cron` needs a name of its own; write an `async fn`"));
            return self;
        };
        let mut route = Unbound::new(path, handler, place);
        match CronSchedule::new(schedule, time_zone, Clock::system().now()) {
            Ok(schedule) => route.set_schedule(schedule),
            Err(error) => self.mistakes.push(format!("{place}: {error}")),
        }
        self.routes.push(route);
        self
    }

    /// Sets what follows if the schedule of the last route was due while no server ran. The default is
    /// [`Missed::Once`].
    #[cfg(feature = "cron")]
    #[track_caller]
    pub fn missed(mut self, missed: Missed) -> Self {
        match self.routes.last_mut().filter(|route| route.is_cron()) {
            Some(route) => route.set_missed(missed),
            None => self.mistakes.push(format!("{}: `missed` must come after `App::cron`", Location::caller())),
        }
        self
    }

    /// Returns the routes of the app, or an error that lists all mistakes in the app.
    pub(crate) fn into_routes(self) -> Result<Routes, AppError> {
        let shared = Arc::new(Shared { settings: Arc::new(self.settings), states: self.states });
        let mut mistakes = self.mistakes;
        if self.routes.is_empty() {
            mistakes.push(
                "the app has no route; add one with `App::route`, or with `[[forward]]` in the settings".to_owned(),
            );
        }
        match Routes::bind(self.routes, &shared) {
            #[cfg(feature = "cron")]
            Ok(routes) if mistakes.is_empty() => match cron::faults(&routes) {
                faults if faults.is_empty() => Ok(routes),
                mistakes => Err(AppError { mistakes }),
            },
            #[cfg(not(feature = "cron"))]
            Ok(routes) if mistakes.is_empty() => Ok(routes),
            Ok(_) => Err(AppError { mistakes }),
            Err(errors) => {
                mistakes.extend(errors.iter().map(RouteError::to_string));
                Err(AppError { mistakes })
            }
        }
    }
}

impl<S> std::fmt::Debug for App<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

/// The error that lists all mistakes in an app.
#[derive(Debug, thiserror::Error)]
#[error("the app cannot be served:\n  {}", mistakes.join("\n  "))]
pub(crate) struct AppError {
    mistakes: Vec<String>,
}

/// The types that a function with the attribute [`#[postback::main]`](crate::main) may return: [`App`], or `Result`
/// with an [`App`].
#[diagnostic::on_unimplemented(
    message = "`#[postback::main]` does not take a function that returns `{Self}`",
    label = "the function must return `App<S>` or `Result<App<S>, E>` with `E: Display`"
)]
pub trait IntoApp {
    /// The type into which the table `[config]` of the settings is read.
    type Settings: Send + Sync + 'static;

    #[doc(hidden)]
    fn into_app(self) -> Result<App<Self::Settings>, String>;
}

impl<S: Send + Sync + 'static> IntoApp for App<S> {
    type Settings = S;

    fn into_app(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl<S: Send + Sync + 'static, E: Display> IntoApp for Result<App<S>, E> {
    type Settings = S;

    fn into_app(self) -> Result<App<S>, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}
