//! A node: one process that uses the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One process that uses the store. Several can use a store in PostgreSQL.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Node {
    /// The id, which is new at each start.
    pub(crate) id: String,
    /// The process and its machine.
    pub(crate) name: String,
    /// The version of the program.
    pub(crate) version: String,
    /// When the process has started.
    pub(crate) started: String,
    /// `live`; `silent`: it has shown no sign of life for some seconds; `over`: it has ended.
    pub(crate) state: String,
    /// How long ago the node has shown a sign of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) silent_seconds: Option<f64>,
    /// Whether this process has answered the call.
    pub(crate) is_this: bool,
    /// The number of requests that the node has claimed: they run, or are about to run.
    pub(crate) running: u64,
    /// The number of reports that the node has claimed. Absent if no other process can use the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivering: Option<u64>,
}
