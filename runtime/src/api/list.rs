//! `GET ROUTE`: the caller's own requests, the newest first, page by page.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use url::form_urlencoded;

use super::problem::{Form, Problem};
use super::response::{IN_PROGRESS, IN_QUEUE, coded_json};
use super::status::{unanswered, unsent};
use super::streamed_answer::{AnswerText, Reader};
use super::{Api, gate};
use crate::access::Scope;
use crate::handler::Route;
use postback_store::{Cursor, ListFilter, Listed, ListedStatus, Page};
use postback_wire::time::Timestamp;

/// The largest number of requests on a page.
pub(super) const MAX_LIMIT: usize = 200;
/// The number of requests on a page if the client asks for no number.
pub(super) const LIMIT: usize = 50;

/// Answers an HTTP `GET` for the requests of a route.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, mut request: Request) -> Response {
    let form = Form::of(request.headers());
    let owner = match gate::permit(request.extensions(), Scope::Read, &route.path) {
        Ok(caller) => caller.owner(),
        Err(problem) => return problem.respond(form),
    };
    let reader = Reader::of(&mut request);
    let answer = answer(&api, &route, &owner, reader, request.uri().query().unwrap_or_default()).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

async fn answer(api: &Api, route: &Route, owner: &str, reader: Reader, query: &str) -> Result<Response, Problem> {
    let Query { filter, after, limit } = Query::parse(query)?;
    let page = api.store.list_own_requests(&route.path, owner, &filter, after, limit).await;
    let page = page.map_err(|error| unanswered(api, &error))?;
    api.unreadable.over();
    let text = AnswerText::of_text(printed(&page)?);
    let coded = text.into_body(&api.answers, reader, &api.store).await;
    coded.map(|coded| coded_json(StatusCode::OK, coded)).map_err(|error| unsent(api, "", error))
}

/// The query parameters of a list. Unknown parameters are ignored.
struct Query {
    filter: ListFilter,
    after: Option<Cursor>,
    limit: usize,
}

impl Query {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self { filter: ListFilter::default(), after: None, limit: LIMIT };
        let mut statuses = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "status" => {
                    for name in value.split(',') {
                        let status = ListedStatus::ALL.into_iter().find(|status| name_of(*status) == name);
                        let names =
                            "`in_queue`, `in_progress`, `completed`, `failed`, `cancelled`, or several with commas";
                        statuses.push(status.ok_or_else(|| Problem::invalid_parameter("status", names))?);
                    }
                }
                // Times are whole microseconds, so the first one after a time is one microsecond later.
                "created_after" => {
                    let after = time("created_after", &value)?.micros().saturating_add(1);
                    parsed.filter.created_from = Timestamp::from_micros(after);
                }
                "created_before" => parsed.filter.created_before = time("created_before", &value)?,
                "cursor" => {
                    let cursor = i64::from_str_radix(&value, 16).ok();
                    let cursor = cursor
                        .ok_or_else(|| Problem::invalid_parameter("cursor", "the member `next` of an earlier page"))?;
                    parsed.after = Some(Cursor(cursor));
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    parsed.limit =
                        limit.ok_or_else(|| Problem::invalid_parameter("limit", "a whole number from 1 to 200"))?;
                }
                _ => {}
            }
        }
        if !statuses.is_empty() {
            parsed.filter.statuses = statuses;
        }
        Ok(parsed)
    }
}

/// Reads a time in the format of RFC 3339.
fn time(key: &'static str, text: &str) -> Result<Timestamp, Problem> {
    // In a query, a plus sign stands for a space. Clients often forget to encode the one before a time zone.
    let time = Timestamp::parse(&text.replace(' ', "+"));
    time.ok_or_else(|| Problem::invalid_parameter(key, "a time such as 2026-11-27T08:00:00Z (RFC 3339)"))
}

fn name_of(status: ListedStatus) -> &'static str {
    match status {
        ListedStatus::Queued => IN_QUEUE,
        ListedStatus::Running => IN_PROGRESS,
        ListedStatus::Ended(status) => status.as_str(),
    }
}

/// The JSON text of a page.
#[derive(Serialize)]
struct Printed<'a> {
    requests: Vec<PrintedRequest<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct PrintedRequest<'a> {
    id: &'a str,
    status: &'static str,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
}

impl<'a> PrintedRequest<'a> {
    fn of(row: &'a Listed) -> Self {
        Self {
            id: row.id.as_str(),
            status: name_of(row.status),
            created: row.created.to_string(),
            finished: row.finished.map(|finished| finished.to_string()),
        }
    }
}

fn printed(page: &Page) -> Result<Vec<u8>, Problem> {
    let requests = page.rows.iter().map(PrintedRequest::of).collect();
    let next = page.next.map(|Cursor(place)| format!("{place:x}"));
    let mut text = serde_json::to_vec(&Printed { requests, next }).map_err(|_| Problem::internal())?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_wire::report::Status;

    fn micros(text: &str) -> Option<i64> {
        time("created_after", text).ok().map(Timestamp::micros)
    }

    #[test]
    fn a_query_says_which_requests() {
        let query = "status=failed,cancelled&status=in_queue&created_after=1970-01-01T00:00:01Z\
                     &created_before=1970-01-01T00:00:02.5%2B00:00&cursor=ff&limit=200&other=1";
        let Query { filter, after, limit } = Query::parse(query).unwrap_or_else(|_| panic!());
        let ended = ListedStatus::Ended;
        assert_eq!(filter.statuses, [ended(Status::Failed), ended(Status::Cancelled), ListedStatus::Queued]);
        assert_eq!((filter.created_from.micros(), filter.created_before.micros()), (1_000_001, 2_500_000));
        assert_eq!((after, limit), (Some(Cursor(255)), 200));
        let Query { filter, after, limit } = Query::parse("").unwrap_or_else(|_| panic!());
        assert_eq!((filter, after, limit), (ListFilter::default(), None, 50));
    }

    #[test]
    fn what_a_query_must_not_say_is_refused() {
        for query in [
            "status=done",
            "status=",
            "status=failed,",
            "created_after=yesterday",
            "created_before=2026-11-27",
            "cursor=",
            "cursor=x",
            "cursor=fffffffffffffffffffff",
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=many",
        ] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_time_has_a_zone() {
        assert_eq!(micros("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(micros("1970-01-01T01:00:00 01:00"), Some(0), "a plus sign that was not encoded");
        assert_eq!(micros("1969-12-31T23:59:59.999999999Z"), Some(-1));
        for bad in ["1970-01-01T00:00:00", "1970-01-01", "0", "", "1970-13-01T00:00:00Z"] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }
}
