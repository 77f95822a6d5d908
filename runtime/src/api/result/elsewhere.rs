//! A result that is kept outside the store: its bytes, with the content type that its handler gave them.

use std::sync::Arc;

use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::{Asked, respond, set};
use crate::api::Api;
use crate::api::problem::{Code, Problem};
use crate::api::streamed_answer::AnswerText;
use postback_store::{EndSummary, Kept, RequestClaim};
use postback_wire::id::RequestId;
use postback_wire::report::StoredResult;

/// The digest of the whole result (RFC 9530).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Answers with the bytes. They may be what a caller has sent, so that a browser must not take them for a page of this
/// server.
pub(super) async fn send(
    api: &Api,
    mut asked: Asked,
    id: RequestId,
    end: &EndSummary,
    described: &Kept,
) -> Result<Response, Problem> {
    let stored = described.whole.as_ref().and_then(|json| serde_json::from_slice::<StoredResult>(json).ok());
    let (Some(stored), Some(results)) = (stored, api.routes.results()) else {
        let why = "the result is kept in a place that this server does not have; the operator can set results.url";
        return Err(Problem::new(Code::StoreUnavailable, why));
    };
    // Images and the like are compressed already.
    if !is_text(&stored.content_type) {
        asked.reader.coding = None;
    }
    let length = usize::try_from(stored.size).unwrap_or(usize::MAX);
    let claim = RequestClaim { id: id.clone(), epoch: stored.version };
    let text = |range| AnswerText::of_elsewhere(Arc::clone(results), claim, range);
    let mut response = respond(api, asked, &id, end, length, text).await?;
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, HeaderValue::try_from(stored.content_type).ok());
    // The digest is that of the bytes that are sent whole, before a transfer coding and after a content coding.
    if !headers.contains_key(CONTENT_ENCODING) {
        set(headers, REPR_DIGEST, HeaderValue::try_from(stored.digest).ok());
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

/// Whether a client may gain something if the bytes are compressed.
fn is_text(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/") || ["json", "xml", "javascript", "svg+xml"].iter().any(|end| kind.ends_with(end))
}
