//! `/.well-known/jwks.json`: the public keys with which receivers verify reports, as a JWKS (RFC 7517).
//!
//! Receivers are no callers, and have no token. So everybody may read the keys, as `/healthz`. With them, nobody can
//! sign. The keys do not say to which endpoint they belong.

use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::Value;

use super::Api;
use crate::openapi::Document;
use postback_wire::secret::PublicKey;

/// The path of the keys. Verifiers of fal's webhooks read the keys of fal at the same path.
pub(super) const PATH: &str = "/.well-known/jwks.json";
/// A receiver may keep the keys for an hour. The guide for receivers says to wait longer than this when a key is
/// replaced.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const JWKS: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// Returns the public keys that verify reports now.
pub(crate) type PublicKeys = Box<dyn Fn() -> Vec<PublicKey> + Send + Sync>;

/// Answers a call for the keys. The settings can change while the server runs, so the document is made for each call.
pub(super) fn show(api: &Api, request: &Request) -> Response {
    let keys: Value = serde_json::from_str(&PublicKey::jwks(&(api.public_keys)())).unwrap_or_default();
    let mut response = Document::of(&keys).answer(request.headers());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, CACHED);
    if headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, JWKS);
    }
    response
}
