//! What the answers of several routes share: the names of statuses, and JSON as the content type.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use postback_store::Stage;

pub(super) const IN_QUEUE: &str = "in_queue";
pub(super) const IN_PROGRESS: &str = "in_progress";

/// Returns the value of the JSON member `status` for a request at this stage.
pub(super) fn status_of(stage: &Stage) -> &'static str {
    match stage {
        Stage::Queued => IN_QUEUE,
        Stage::Running => IN_PROGRESS,
        Stage::Settled(end) => end.status.as_str(),
    }
}

/// Makes an answer with JSON as its content type. The body should end with a line break, because people read the
/// answers on terminals. The answers of the Cortex API end with a line break, too.
pub(super) fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
