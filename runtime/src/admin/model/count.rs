//! A number of rows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many rows are selected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Count {
    pub(crate) count: u64,
    /// Whether there are more than `count`. Counting ends at 10,000, or after some seconds.
    pub(crate) more: bool,
}
