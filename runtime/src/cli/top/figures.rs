//! What is shown: the state of the second of two samples, and how much happened between them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::sample::{Metrics, Sample};
use postback_wire::line::Escaped;
use postback_wire::names::metric;

/// The figures of an interval. A rate is a number per second. Rates are absent if the server has no metrics to show.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) status: String,
    /// Why the server is not ready, or refuses requests.
    pub(super) trouble: Option<String>,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    pub(super) requests: Option<Flow>,
    pub(super) deliveries: Option<Attempts>,
    pub(super) queued: u64,
    pub(super) running: u64,
    /// For how long the request has been due that has waited longest.
    pub(super) oldest_waiting_seconds: Option<f64>,
    pub(super) undelivered: u64,
    pub(super) in_flight: Option<f64>,
    /// For how long the delivery has been due that has waited longest.
    pub(super) oldest_due_seconds: Option<f64>,
    pub(super) open_circuits: u64,
    pub(super) disabled: u64,
    pub(super) routes: Vec<RouteFigures>,
    pub(super) origins: Vec<OriginFigures>,
    /// The latest failures, the latest first.
    pub(super) failures: Vec<Failure>,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Flow {
    pub(super) accepted: f64,
    pub(super) completed: f64,
    pub(super) failed: f64,
    /// How long a run took on the average, in seconds. Absent: no run has ended.
    pub(super) run_seconds: Option<f64>,
}

/// Attempts per second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Attempts {
    pub(super) delivered: f64,
    pub(super) failed: f64,
    pub(super) attempt_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteFigures {
    pub(super) route: String,
    pub(super) requests: Option<Flow>,
    pub(super) queued: u64,
    pub(super) running: Option<f64>,
    pub(super) oldest_waiting_seconds: Option<f64>,
}

/// An origin that has something to show: its circuit is open, reports wait for it, or it is disabled.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OriginFigures {
    pub(super) origin: String,
    /// `closed`, `open`, `testing` or `disabled`.
    pub(super) state: String,
    pub(super) parked: u64,
    pub(super) held: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Failure {
    pub(super) at: String,
    /// `request` or `delivery`.
    pub(super) kind: &'static str,
    pub(super) id: String,
    /// The route of a request, or the URL of a delivery.
    pub(super) of: String,
    pub(super) why: String,
}

/// Two states of the metrics, and the time between them.
struct Between<'s> {
    before: &'s Metrics,
    after: &'s Metrics,
    seconds: f64,
}

impl Between<'_> {
    /// Returns by how much a counter has grown per second. A server that was started again counts from 0.
    fn rate(&self, of: impl Fn(&Metrics) -> f64) -> f64 {
        self.growth(of) / self.seconds
    }

    fn growth(&self, of: impl Fn(&Metrics) -> f64) -> f64 {
        let (before, after) = (of(self.before), of(self.after));
        if after < before { after } else { after - before }
    }

    /// Returns the average of the values that a histogram has got.
    fn average(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let part = |ending: &str| self.growth(|metrics| metrics.sum(&format!("{name}_{ending}"), label));
        let count = part("count");
        (count > 0.0).then(|| part("sum") / count)
    }

    fn flow(&self, route: Option<&str>) -> Flow {
        let label = route.map(|route| ("route", route));
        let finished = |status: &str| {
            self.rate(|metrics| match route {
                Some(route) => metrics.sum_of(metric::REQUESTS_FINISHED, [("route", route), ("status", status)]),
                None => metrics.sum(metric::REQUESTS_FINISHED, Some(("status", status))),
            })
        };
        Flow {
            accepted: self.rate(|metrics| metrics.sum(metric::REQUESTS_ACCEPTED, label)),
            completed: finished("completed"),
            failed: finished("failed"),
            run_seconds: self.average(metric::RUN_SECONDS, label),
        }
    }

    fn attempts(&self) -> Attempts {
        let of = |result: &str| self.rate(|metrics| metrics.sum(metric::ATTEMPTS, Some(("result", result))));
        Attempts {
            delivered: of("delivered"),
            failed: of("failed"),
            attempt_seconds: self.average(metric::ATTEMPT_SECONDS, None),
        }
    }
}

impl Figures {
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.saturating_duration_since(before.at).max(Duration::from_millis(1)).as_secs_f64();
        let between = before.metrics.as_ref().zip(after.metrics.as_ref());
        let between = between.map(|(before, after)| Between { before, after, seconds });
        let (health, now) = (&after.health, after.metrics.as_ref());
        let gauge = |name: &str| now.map(|metrics| metrics.sum(name, None));
        let routes = routes(after, between.as_ref());
        let oldest = routes.iter().filter_map(|route| route.oldest_waiting_seconds).reduce(f64::max);
        let trouble = health.reason.clone().or_else(|| health.refuses.as_ref().map(|why| format!("refuses: {why}")));
        Self {
            status: shown(&health.status),
            trouble: trouble.as_deref().map(shown),
            version: shown(&health.version),
            uptime_seconds: health.uptime_seconds,
            requests: between.as_ref().map(|between| between.flow(None)),
            deliveries: between.as_ref().map(Between::attempts),
            queued: health.queued.values().sum(),
            running: health.running,
            oldest_waiting_seconds: oldest,
            undelivered: health.undelivered,
            in_flight: gauge(metric::DELIVERIES_IN_FLIGHT),
            oldest_due_seconds: gauge(metric::DELIVERIES_OLDEST),
            open_circuits: health.open_circuits,
            disabled: health.disabled,
            routes,
            origins: origins(after),
            failures: failures(after),
        }
    }
}

fn routes(after: &Sample, between: Option<&Between<'_>>) -> Vec<RouteFigures> {
    let mut names: BTreeSet<&str> = after.health.queued.keys().map(String::as_str).collect();
    for name in [metric::REQUESTS_RUNNING, metric::REQUESTS_ACCEPTED] {
        names.extend(after.metrics.iter().flat_map(|metrics| metrics.values(name, "route")));
    }
    let of_route = |route: &str| {
        let gauge = |name: &str| after.metrics.as_ref().map(|metrics| metrics.sum(name, Some(("route", route))));
        RouteFigures {
            route: shown(route),
            requests: between.map(|between| between.flow(Some(route))),
            queued: after.health.queued.get(route).copied().unwrap_or(0),
            running: gauge(metric::REQUESTS_RUNNING),
            oldest_waiting_seconds: gauge(metric::REQUESTS_OLDEST),
        }
    };
    let mut routes: Vec<_> = names.into_iter().map(of_route).collect();
    // The routes with the most to do come first.
    let accepted = |route: &RouteFigures| route.requests.map_or(0.0, |flow| flow.accepted);
    routes.sort_by(|a, b| b.queued.cmp(&a.queued).then_with(|| accepted(b).total_cmp(&accepted(a))));
    routes
}

fn origins(after: &Sample) -> Vec<OriginFigures> {
    let origin = |origin: &crate::admin::model::Origin| OriginFigures {
        origin: shown(&origin.name),
        state: if origin.disabled { "disabled".to_owned() } else { shown(&origin.circuit) },
        parked: origin.parked,
        held: origin.held,
    };
    after.origins.iter().map(origin).collect()
}

fn failures(after: &Sample) -> Vec<Failure> {
    let requests = after.failed.iter().map(|request| Failure {
        at: shown(request.finished.as_deref().unwrap_or(&request.created)),
        kind: "request",
        id: shown(&request.id),
        of: shown(&request.route),
        why: shown(request.reason.as_deref().unwrap_or("failed")),
    });
    let deliveries = after.dead.iter().map(|delivery| {
        let last = delivery.last_attempt.as_ref().and_then(|attempt| {
            attempt.error.clone().or_else(|| attempt.status.map(|status| format!("answered {status}")))
        });
        Failure {
            at: shown(delivery.finished.as_deref().unwrap_or(&delivery.created)),
            kind: "delivery",
            id: shown(&delivery.id),
            of: shown(&delivery.url),
            why: shown(last.as_deref().or(delivery.refused.as_deref()).unwrap_or("dead")),
        }
    });
    let mut all: Vec<_> = requests.chain(deliveries).collect();
    all.sort_by(|a, b| b.cmp(a));
    all
}

/// Makes a text safe for a terminal, because it may come from outside.
fn shown(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};
    use tokio::time::Instant;

    use super::*;

    fn sample(at: Instant, metrics: &str) -> Sample {
        let hostile = "a\u{1b}[2J\u{202e}b\n";
        let health = json!({
            "status": "ready", "reason": hostile, "version": hostile, "uptime_seconds": 1, "queued": { hostile: 2 },
            "running": 0, "undelivered": 0, "delivered": 0, "given_up": 0, "disabled": 0, "open_circuits": 0,
            "unknown_routes": [],
        });
        let origin = json!({"origin": hostile, "circuit": "open", "parked": 1, "held": 0, "disabled": false});
        let request = json!({
            "id": hostile, "route": hostile, "status": "failed", "reason": hostile, "created": hostile, "failures": 1, "crashes": 0,
        });
        Sample {
            at,
            health: from_value(health).unwrap(),
            metrics: Some(Metrics::parse(metrics)),
            origins: vec![from_value(origin).unwrap()],
            failed: vec![from_value(request).unwrap()],
            dead: Vec::new(),
        }
    }

    #[test]
    fn rates_are_per_second_and_a_server_that_was_started_again_counts_from_0() {
        let now = Instant::now();
        let metrics = |accepted: u32| format!("postback_requests_accepted_total{{route=\"/a\"}} {accepted}\n");
        let before = sample(now, &metrics(10));
        for (accepted, rate) in [(30, 10.0), (4, 2.0)] {
            let after = sample(now + Duration::from_secs(2), &metrics(accepted));
            let figures = Figures::between(&before, &after);
            assert!((figures.requests.unwrap().accepted - rate).abs() < 0.01, "{figures:?}");
        }
    }

    #[test]
    fn no_text_from_outside_can_command_the_terminal() {
        let now = Instant::now();
        let figures = Figures::between(&sample(now, ""), &sample(now + Duration::from_secs(1), ""));
        let Figures { trouble, version, routes, origins, failures, .. } = figures;
        let Failure { at, id, of, why, .. } = &failures[0];
        for text in [&trouble.unwrap(), &version, &routes[0].route, &origins[0].origin, at, id, of, why] {
            assert_eq!(text, "a\\u{1b}[2J\\u{202e}b\\n");
        }
    }
}
