//! One running node: starts its parts in order, and stops them in order.

mod front;
mod spawn;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub(crate) use self::front::{Front, Routers};
use super::beat::Beat;
use super::delivery_options::delivery_options;
use super::open_files;
use super::reload::{self, Reloader, Reread};
use super::start_log::{log_recovered, warn_of_access};
use crate::access::{self, Access, NewSecret, Sessions};
use crate::admin::{self, AdminToken, Gate, Hooks, Reloaded};
use crate::api::{self, Served, Server};
use crate::background::Background;
use crate::dashboard::{self, MayLogIn};
use crate::delivery::{self, Control, Delivery};
use crate::poster::{Flusher, Outbox, Poster, Requests, ambient};
use crate::settings::Settings;
use crate::telemetry::metrics::{self, Metrics};
use crate::worker::Worker;
use postback_store::shutdown::{Shutdown, Vital};
use postback_store::{self as store, Store, series};
use postback_wire::id::NodeId;
use postback_wire::line::Escaped;
use postback_wire::time::Clock;

/// The longest time for which a stopping node (the running server) waits for the first attempts to deliver the reports
/// of the last runs. The attempts that are in flight when the deliveries stop also get at least this time.
const LAST_ATTEMPTS: Duration = Duration::from_secs(1);
/// The longest time for which the store repeats failed writes when the node (the running server) stops. The time is
/// short because orchestrators kill a process after 30 s: with the default grace time of 25 s, a whole stop takes less
/// than 30 s.
const LAST_COMMITS: Duration = Duration::from_secs(2);

/// A node: a running server, which accepts requests.
pub(crate) struct Node {
    /// Where the node listens. A node in the service of a user may not know it.
    address: Option<SocketAddr>,
    access: Arc<Access>,
    served: Served,
    store: Store,
    /// The signal that stops the worker and all other parts that must end before the deliveries. After this signal, the
    /// node drains, which means that the node accepts no new requests.
    intake: Shutdown,
    /// The signal that stops the deliveries.
    deliveries: Shutdown,
    /// The signal that stops the HTTP server. The server answers HTTP calls about the state of requests until the other
    /// parts of the server have ended.
    api: Shutdown,
    /// The signal that stops the counts of each minute, after the HTTP server.
    counts: Shutdown,
    /// Signals that a vital part of the node has ended. The node cannot work without these parts.
    vital: Vital,
    grace: Duration,
    /// The thread that runs the deliveries. The thread ends when this field is dropped, so this field must be dropped
    /// only after the deliveries have stopped.
    delivery_thread: Background,
    reloader: Arc<Reloader>,
    /// The random token in the link to the dashboard. `None`: the operator has set a token.
    link: Option<NewSecret>,
    /// Whether the program may install another poster after this node.
    lends_ambient: bool,
    poster: Poster,
}

/// The reason why a node cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Listen(#[from] api::Error),
    #[error(transparent)]
    Open(#[from] store::OpenError),
    #[error("the requests and reports of an earlier process cannot be taken over from the store")]
    Recover(#[source] store::Error),
    #[error(transparent)]
    Access(#[from] access::StartError),
    #[error(transparent)]
    Results(#[from] crate::results::MarkError),
    #[error("webhooks cannot be sent")]
    Delivery(#[from] delivery::Error),
    #[error("a poster is already installed; a workload server installs its own, so remove the call of `install`")]
    Poster,
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl Node {
    /// Starts all parts of the node, which is the running server. Handlers run on the tokio runtime `handlers`,
    /// deliveries on a separate thread, and the other parts on the current tokio runtime. When this function returns,
    /// the node accepts requests.
    ///
    /// `reread` reads the settings again, when an operator asks for it.
    pub(crate) async fn start(
        served: Served,
        settings: &Settings,
        reread: Reread,
        handlers: Handle,
    ) -> Result<Self, StartError> {
        // The node listens first, because listening fails more often than any other part of the start.
        let front = Front::listen(&settings.server)?;
        let (node, _) = Self::start_behind(front, served, (settings, reread), handlers).await?;
        Ok(node)
    }

    /// Starts all parts of the node behind what takes its calls.
    pub(crate) async fn start_behind(
        front: Front,
        served: Served,
        settings: (&Settings, Reread),
        handlers: Handle,
    ) -> Result<(Self, Option<Routers>), StartError> {
        let clock = Clock::system();
        let store = Store::open(settings.0.store.clone(), NodeId::generate(), clock.clone()).await?;
        let started = Self::start_on(front, store.clone(), clock, served, settings, handlers).await;
        if started.is_err() {
            store.close().await;
        }
        started
    }

    /// Starts the parts of the node, which is the running server. The store is already open, and the listener already
    /// listens.
    async fn start_on(
        front: Front,
        store: Store,
        clock: Clock,
        served: Served,
        (settings, reread): (&Settings, Reread),
        handlers: Handle,
    ) -> Result<(Self, Option<Routers>), StartError> {
        let address = front.address;
        spawn::own_results(&served, &store).await?;
        // The recorder comes first, because the other parts count from their start.
        let metrics = if front.installs_metrics { metrics::install() } else { metrics::installed() };
        let access = Access::start(&settings.access, &store, clock.clone(), address).await?;
        warn_of_access(&access, &served.routes, address);
        let own_addresses = address.into_iter().collect();
        let options = delivery::Options { own_addresses, ..delivery_options(settings, 1) };
        let guard = options.guard();
        let delivery_thread = Background::start("postback-delivery", 1).map_err(StartError::Thread)?;
        let recovered = store.recover(settings.worker.max_crashes).await.map_err(StartError::Recover)?;
        log_recovered(&recovered, "an earlier process");
        let outbox = Outbox::of_server(store.clone(), clock.clone()).with_formats(served.routes.formats().clone());
        // The outbox must be installed before the first handler runs, because tasks that a handler spawns put their
        // reports into this outbox.
        let flusher = Flusher::new(store.clone(), Handle::current());
        let requests = Requests::default();
        let poster = Poster::of_server(outbox.clone(), flusher, &requests);
        let installed = ambient::install(&poster).is_ok();
        // The service of a user may have a poster of its own. Then what it reports outside of runs goes there.
        let is_server = front.listener.is_some();
        if is_server && !installed {
            return Err(StartError::Poster);
        }

        let delivery = Delivery::new(store.clone(), clock.clone(), options)?;
        let control = delivery.control();
        let sessions = Sessions::new(clock.clone());
        let link = NewSecret::generate().ok();
        let of_link = link.as_ref().and_then(|link| AdminToken::new(link.reveal()));
        let gate = Gate::new(settings.admin_token.clone(), of_link, sessions.clone());
        let outbox = outbox.telling_progress(control.clone());
        let worker = Worker::new(outbox, served.routes.clone(), settings.worker, handlers, settings.grace);
        let (lost, max_crashes) = (worker.lost(), worker.control());
        let parts = reload::Parts {
            access: Arc::clone(&access),
            gate: gate.clone(),
            routes: served.routes.clone(),
            delivery: control.clone(),
            worker: worker.control(),
            store: store.clone(),
            address,
        };
        let of_worker = worker.control();
        let shown = metrics_access(metrics.clone(), gate.clone(), Arc::clone(&access));
        let run_timeout = Box::new(move || of_worker.timeout());
        let reloader = Arc::new(Reloader::new(reread, settings.clone(), parts));
        let public_keys = reloader.public_keys();
        let rules = api::Rules { access: Arc::clone(&access), guard, run_timeout, metrics: shown, public_keys };
        reloader.apply_route_limits();
        let node = Self {
            address,
            access: Arc::clone(&access),
            link: link.filter(|_| settings.admin_token.is_none()),
            served,
            store,
            intake: Shutdown::new(),
            deliveries: Shutdown::new(),
            api: Shutdown::new(),
            counts: Shutdown::new(),
            vital: Vital::default(),
            grace: settings.grace,
            delivery_thread,
            reloader,
            lends_ambient: installed && !is_server,
            poster,
        };
        node.spawn_delivery(delivery);
        node.spawn_retention();
        node.spawn_hand_ins();
        node.spawn_results();
        node.spawn_last_use();
        node.spawn_upkeep(metrics.clone(), clock.now());
        node.counts.spawn(series::keep(node.store.clone(), node.counts.clone()));
        let max_crashes = Box::new(move || max_crashes.max_crashes());
        let (access, reloader) = (Arc::clone(&node.access), Arc::clone(&node.reloader));
        let beat = Beat { store: node.store.clone(), access, reloader, max_crashes, lost };
        node.api.spawn(node.vital.watching("heartbeat", &node.api, beat.run(node.api.clone())));
        let http = node.server(is_server, clock.clone(), settings, rules);
        spawn::check_requests(&requests, http.submitter());
        // Handlers may prepare requests, so the check of requests is there before the first of them runs.
        node.spawn_worker(worker, recovered.lost);
        #[cfg(feature = "cron")]
        node.spawn_schedules(clock.clone());
        let admin = node.admin(clock, metrics, control, &node.reloader, http.submitter());
        let (to_log_in, known) = (gate.clone(), Arc::clone(&node.access));
        let may_log_in: MayLogIn = Box::new(move |headers, client| to_log_in.may_log_in(headers, client, &known));
        let pages = dashboard::router(sessions, may_log_in);
        let guarded = gate.guarding(admin.clone(), Arc::clone(&node.access)).merge(pages);
        #[cfg(all(unix, feature = "sqlite"))]
        if front.has_socket {
            node.spawn_socket(admin, settings);
        }
        let routers = node.take_calls(front, http, guarded);
        node.log_unknown_routes().await;
        Ok((node, routers))
    }

    /// Returns the random token that opens the dashboard, for the link that is printed. `None`: the operator has set
    /// `server.admin_token`, which is not repeated.
    pub(crate) fn link(&self) -> Option<&str> {
        self.link.as_ref().map(NewSecret::reveal)
    }

    /// `listens` says whether the server accepts connections, which are open files. It then raises their limit.
    fn server(&self, listens: bool, clock: Clock, settings: &Settings, rules: api::Rules) -> Server {
        let mut options = settings.server.clone();
        if listens {
            let plan = open_files::plan(options.connections, settings.delivery.concurrency);
            if let Some(shortage) = plan.shortage() {
                tracing::warn!("{shortage}");
            }
            options.connections = plan.connections;
        }
        let stops = api::Stops { draining: self.intake.clone(), grace: settings.grace, shutdown: self.api.clone() };
        let (store, served) = (self.store.clone(), self.served.clone());
        Server::new(store, clock, served, options, rules, stops)
    }

    /// Makes the operator's API. It works until the HTTP server stops, so that an operator can see how the node drains.
    fn admin(
        &self,
        clock: Clock,
        metrics: Option<Metrics>,
        delivery: Control,
        reloader: &Arc<Reloader>,
        submitter: api::Submitter,
    ) -> Router {
        let (to_show, to_reload) = (Arc::clone(reloader), Arc::clone(reloader));
        let hooks = Hooks {
            settings: Box::new(move || to_show.shown()),
            reload: Box::new(move |who| {
                let reloader = Arc::clone(&to_reload);
                Box::pin(async move { reloader.reload(&who).await })
            }),
            submit: Box::new(move |path, headers, body| {
                let submitter = submitter.clone();
                Box::pin(async move { submitter.submit(&path, headers, body).await })
            }),
        };
        admin::router(admin::Parts {
            store: self.store.clone(),
            access: Arc::clone(&self.access),
            clock,
            routes: self.served.routes.clone(),
            document: self.served.document.clone(),
            delivery,
            hooks,
            metrics,
            draining: self.intake.clone(),
            stop: self.api.clone(),
        })
    }

    /// Serves the operator's API on the socket beside the database. A store in memory has no such socket.
    #[cfg(all(unix, feature = "sqlite"))]
    fn spawn_socket(&self, admin: Router, settings: &Settings) {
        if let store::Location::Sqlite { path, .. } = &settings.store.place
            && let Some(listening) = admin::listen_beside(path)
        {
            self.api.spawn(admin::run(listening, admin, self.api.clone()));
        }
    }

    /// Returns a function. If the operator ends the process before [`stop`](Self::stop) has ended, the caller must call
    /// this function. Otherwise the runs in progress would count as crashed.
    pub(crate) fn ended_by_operator(&self) -> impl FnOnce() + use<> {
        let store = self.store.clone();
        move || store.forget_begun()
    }

    /// Reads the settings again, because `who` asks for it. The log says what has changed, or what is wrong.
    pub(crate) async fn reload(&self, who: &str) -> Reloaded {
        self.reloader.reload(who).await
    }

    /// Warns about stored requests whose routes this program does not have.
    async fn log_unknown_routes(&self) {
        let Ok(counts) = self.store.counts().await else { return };
        for (route, n) in counts.queued.iter().filter(|(route, _)| self.served.routes.get(route).is_none()) {
            tracing::warn!("{n} requests wait for the route {}, which this program does not have", Escaped(route));
        }
    }

    /// Waits until a part without which the node cannot work has ended, and returns the name of the part. Such a part
    /// cannot be started again, so the process must end.
    pub(crate) async fn broken(&self) -> String {
        tokio::select! {
            // The store is checked first, because the other parts end when the store is broken. In this case, the store
            // must be named as the cause.
            biased;
            trouble = self.store.broken() => trouble.to_string(),
            name = self.vital.ended() => format!("the {name} has ended because of an internal error"),
        }
    }

    /// Stops the node (the running server) when one of its parts has already ended. Returns at the latest after the
    /// time that an ordinary stop may take.
    pub(crate) async fn stop_broken(self) {
        let time = self.grace + LAST_ATTEMPTS + LAST_ATTEMPTS + LAST_COMMITS;
        if tokio::time::timeout(time, self.stop()).await.is_err() {
            tracing::error!("the other parts of the node do not stop in time, and are cut off");
        }
    }

    /// Stops the node, which is the running server.
    ///
    /// First, the node stops accepting and claiming requests. Runs may continue for the grace time. If a run has not
    /// ended by then, its request is put back into the queue. Attempts in flight may continue for the rest of the grace
    /// time. At the end, the store is closed. The HTTP server answers calls about the state of requests until all runs
    /// and deliveries have ended, but not for longer than the grace time.
    pub(crate) async fn stop(self) {
        self.intake.stop();
        let mut work = pin!(self.end_work());
        let is_over = tokio::time::timeout(self.grace, work.as_mut()).await.is_ok();
        self.api.stop();
        if !is_over {
            work.await;
        }
        self.api.finished().await;
        self.counts.stop();
        let last = async {
            // The counts of the minute that has begun are not worth more than half of the time.
            let _ = tokio::time::timeout(LAST_COMMITS / 2, self.counts.finished()).await;
            self.store.close().await;
        };
        if tokio::time::timeout(LAST_COMMITS, last).await.is_err() {
            tracing::error!("the store cannot be closed in time; the next start continues from the last commit");
        }
        self.return_ambient();
    }

    /// Waits until the runs have ended, then stops the deliveries, and waits until the deliveries have ended.
    async fn end_work(&self) {
        let begun = Instant::now();
        self.intake.finished().await;
        // The deliveries now make the first attempts for the reports of the last runs. The node waits for these
        // attempts, but at most for `LAST_ATTEMPTS`.
        let first_attempts = async {
            if let Ok(posted) = self.store.barrier().await {
                self.store.attempted(posted).await;
            }
        };
        let _ = tokio::time::timeout(LAST_ATTEMPTS, first_attempts).await;
        self.deliveries.stop();
        let left = self.grace.saturating_sub(begun.elapsed()).max(LAST_ATTEMPTS);
        if tokio::time::timeout(left, self.deliveries.finished()).await.is_err() {
            tracing::warn!("attempts in flight were cut off; the next start sends their reports again");
        }
    }
}

/// Says who sees the metrics on the server's own address.
fn metrics_access(metrics: Option<Metrics>, gate: Gate, access: Arc<Access>) -> api::MetricsAccess {
    let is_operator: api::IsOperator = Box::new(move |headers, client| gate.is_operator(headers, client, &access));
    api::MetricsAccess { metrics, is_operator }
}
