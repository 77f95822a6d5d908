//! What the operator's API says about a schedule.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A schedule that makes requests of a route.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Schedule {
    pub(crate) route: String,
    /// The schedule in cron form.
    pub(crate) cron: String,
    /// The name of the time zone of the schedule.
    pub(crate) time_zone: String,
    /// What follows if the schedule was due while no server ran: `skip`, `once` or `all`.
    pub(crate) missed: String,
    /// The last time at which it was due, in its time zone. Absent: it was not due yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// The next times, in its time zone.
    pub(crate) next: Vec<String>,
}
