//! The routes of the program, as its OpenAPI document describes them. Callers may need a token to see the document.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::Admin;

/// `GET /routes/openapi.json`.
pub(super) async fn document(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    admin.document.answer(&headers)
}
