//! Starts the tasks of a node.

use std::sync::Arc;
#[cfg(feature = "multipart")]
use std::time::Duration;

use super::Node;
use crate::api::{Served, Submitter};
use crate::app::{gauges, route_limits};
#[cfg(feature = "cron")]
use crate::cron;
use crate::delivery::Delivery;
#[cfg(feature = "multipart")]
use crate::handler;
use crate::poster::Requests;
use crate::results::{self, MarkError};
use crate::telemetry::metrics::Metrics;
use crate::worker::Worker;
#[cfg(feature = "multipart")]
use postback_store::shutdown::Shutdown;
use postback_store::{ClaimedRequest, Store, retention, taking};
use postback_wire::line::Causes;
#[cfg(feature = "cron")]
use postback_wire::time::Clock;
use postback_wire::time::Timestamp;

/// The pause between two looks for files that killed processes have left.
#[cfg(feature = "multipart")]
const LEFT_FILES: Duration = Duration::from_mins(30);

/// Checks that the place of large results is that of this store. A place that does not answer is tried again later.
pub(super) async fn own_results(served: &Served, store: &Store) -> Result<(), MarkError> {
    let Some(results) = served.routes.results() else { return Ok(()) };
    results.belong_to(store);
    match results.take_place().await {
        Err(error @ MarkError::OfAnother { .. }) => Err(error),
        Err(error @ MarkError::Refused { .. }) => {
            tracing::error!("large results wait: {}", Causes(&error));
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Looks for files of forms that killed processes have left, again and again: what is young stays at first.
#[cfg(feature = "multipart")]
async fn delete_left_files(stop: Shutdown) {
    loop {
        // A panic there is logged, and the next look is the next try. A stop does not wait for the look.
        tokio::select! {
            () = stop.stopping() => return,
            _ = tokio::task::spawn_blocking(handler::delete_left_files) => {}
        }
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(LEFT_FILES) => {}
        }
    }
}

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

    /// Takes what transactions of the program hand in.
    pub(super) fn spawn_hand_ins(&self) {
        let hand_ins = taking::run(self.store.clone(), self.intake.clone());
        self.intake.spawn(self.vital.watching("intake of hand-ins", &self.intake, hand_ins));
    }

    /// Deletes results outside the store when their requests are gone, and the files of forms that killed processes have
    /// left.
    pub(super) fn spawn_results(&self) {
        #[cfg(feature = "multipart")]
        self.intake.spawn(delete_left_files(self.intake.clone()));
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

/// Lets the server check the requests that the program makes for its own routes.
pub(super) fn check_requests(requests: &Requests, submitter: Submitter) {
    requests.set(Box::new(move |target, headers, body| {
        let submitter = submitter.clone();
        Box::pin(
            async move { submitter.check(&target, headers, body).await.map_err(|problem| problem.detail().to_owned()) },
        )
    }));
}
