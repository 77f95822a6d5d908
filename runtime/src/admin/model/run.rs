//! What a run has left behind: its progress and its checkpoint.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a run has come, as its handler says.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Progress {
    /// How much of the work is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<serde_json::Value>,
    pub(crate) at: String,
    /// Its number among all that the request has told.
    pub(crate) sequence: u64,
    /// The number of the run that has told it.
    pub(crate) run: u32,
}

/// What the runs of a request have saved last for the next run. Its value is not shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Checkpoint {
    /// The size of its JSON.
    pub(crate) bytes: u64,
    /// When it was saved. Missing if an earlier version of the program has saved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved: Option<String>,
}
