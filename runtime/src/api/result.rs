//! `GET ROUTE/{id}/result`: the result of a request alone, with its own content type.

mod elsewhere;

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::coding::Coding;
use super::conditions::{Answer, Conditions, Tag};
use super::problem::{Code, Form, Problem};
use super::response::{coded_json, status_of};
use super::status::{Query, of_caller, unsent};
use super::streamed_answer::{AnswerText, Reader};
use super::{Api, gate};
use crate::access::{Caller, Scope};
use crate::handler::Route;
use postback_store::{EndSummary, Kept, Stage, Summary};
use postback_wire::id::RequestId;
use postback_wire::report::Status;

/// The last segment of the path of a result.
pub(super) const SEGMENT: &str = "result";

/// What the answer depends on beside the state of the request.
struct Asked {
    reader: Reader,
    conditions: Conditions,
}

/// Answers an HTTP `GET` for the result of one request.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, mut request: Request) -> Response {
    let headers = request.headers();
    let form = Form::of(headers);
    let caller = match gate::permit(request.extensions(), Scope::Read, &route.path) {
        Ok(caller) => caller,
        Err(problem) => return problem.respond(form),
    };
    let conditions = Conditions::of(headers, request.method() == Method::GET);
    let asked = Asked { reader: Reader::of(&mut request), conditions };
    // The headers and the body of the HTTP call are dropped here, because this function may wait for up to a minute.
    let uri = request.into_parts().0.uri;
    let text = uri.path().rsplit('/').nth(1).unwrap_or_default();
    let answer = answer(&api, (&route, &caller), asked, text, uri.query().unwrap_or_default()).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

async fn answer(
    api: &Api,
    (route, caller): (&Route, &Caller),
    asked: Asked,
    text: &str,
    query: &str,
) -> Result<Response, Problem> {
    let query = Query::parse(query)?;
    let (id, summary) = of_caller(api, route, caller, text, query.wait).await?;
    let Some((end, result)) = result_of(&id, &summary)? else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    if end.is_elsewhere {
        return elsewhere::send(api, asked, id, end, result).await;
    }
    send(api, asked, id, end, result).await
}

/// Returns the result of a request that was completed. Returns `None` if the request was completed without a result.
fn result_of<'a>(id: &RequestId, summary: &'a Summary) -> Result<Option<(&'a EndSummary, &'a Kept)>, Problem> {
    match &summary.stage {
        Stage::Settled(end) if end.status == Status::Completed => Ok(end.result.as_ref().map(|result| (end, result))),
        Stage::Settled(end) => Err(Problem::no_result(id, end.status.as_str())),
        stage => Err(Problem::not_finished(id, status_of(stage))),
    }
}

async fn send(api: &Api, asked: Asked, id: RequestId, end: &EndSummary, result: &Kept) -> Result<Response, Problem> {
    let length = result.len;
    let text = |range| AnswerText::of_result(id.clone(), result, range);
    respond(api, asked, &id, end, length, text).await
}

/// Answers with the part of a result that is asked for. `text` makes the text of a range of it.
async fn respond(
    api: &Api,
    asked: Asked,
    id: &RequestId,
    end: &EndSummary,
    length: usize,
    text: impl FnOnce(Range<usize>) -> AnswerText,
) -> Result<Response, Problem> {
    let tag = Tag::of(id, end.finished);
    let Asked { mut reader, conditions } = asked;
    let (status, range) = match conditions.judge(&tag, length) {
        Answer::Whole => (StatusCode::OK, 0..length),
        Answer::Part(range) => {
            reader.coding = None;
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Answer::NoSuchPart => return Err(Problem::range(length)),
        Answer::NotModified(held) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            describe(response.headers_mut(), &tag, held.coding);
            return Ok(response);
        }
        Answer::Failed => {
            return Err(Problem::new(
                Code::PreconditionFailed,
                "the result has none of the tags in the header if-match",
            ));
        }
    };
    let coded = text(range.clone()).into_body(&api.answers, reader, &api.store).await;
    let coded = coded.map_err(|error| unsent(api, id.as_str(), error))?;
    let coding = coded.coding;
    let mut response = coded_json(status, coded);
    describe(response.headers_mut(), &tag, coding);
    if status == StatusCode::PARTIAL_CONTENT {
        let Range { start, end } = range;
        let part = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
        set(response.headers_mut(), CONTENT_RANGE, HeaderValue::try_from(part).ok());
    }
    Ok(response)
}

/// Adds the headers that a client needs to ask again.
fn describe(headers: &mut HeaderMap, tag: &Tag, coding: Option<Coding>) {
    set(headers, ETAG, tag.header(coding));
    headers.entry(VARY).or_insert(HeaderValue::from_static("accept-encoding"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A cache may keep the result for its own client, and asks each time whether the request is still stored.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}
