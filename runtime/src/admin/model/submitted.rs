//! A request that the operator has made.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Submitted {
    /// The id of the request. With an `idempotency-key` that was used before, the id of the earlier request.
    pub(crate) id: String,
    pub(crate) route: String,
}
