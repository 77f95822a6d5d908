//! What tells one thing from another: the id of a store, and what makes two requests the same.
//!
//! The id of a store is made at its first start, and kept as long as its tables are. A copy of the store has the same id.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Store;
use crate::record::NewRequest;
use postback_wire::names::header;

/// The key of the row in the table `meta` that has the id.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const KEY: &str = "postback store id";

impl Store {
    /// Returns the id of the store. All nodes of one store have the same. `None`: the rows end with the process, and so
    /// would an id.
    pub fn id(&self) -> Option<&str> {
        self.0.shared.local.id.as_deref()
    }
}

/// The header in which a request keeps the query of its call.
const QUERY: HeaderName = HeaderName::from_static(header::QUERY);

/// Returns the query that is kept with these headers. A request without one has an empty query.
pub(crate) fn query_of(headers: &HeaderMap) -> &[u8] {
    headers.get(&QUERY).map_or(&[], HeaderValue::as_bytes)
}

impl NewRequest {
    /// Returns what tells that an earlier request is the same as this one. `None`: no earlier request can be, because the
    /// request has a new id and no idempotency key.
    pub(crate) fn identity(&self) -> Option<Self> {
        let Self { id, chosen_id, route, headers, body, created, owner, idempotency, .. } = self;
        (*chosen_id || idempotency.is_some()).then(|| Self {
            chosen_id: *chosen_id,
            headers: headers.get(&QUERY).map(|query| (QUERY, query.clone())).into_iter().collect(),
            owner: owner.clone(),
            idempotency: *idempotency,
            ..Self::new(id.clone(), route.as_str(), body.clone(), *created)
        })
    }

    /// Returns the query of the call that made the request. Two requests with different queries are different.
    pub(crate) fn query(&self) -> &[u8] {
        query_of(&self.headers)
    }
}
