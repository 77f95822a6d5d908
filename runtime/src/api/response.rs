//! What the answers of several routes share: the names of statuses, and JSON as the content type.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderValue, StatusCode};

use super::streamed_answer::Coded;
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

/// Makes an answer with JSON as its content type, whose coding the client has chosen by its header `accept-encoding`.
pub(super) fn coded_json(status: StatusCode, coded: Coded) -> Response {
    let mut response = json(status, coded.body);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coded.coding {
        response.headers_mut().insert(CONTENT_ENCODING, coding.header());
    }
    response
}
