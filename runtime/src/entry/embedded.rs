//! An app as an axum router in a program that has a server of its own.

mod given;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;

use self::given::Given;
use super::Program;
use super::threads::{CONTROL_THREADS, handler_runtime};
use crate::api::{Readiness, Served};
use crate::app::{App, AppError, Front, Node, Reread, Routers, StartError};
use crate::background::Background;
use crate::poster::Poster;
use crate::settings::{Errors, Settings};
use postback_store::shutdown::Shutdown;
use postback_wire::line::Causes;
use postback_wire::webhook::WebhookError;

impl<S: Send + Sync + 'static> App<S> {
    /// Makes the app an axum [`Router`] and a handle, for a program that has a server of its own. The router is nested
    /// anywhere in the program's own router, and tower layers apply to it.
    ///
    /// The call returns a builder. Its `await` opens the store and starts the worker and the deliveries, on threads of
    /// their own, and fails if anything is wrong with the app or the settings.
    ///
    /// ```no_run
    /// use axum::routing::get;
    /// use postback::{App, Payload, async_handler};
    ///
    /// #[async_handler(webhook = "\"https://example.com/hooks\"", error = display)]
    /// async fn greet(name: Payload<String>, request_id: postback::RequestId) -> Result<String, String> {
    ///     Ok(format!("hello {}", *name))
    /// }
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    ///     let app = App::new(()).route("/greet", greet);
    ///     let (jobs, postback) = app.into_router().listens_on(listener.local_addr()?).await?;
    ///
    ///     let service = axum::Router::new().route("/", get(async || "my service")).nest("/jobs", jobs);
    ///     let stop = async move {
    ///         tokio::signal::ctrl_c().await.ok();
    ///         postback.shutdown().await;
    ///     };
    ///     axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Here `POST /jobs/greet` accepts a request. The guide [`embedding`](crate::guide::embedding) says what the router
    /// promises, and what is up to the program's own server.
    pub fn into_router(self) -> IntoRouter<S> {
        IntoRouter { app: self, given: Given::default() }
    }
}

/// Makes an app a router: see [`App::into_router`]. Without calls of its methods, the settings are those of `serve`: the
/// file `postback.toml` in the current folder, if there is one, and the environment variables `POSTBACK_…`.
#[must_use = "the app starts with `.await`"]
pub struct IntoRouter<S> {
    app: App<S>,
    given: Given,
}

impl<S: Send + Sync + 'static> IntoRouter<S> {
    /// Sets the name and the version of the program. `/openapi.json` shows both, and the database has the name, unless
    /// `store.url` is set. The name is `postback` if you do not set it.
    pub fn program(mut self, program: Program) -> Self {
        self.given.program = program;
        self
    }

    /// Reads the settings from this file. The file must exist. Environment variables still win.
    pub fn settings_file(mut self, path: impl Into<PathBuf>) -> Self {
        (self.given.file, self.given.text) = (Some(path.into()), None);
        self
    }

    /// Uses this text, in the form of `postback.toml`, in place of a file. Environment variables still win.
    pub fn settings_text(mut self, toml: impl Into<String>) -> Self {
        (self.given.file, self.given.text) = (None, Some(toml.into()));
        self
    }

    /// Sets a single key, such as `set("store.url", "sqlite:/var/lib/jobs.db")`. It wins over file and environment. The value is
    /// written as in an environment variable.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        let name = format!("set({key:?})");
        self.given.set.push((key, value.into(), name));
        self
    }

    /// Reads no environment variables. Tests do not depend on their environment then.
    pub fn ignore_environment(mut self) -> Self {
        self.given.ignores_environment = true;
        self
    }

    /// Trusts this URL and the paths below it, as a `[[delivery.endpoint]]` of the settings does: reports are signed with
    /// the secrets of the settings, and the URL may be on a private network or on this machine.
    pub fn trust(mut self, url: impl Into<String>) -> Self {
        self.given.trusted.push(url.into());
        self
    }

    /// Says where the program's own server listens. On a loopback address, callers need no token until you make one.
    /// The webhooks of callers cannot reach this address.
    pub fn listens_on(mut self, address: SocketAddr) -> Self {
        self.given.listens_on = Some(address);
        self
    }

    /// Asks callers for no token, because the program's own server checks them. Sets `server.auth = "none"`.
    pub fn without_tokens(self) -> Self {
        self.set("server.auth", "none")
    }

    /// Opens no socket beside the database. The commands of the program `postback`, such as `requests list`, then cannot
    /// reach the running program.
    pub fn without_socket(mut self) -> Self {
        self.given.has_socket = false;
        self
    }

    /// Installs the metrics recorder of the process, which `/metrics` below the router then shows. Without this call, the
    /// metrics go to the recorder that the program installs, if it does.
    pub fn install_metrics(mut self) -> Self {
        self.given.installs_metrics = true;
        self
    }

    /// Checks everything that can be checked without a store.
    fn prepared(self) -> Result<(Given, Settings, Served), RouterError> {
        let Self { app, given } = self;
        let settings = given.load()?;
        #[cfg(feature = "forward")]
        let app = app.with_forwards(&settings);
        let routes = app.into_routes().map_err(Kind::App)?;
        settings.limit(&routes).map_err(Kind::Settings)?;
        let served = Served::new(given.program.name, given.program.version, routes);
        Ok((given, settings, served))
    }
}

impl<S: Send + Sync + 'static> IntoFuture for IntoRouter<S> {
    type Output = Result<(Router, Embedded), RouterError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let prepared = self.prepared();
        Box::pin(async move {
            let (given, settings, served) = prepared?;
            start(given, settings, served).await
        })
    }
}

impl<S> fmt::Debug for IntoRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoRouter").field("app", &self.app).finish_non_exhaustive()
    }
}

async fn start(given: Given, settings: Settings, served: Served) -> Result<(Router, Embedded), RouterError> {
    settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let control = Background::start("postback-control", CONTROL_THREADS).map_err(Kind::Thread)?;
    let threads = settings.worker.threads.or(given.program.worker_threads);
    let handlers = handler_runtime(threads).map_err(Kind::Thread)?;
    let paths = served.routes.paths().join(", ");
    let front = Front::of_service(given.listens_on, given.has_socket, given.installs_metrics);
    let reread: Reread = Arc::new(move || given.load().map_err(|error| Causes(&error).to_string()));
    let on = handlers.handle().clone();
    let node = async move { Node::start_behind(front, served, (&settings, reread), on).await };
    let node = Shutdown::new().spawn_on(node, control.handle()).await.map_err(|_| Kind::Ended)?;
    let (node, routers) = node.map_err(Kind::Start)?;
    let Routers { api, operator, readiness } = routers.ok_or(Kind::Ended)?;
    tracing::info!("the app takes requests; below its router are {paths}");
    Ok((api, Embedded { node: Some(node), operator, readiness, control, _handlers: handlers }))
}

/// The running app behind a router of [`App::into_router`]. Call [`shutdown`](Self::shutdown) before the program ends. If
/// the value is dropped, everything is stopped at once: the next start continues requests and reports that are not over.
#[must_use = "the app stops when its handle is dropped"]
pub struct Embedded {
    /// `None` after `shutdown`.
    node: Option<Node>,
    operator: Router,
    readiness: Readiness,
    control: Background,
    _handlers: Background,
}

impl Embedded {
    /// Stops the app: it accepts no more requests, runs may continue for `shutdown.grace`, and their reports get a
    /// first attempt. Meanwhile the router still answers calls about requests, so the program's own server should stop
    /// after this call has returned.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future, everything is stopped at once.
    pub async fn shutdown(mut self) {
        let Some(node) = self.node.take() else { return };
        let mut cut_off = CutOff(Some(Box::new(node.ended_by_operator())));
        let stopped = Shutdown::new().spawn_on(async move { node.stop_broken().await }, self.control.handle());
        // An error means that the task has panicked, which is logged.
        let _ = stopped.await;
        cut_off.0 = None;
    }

    /// Returns why the app takes no requests at the moment, as `/readyz` below the router does. `None`: it takes them.
    pub async fn not_ready(&self) -> Option<String> {
        self.readiness.why_not().await
    }

    /// Waits until a part of the app has ended without which it cannot work, and says which one. The program should then
    /// end, to be started again. No accepted request is lost.
    pub async fn broken(&self) -> String {
        match &self.node {
            Some(node) => node.broken().await,
            None => std::future::pending().await,
        }
    }

    /// Returns the poster of the app. Its reports are kept in the app's store. `None` after the stop of the app.
    ///
    /// If the program has installed no poster of its own, [`poster`](crate::poster()) returns the same one.
    pub fn poster(&self) -> Option<Poster> {
        self.node.as_ref().map(|node| node.poster().clone())
    }

    /// Reads the settings again. The log says what has changed, and what needs a restart.
    ///
    /// # Errors
    ///
    /// Fails if the settings have a mistake. Then nothing has changed.
    pub async fn reload(&self) -> Result<(), RouterError> {
        match &self.node {
            Some(node) => node.reload("the program").await.map(drop).map_err(|why| Kind::Reload(why).into()),
            None => Ok(()),
        }
    }

    /// Returns the router of the operator: the API and the dashboard, with paths below `/_postback`. Serve it at the root
    /// of an address that callers do not reach. The API wants `server.admin_token`.
    pub fn operator(&self) -> Router {
        self.operator.clone()
    }

    /// Returns the token that opens the dashboard of [`operator`](Self::operator): in a browser, add `#token=…` to
    /// `/_postback/`. `None`: the settings have `server.admin_token`, which opens it.
    pub fn dashboard_token(&self) -> Option<&str> {
        self.node.as_ref().and_then(Node::link)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            tracing::warn!(
                "the handle of the app was dropped without `shutdown`; the next start continues requests and reports that \
                 are not over"
            );
            node.abandon();
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.node.as_ref().and_then(Node::address)).finish_non_exhaustive()
    }
}

/// Says on drop that runs in progress do not count as crashed, unless the stop has ended before.
struct CutOff(Option<Box<dyn FnOnce() + Send>>);

impl Drop for CutOff {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

/// The error that says why an app could not be made a router.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct RouterError(#[from] Kind);

postback_wire::line::debug_as_message!(RouterError);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("{0}")]
    Settings(Errors),
    #[error("the trusted URL {url} cannot be used")]
    Trusted { url: String, source: WebhookError },
    #[error(transparent)]
    App(AppError),
    #[error(transparent)]
    Start(StartError),
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("the settings are not used, and nothing has changed: {0}")]
    Reload(String),
    #[error("the parts of the app ended while it started")]
    Ended,
}
