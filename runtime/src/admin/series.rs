//! What happened over time, for charts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::Uri;

use super::Admin;
use super::answer::{Answer, Json, Problem};
use super::model::{DeliverySeries, LatencySeries, RequestSeries, Series, WaitingSeries};
use super::query::Parameters;
use postback_store::Store;
use postback_store::series::{Figures, Latency, Names, Scope};
use postback_wire::time::{Clock, Timestamp};

/// The ranges: the name, the whole length, and the distance between two points.
const RANGES: [(&str, Duration, Duration); 4] = [
    ("15m", Duration::from_mins(15), Duration::from_mins(1)),
    ("1h", Duration::from_hours(1), Duration::from_mins(1)),
    ("24h", Duration::from_hours(24), Duration::from_mins(10)),
    ("7d", Duration::from_hours(7 * 24), Duration::from_hours(1)),
];

/// `GET /series`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Series> {
    let parameters = Parameters::of(&uri, &["range", "route", "origin"])?;
    let range = |text: &str| RANGES.into_iter().find(|(name, ..)| *name == text);
    let range = parameters.parsed("range", "`15m`, `1h`, `24h` or `7d`", range)?.unwrap_or(RANGES[1]);
    let scope = match (parameters.get("route"), parameters.get("origin")) {
        (None, None) => Scope::All,
        (Some(route), None) => Scope::Route(route.into()),
        (None, Some(origin)) => Scope::Origin(origin.into()),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("origin", "`route` and `origin` cannot be combined; give one of them"));
        }
    };
    // Invariant: the call cannot fail, because the semaphore is never closed.
    let _turn = admin.reads.acquire().await;
    Ok(Json(series(&admin.store, &admin.clock, &scope, range).await?))
}

async fn series(
    store: &Store,
    clock: &Clock,
    scope: &Scope,
    (range, length, step): (&str, Duration, Duration),
) -> Result<Series, postback_store::Error> {
    let now = clock.now();
    let step_micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
    let points = i64::try_from(length.as_secs() / step.as_secs()).unwrap_or(0);
    let last = now.micros() - now.micros().rem_euclid(step_micros);
    let first = last - (points - 1) * step_micros;
    let known = store.series(scope, Timestamp::from_micros(first), step).await?;
    let Names { routes, origins } = store.series_names().await?;
    let mut series = Series {
        range: range.to_owned(),
        step_seconds: step.as_secs(),
        at: Vec::new(),
        seconds: Vec::new(),
        requests: RequestSeries::default(),
        deliveries: DeliverySeries::default(),
        runs: LatencySeries::default(),
        delivery_times: LatencySeries::default(),
        waiting: WaitingSeries::default(),
        routes,
        origins,
    };
    let nothing = Figures::default();
    for point in 0..points {
        let at = Timestamp::from_micros(first + point * step_micros);
        series.at.push(at.micros() / 1_000_000);
        series.seconds.push(now.since(at).min(step).as_secs_f64().max(1.0));
        series.push(known.get(&at).unwrap_or(&nothing));
    }
    Ok(series)
}

impl Series {
    fn push(&mut self, figures: &Figures) {
        self.requests.accepted.push(figures.accepted);
        self.requests.completed.push(figures.completed);
        self.requests.failed.push(figures.failed);
        self.requests.cancelled.push(figures.cancelled);
        self.deliveries.delivered.push(figures.delivered);
        self.deliveries.failed_attempts.push(figures.failed_attempts);
        self.deliveries.dead.push(figures.dead);
        self.runs.push(&figures.runs);
        self.delivery_times.push(&figures.deliveries);
        let (into, waiting) = (&mut self.waiting, figures.waiting);
        into.queued.push(waiting.queued);
        into.running.push(waiting.running);
        into.undelivered.push(waiting.undelivered);
        into.oldest_request_seconds.push(waiting.oldest_request_ms.map(seconds));
        into.oldest_delivery_seconds.push(waiting.oldest_delivery_ms.map(seconds));
    }
}

impl LatencySeries {
    fn push(&mut self, latency: &Latency) {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        self.mean.push(seconds(latency.mean()));
        self.p50.push(seconds(latency.within(0.5)));
        self.p99.push(seconds(latency.within(0.99)));
    }
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}
