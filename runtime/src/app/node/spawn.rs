//! Starts the tasks of a node.

use std::sync::Arc;

use super::Node;
use crate::app::{gauges, route_limits};
#[cfg(feature = "cron")]
use crate::cron;
use crate::delivery::Delivery;
use crate::results;
use crate::telemetry::metrics::Metrics;
use crate::worker::Worker;
use postback_store::{ClaimedRequest, retention};
#[cfg(feature = "cron")]
use postback_wire::time::Clock;
use postback_wire::time::Timestamp;

impl Node {
    pub(super) fn spawn_delivery(&self, delivery: Delivery) {
        let delivery = delivery.run(self.deliveries.clone());
        let watched = self.vital.watching("delivery", &self.deliveries, delivery);
        self.deliveries.spawn_on(watched, self.delivery_thread.handle());
    }

    pub(super) fn spawn_worker(&self, worker: Worker, lost: Vec<ClaimedRequest>) {
        let worker = worker.run(lost, self.intake.clone());
        self.intake.spawn(self.vital.watching("worker", &self.intake, worker));
    }

    #[cfg(feature = "cron")]
    pub(super) fn spawn_schedules(&self, clock: Clock) {
        let schedules = cron::run(self.store.clone(), clock, self.served.routes.clone(), self.intake.clone());
        self.intake.spawn(self.vital.watching("schedules", &self.intake, schedules));
    }

    pub(super) fn spawn_retention(&self) {
        let (routes, reloader) = (self.served.routes.clone(), Arc::clone(&self.reloader));
        let times = move || {
            let settings = reloader.current();
            (route_limits::retention(&routes, settings.retention), settings.delivery.schedule.total())
        };
        let retention = retention::run(self.store.clone(), times, self.intake.clone());
        self.intake.spawn(self.vital.watching("retention", &self.intake, retention));
    }

    /// Deletes results outside the store when their requests are gone.
    pub(super) fn spawn_results(&self) {
        let Some(results) = self.served.routes.results().cloned() else { return };
        let (store, stop) = (self.store.clone(), self.intake.clone());
        self.intake.spawn(async move {
            tokio::select! {
                () = stop.stopping() => {}
                () = results.try_out() => {}
            }
            results::sweep(&results, store, stop).await;
        });
    }

    pub(super) fn spawn_last_use(&self) {
        let (access, store) = (Arc::clone(&self.access), self.store.clone());
        self.intake.spawn(access.record_last_use(store, self.intake.clone()));
    }

    pub(super) fn spawn_upkeep(&self, metrics: Option<Metrics>, started: Timestamp) {
        if let Some(metrics) = metrics {
            self.api.spawn(metrics.keep_up(self.api.clone()));
        }
        let routes = self.served.routes.paths();
        let reloader = Arc::clone(&self.reloader);
        let limits = move || {
            let settings = reloader.current();
            (settings.store.max_queued, settings.store.max_queued_bytes)
        };
        self.api.spawn(gauges::keep(self.store.clone(), routes, limits, started, self.api.clone()));
    }
}
