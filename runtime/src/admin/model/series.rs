//! What happened over time, in the form that a chart needs: one list for each line, with one value for each point.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happened in the last minutes, hours or days. Each list has one value for each point, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Series {
    /// `15m`, `1h`, `24h` or `7d`.
    pub(crate) range: String,
    /// The distance between two points, in seconds.
    pub(crate) step_seconds: u64,
    /// The beginning of each point, in seconds since 1970.
    pub(crate) at: Vec<i64>,
    /// How many seconds of each point have passed. Only the last point is shorter than `step_seconds`.
    pub(crate) seconds: Vec<f64>,
    pub(crate) requests: RequestSeries,
    pub(crate) deliveries: DeliverySeries,
    /// How long runs took.
    pub(crate) runs: LatencySeries,
    /// The time between the creation of a report and its delivery.
    pub(crate) delivery_times: LatencySeries,
    pub(crate) waiting: WaitingSeries,
    /// The routes that have figures of the last days, at most 200. `other` stands for those beyond 50 in ten minutes.
    pub(crate) routes: Vec<String>,
    /// The origins that have figures of the last days, at most 200. `other` stands for those beyond 50 in ten minutes.
    pub(crate) origins: Vec<String>,
}

/// Numbers of requests. They are 0 if one origin was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RequestSeries {
    pub(crate) accepted: Vec<u64>,
    pub(crate) completed: Vec<u64>,
    pub(crate) failed: Vec<u64>,
    pub(crate) cancelled: Vec<u64>,
}

/// Numbers of deliveries. They are 0 if one route was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeliverySeries {
    pub(crate) delivered: Vec<u64>,
    /// Attempts that did not deliver their report.
    pub(crate) failed_attempts: Vec<u64>,
    /// Deliveries whose schedule is over.
    pub(crate) dead: Vec<u64>,
}

/// Estimates from a few buckets, in seconds. `null`: there was nothing to measure.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct LatencySeries {
    pub(crate) mean: Vec<Option<f64>>,
    pub(crate) p50: Vec<Option<f64>>,
    pub(crate) p99: Vec<Option<f64>>,
}

/// What waited at the end of a minute; of a longer point, the largest. `null`: it is not known.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct WaitingSeries {
    /// Requests that waited to be run.
    pub(crate) queued: Vec<Option<u64>>,
    /// Requests that ran.
    pub(crate) running: Vec<Option<u64>>,
    /// Reports that waited or were being delivered.
    pub(crate) undelivered: Vec<Option<u64>>,
    /// For how long the request had been due that had waited longest.
    pub(crate) oldest_request_seconds: Vec<Option<f64>>,
    /// For how long the delivery had been due that had waited longest.
    pub(crate) oldest_delivery_seconds: Vec<Option<f64>>,
}
