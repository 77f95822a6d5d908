//! One running node: builds what it is made of, starts it in order, stops it in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::open_files;
#[cfg(all(unix, feature = "sqlite"))]
use crate::admin;
use crate::api::{self, Server};
use crate::background::Background;
use crate::delivery::{self, Delivery};
use crate::handler::Routes;
use crate::id::NodeId;
use crate::line::{Causes, Escaped};
use crate::poster::{Flusher, Outbox, ambient};
use crate::settings::Settings;
use crate::shutdown::{Shutdown, Vital};
use crate::store::{self, Store, retention};
use crate::time::Clock;
use crate::webhook::{Webhook, origin_of};
use crate::worker::Worker;

/// What first attempts have left when everything else has stopped, and what attempts in flight have at least.
const LAST_ATTEMPTS: Duration = Duration::from_secs(1);
/// What a store that cannot write has left to try to. Together with the times before it and the usual grace time of 25 s it
/// stays below the 30 s after which orchestrators kill.
const LAST_COMMITS: Duration = Duration::from_secs(2);

/// A node that takes requests.
pub(crate) struct Node {
    address: SocketAddr,
    routes: Routes,
    store: Store,
    /// The worker and what else ends before deliveries do. While it ends, the node drains.
    intake: Shutdown,
    deliveries: Shutdown,
    /// The server, which tells how things stand until the others have ended.
    api: Shutdown,
    vital: Vital,
    grace: Duration,
    /// Kept until the node has stopped: deliveries have a thread of their own.
    _delivery_thread: Background,
}

/// A node could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Listen(#[from] api::Error),
    #[error(transparent)]
    Open(#[from] store::OpenError),
    #[error("what an earlier process left in the store cannot be taken over")]
    Recover(#[source] store::Error),
    #[error("webhooks cannot be sent")]
    Delivery(#[from] delivery::Error),
    #[error("a poster is installed already; a workload server brings its own, so do not install one in it")]
    Poster,
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl Node {
    /// Starts everything on the current runtime, but handlers, which run on `handlers`, and deliveries, which have a
    /// thread of their own. When this returns, requests are taken.
    pub(crate) async fn start(routes: Routes, settings: &Settings, handlers: Handle) -> Result<Self, StartError> {
        let clock = Clock::system();
        // First, since it is what most often cannot be had.
        let listener = api::listen(&settings.server)?;
        let address = listener.local_addr().unwrap_or(settings.server.listen);
        if !address.ip().is_loopback() {
            tracing::warn!("the API is open to whoever reaches {address}: it asks nobody who they are");
        }
        let store = Store::open(settings.store.clone(), NodeId::generate(), clock.clone()).await?;
        let started = Self::start_on(listener, address, store.clone(), clock, routes, settings, handlers).await;
        if started.is_err() {
            store.close().await;
        }
        started
    }

    async fn start_on(
        listener: tokio::net::TcpListener,
        address: SocketAddr,
        store: Store,
        clock: Clock,
        routes: Routes,
        settings: &Settings,
        handlers: Handle,
    ) -> Result<Self, StartError> {
        let options = delivery::Options { own_addresses: vec![address], ..delivery_options(settings) };
        let guard = options.guard();
        let delivery_thread = Background::start("postback-delivery", 1).map_err(StartError::Thread)?;
        let recovered = store.recover(settings.worker.max_crashes).await.map_err(StartError::Recover)?;
        if recovered.requests + recovered.reports + recovered.lost.len() > 0 {
            let cancelled = recovered.lost.iter().filter(|row| row.cancelled).count();
            tracing::info!(
                "taken over from an earlier process: {} requests to run again, {} reports to send again, {} requests lost too \
                 often, {cancelled} cancelled",
                recovered.requests,
                recovered.reports,
                recovered.lost.len() - cancelled,
            );
        }
        let outbox = Outbox::of_server(store.clone(), clock.clone());
        // Before the first handler runs: tasks that it spawns report through this one.
        let flusher = Flusher::new(store.clone(), tokio::runtime::Handle::current());
        ambient::install(Arc::new(outbox.clone()), flusher).map_err(|_| StartError::Poster)?;

        let (intake, deliveries, api, vital) = (Shutdown::new(), Shutdown::new(), Shutdown::new(), Vital::default());
        let delivery = Delivery::new(store.clone(), clock.clone(), options)?;
        let delivery = delivery.run(deliveries.clone());
        deliveries.spawn_on(vital.watching("delivery", &deliveries, delivery), delivery_thread.handle());
        let worker = Worker::new(outbox, routes.clone(), settings.worker.clone(), handlers, settings.grace);
        intake.spawn(vital.watching("worker", &intake, worker.run(recovered.lost, intake.clone())));
        let retention =
            retention::run(store.clone(), settings.retention, settings.delivery.schedule.total(), intake.clone());
        intake.spawn(vital.watching("retention", &intake, retention));
        let files = open_files::plan(settings.server.connections, settings.delivery.concurrency);
        if let Some(trouble) = files.trouble() {
            tracing::warn!("{trouble}");
        }
        let options = api::Options { connections: files.connections, ..settings.server.clone() };
        let stops = api::Stops { draining: intake.clone(), grace: settings.grace, shutdown: api.clone() };
        let server = Server::new(listener, store.clone(), clock, routes.clone(), options, guard, stops);
        api.spawn(vital.watching("server", &api, server.run()));
        #[cfg(all(unix, feature = "sqlite"))]
        if let store::Location::Sqlite { path, .. } = &settings.store.place {
            intake.spawn(admin::run(store.clone(), admin::beside(path), intake.clone()));
        }
        let grace = settings.grace;
        let node =
            Self { address, routes, store, intake, deliveries, api, vital, grace, _delivery_thread: delivery_thread };
        node.tell_stranded().await;
        Ok(node)
    }

    /// To be called as the process ends without [`stop`](Self::stop) coming to its end, because the operator wants it so: no
    /// run is to blame for that.
    pub(crate) fn ended_by_operator(&self) -> impl FnOnce() + use<> {
        let store = self.store.clone();
        move || store.forget_begun()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says how many requests wait for routes that this program does not have.
    async fn tell_stranded(&self) {
        let Ok(counts) = self.store.counts().await else { return };
        for (route, n) in counts.queued.iter().filter(|(route, _)| self.routes.get(route).is_none()) {
            tracing::warn!("{n} requests wait for the route {}, which this program does not have", Escaped(route));
        }
    }

    /// Returns when the node cannot go on, and why: a part of it is dead, which only another process can be whole again without.
    pub(crate) async fn broken(&self) -> String {
        tokio::select! {
            // First, since other parts end as soon as the store has.
            biased;
            trouble = self.store.broken() => trouble.to_string(),
            name = self.vital.ended() => format!("the {name} has ended by a fault of its own"),
        }
    }

    /// Stops what is left of a node that is broken, as far as that can be done in the time that a stop has.
    pub(crate) async fn stop_broken(self) {
        let time = self.grace + LAST_ATTEMPTS + LAST_ATTEMPTS + LAST_COMMITS;
        if tokio::time::timeout(time, self.stop()).await.is_err() {
            tracing::error!("what is left of the node does not stop, and is cut off");
        }
    }

    /// Stops: no more requests, no more claims; runs have the grace time, what is not over then is put back; attempts in
    /// flight have what is left of it; then the store is closed. Until the grace time is over, or there is nothing left to do,
    /// the server goes on to tell how things stand.
    pub(crate) async fn stop(self) {
        self.intake.stop();
        let mut work = pin!(self.end_work());
        let is_over = tokio::time::timeout(self.grace, work.as_mut()).await.is_ok();
        self.api.stop();
        if !is_over {
            work.await;
        }
        self.api.finished().await;
        if tokio::time::timeout(LAST_COMMITS, self.store.close()).await.is_err() {
            tracing::error!("the store cannot be closed; the next start goes on from what it could commit");
        }
    }

    /// Waits for the runs, and then for the deliveries.
    async fn end_work(&self) {
        let begun = Instant::now();
        self.intake.finished().await;
        // What the last runs had to report is tried once, if it can be in this time.
        let tried = async {
            if let Ok(posted) = self.store.barrier().await {
                self.store.tried(posted).await;
            }
        };
        let _ = tokio::time::timeout(LAST_ATTEMPTS, tried).await;
        self.deliveries.stop();
        let left = self.grace.saturating_sub(begun.elapsed()).max(LAST_ATTEMPTS);
        if tokio::time::timeout(left, self.deliveries.finished()).await.is_err() {
            tracing::warn!("attempts in flight were cut off; the next start sends their reports again");
        }
    }
}

/// What the settings mean for deliveries.
fn delivery_options(settings: &Settings) -> delivery::Options {
    let said = &settings.delivery;
    if let Some(Err(error)) = settings.config.webhook_url().map(Webhook::new) {
        tracing::warn!("config.webhook_url: {}", Causes(&error));
    }
    // An endpoint is all of a scheme, host and port, whatever the paths: of several limits the smallest holds.
    let mut own_concurrency = HashMap::new();
    for (endpoint, n) in said.endpoints.iter().filter_map(|at| Some((origin_of(&at.url).to_owned(), at.concurrency?))) {
        let limit = own_concurrency.entry(endpoint).or_insert(n);
        *limit = n.min(*limit);
    }
    delivery::Options {
        schedule: said.schedule.clone(),
        timeout: said.timeout,
        concurrency: said.concurrency,
        per_origin: said.per_origin,
        own_concurrency,
        destinations: settings.destinations(),
        allow_networks: said.allow_networks.clone(),
        deny_networks: said.deny_networks.clone(),
        nat64_prefixes: said.nat64_prefixes.clone(),
        ca_file: said.ca_file.clone(),
        ..delivery::Options::default()
    }
}
