//! `GET ROUTE/{id}`: the state of a request. Once the request is over, the answer has the bytes of its report.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use url::form_urlencoded;

use super::prefer::seconds;
use super::problem::{Code, Form, Problem};
use super::response::coded_json;
use super::streamed_answer::{AnswerError, AnswerText, Reader};
use super::{Api, gate, progress};
use crate::access::{Caller, Scope};
use crate::handler::Route;
use postback_store::{DeliveryRecord, DeliveryState, Error, Summary, Watch};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::webhook::shown;

/// Answers an HTTP `GET` for the state of one request.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, mut request: Request) -> Response {
    let form = Form::of(request.headers());
    let caller = match gate::permit(request.extensions(), Scope::Read, &route.path) {
        Ok(caller) => caller,
        Err(problem) => return problem.respond(form),
    };
    let reader = Reader::of(&mut request);
    // The headers and the body of the HTTP call are dropped here, because this function does not need them, and may
    // wait for up to a minute.
    let uri = request.into_parts().0.uri;
    let text = uri.path().rsplit('/').next().unwrap_or_default();
    let answer = answer(&api, (&route, &caller), reader, text, uri.query().unwrap_or_default()).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

async fn answer(
    api: &Api,
    (route, caller): (&Route, &Caller),
    reader: Reader,
    text: &str,
    query: &str,
) -> Result<Response, Problem> {
    let query = Query::parse(query)?;
    let (id, summary) = of_caller(api, route, caller, text, query.wait).await?;
    let mut more = Vec::new();
    if query.delivery {
        let records = api.store.deliveries(id.as_str()).await.map_err(|error| unanswered(api, &error))?;
        more.extend(deliveries(&records)?);
    }
    if query.progress {
        let progress = api.store.progress(&id).await.map_err(|error| unanswered(api, &error))?;
        more.extend_from_slice(progress::member(progress.as_ref()).as_bytes());
    }
    let more = (!more.is_empty()).then_some(more);
    answer_with(api, reader, &id, &summary, more).await
}

/// Whether a request is one of this route and of this caller.
pub(super) fn is_theirs(summary: &Summary, route: &Route, caller: &Caller) -> bool {
    summary.route == route.path && caller.owns(&summary.owner)
}

/// Finds the caller's request whose id is `text`. Waits for the end of the request, but no longer than `time`.
pub(super) async fn of_caller(
    api: &Api,
    route: &Route,
    caller: &Caller,
    text: &str,
    time: Duration,
) -> Result<(RequestId, Summary), Problem> {
    let id: RequestId = text.parse().map_err(|_| Problem::unknown_id(text))?;
    let watch = api.store.watch(&id);
    let summary = wait(api, &id, &watch, time, |summary| is_theirs(summary, route, caller)).await?;
    Ok((id, summary.ok_or_else(|| Problem::unknown_id(text))?))
}

/// Makes the answer with the state of a request, in the coding that the client asks for. `more` is the text of other
/// members of the JSON object, and begins with a comma.
pub(super) async fn answer_with(
    api: &Api,
    reader: Reader,
    id: &RequestId,
    summary: &Summary,
    more: Option<Vec<u8>>,
) -> Result<Response, Problem> {
    let text = AnswerText::of(id, summary, more);
    let coded = text.into_body(&api.answers, reader, &api.store).await;
    coded.map(|coded| coded_json(StatusCode::OK, coded)).map_err(|error| unsent(api, id.as_str(), error))
}

/// Makes the error answer for an answer whose first bytes cannot be read.
pub(super) fn unsent(api: &Api, id: &str, error: AnswerError) -> Problem {
    match error {
        AnswerError::Store(error) => unanswered(api, &error),
        AnswerError::Elsewhere(why) => {
            tracing::warn!(request_id = %id, "the result of {id} cannot be read: {why}");
            Problem::new(Code::StoreUnavailable, "the place of the results does not answer; try again")
        }
        AnswerError::Purged => Problem::unknown_id(id),
        AnswerError::NoMemory | AnswerError::TooSlow => {
            Problem::new(Code::Overloaded, "too many answers wait for clients that do not read; try again")
        }
        AnswerError::Coding(_) => Problem::internal(),
    }
}

/// The query parameters of an HTTP call. Unknown parameters are ignored.
#[derive(Default)]
pub(super) struct Query {
    pub(super) wait: Duration,
    delivery: bool,
    progress: bool,
}

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match (key.as_ref(), value.as_ref()) {
                ("wait", value) => {
                    parsed.wait = seconds(value)
                        .ok_or_else(|| Problem::invalid_parameter("wait", "a whole number of seconds"))?;
                }
                ("include", list) => {
                    for member in list.split(',') {
                        match member {
                            "delivery" => parsed.delivery = true,
                            "progress" => parsed.progress = true,
                            _ => {
                                let expected = "`delivery`, `progress`, or both with a comma";
                                return Err(Problem::invalid_parameter("include", expected));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// Waits until the request is settled, `time` is over, or the server stops. Then returns the state of the request.
///
/// The state is read only after `watch` was made, so that no change of the state is missed. If `is_theirs` says that the
/// caller may not see the request, returns `None` at once, so that not even the time tells that there is such a request.
pub(super) async fn wait(
    api: &Api,
    id: &RequestId,
    watch: &Watch,
    time: Duration,
    is_theirs: impl Fn(&Summary) -> bool,
) -> Result<Option<Summary>, Problem> {
    let deadline = tokio::time::sleep(time);
    tokio::pin!(deadline);
    let mut over = time.is_zero();
    loop {
        let summary = api.store.summary(id).await.map_err(|error| unanswered(api, &error))?;
        let summary = summary.filter(&is_theirs);
        api.unreadable.over();
        if over || summary.as_ref().is_none_or(Summary::is_settled) {
            return Ok(summary);
        }
        tokio::select! {
            () = watch.settled() => {}
            () = &mut deadline => over = true,
            () = api.shutdown.stopping() => over = true,
        }
    }
}

/// The JSON member `delivery`: the state of the deliveries of a request.
#[derive(Serialize)]
struct Deliveries {
    state: &'static str,
    webhooks: Vec<Delivery>,
}

/// The state of one delivery. The error text of a failed attempt is not shown, because this text may contain addresses
/// of the operator's network.
#[derive(Serialize)]
struct Delivery {
    id: String,
    /// The `webhook-id` of the report that this delivery sends again, if this delivery is a replay. Otherwise `None`.
    /// The replay itself has another id.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<String>,
    url: String,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// The reason why no further attempt is planned, or why no attempt is planned at the moment. The text does not
    /// contain the IP addresses of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Makes the JSON member `delivery`, as text that begins with a comma.
fn deliveries(records: &[DeliveryRecord]) -> Result<Vec<u8>, Problem> {
    let webhooks: Vec<_> = records.iter().map(delivery).collect();
    // The states of deliveries in order of priority. The state of all deliveries together is the first state in this
    // list that at least one delivery has. So an unfinished delivery has priority over a finished delivery, and a
    // failed delivery has priority over a successful delivery.
    let order = ["retrying", "pending", "dead", "refused", "gone", "delivered"];
    let state =
        order.into_iter().find(|state| webhooks.iter().any(|webhook| webhook.state == *state)).unwrap_or("none");
    let mut member = b",\"delivery\":".to_vec();
    serde_json::to_writer(&mut member, &Deliveries { state, webhooks }).map_err(|_| Problem::internal())?;
    Ok(member)
}

fn delivery(record: &DeliveryRecord) -> Delivery {
    let retrying = record.last.is_some() || record.attempts > 1;
    let state = match record.state {
        DeliveryState::Pending | DeliveryState::Delivering if retrying => "retrying",
        DeliveryState::Pending | DeliveryState::Delivering => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
        DeliveryState::Refused => "refused",
        DeliveryState::Gone => "gone",
    };
    Delivery {
        id: record.id.to_string(),
        replay_of: (record.webhook_id != record.id).then(|| record.webhook_id.to_string()),
        url: shown(&record.url),
        state,
        attempts: record.attempts,
        next_attempt: record.next_due.map(|due| due.to_string()),
        last_status: record.last.as_ref().and_then(|attempt| attempt.status),
        reason: record.refused.clone().or_else(|| reason(record).map(str::to_owned)),
    }
}

fn reason(record: &DeliveryRecord) -> Option<&'static str> {
    match record.state {
        DeliveryState::Refused => Some("the address of the webhook is not allowed"),
        DeliveryState::Gone => Some("the receiver does not want this report"),
        DeliveryState::Pending if record.next_due.is_none() => {
            Some("the receiver wants no more reports; this one is held")
        }
        _ => None,
    }
}

pub(super) fn unanswered(api: &Api, error: &Error) -> Problem {
    let cause = Causes(error).to_string();
    api.unreadable.met(&cause, &cause);
    Problem::new(Code::StoreUnavailable, "the store does not answer; try again")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use postback_store::Attempt;
    use postback_wire::id::ReportId;
    use postback_wire::time::Timestamp;

    fn printed(state: DeliveryState, next_due: Option<Timestamp>) -> String {
        let error = "the address 10.1.2.3 is not a public address; answered by fd00::1";
        let attempt = Attempt {
            started: Timestamp::from_micros(0),
            took: Duration::ZERO,
            status: None,
            error: Some(error.to_owned()),
            response: Bytes::from_static(b"10.1.2.3"),
        };
        let id = ReportId::generate();
        let record = DeliveryRecord {
            id,
            webhook_id: id,
            url: "https://hooks.example.com/in?token=s3cret".to_owned(),
            state,
            attempts: 1,
            next_due,
            last: Some(attempt),
            refused: None,
        };
        serde_json::to_string(&delivery(&record)).unwrap()
    }

    #[test]
    fn who_asks_for_a_delivery_learns_its_state_and_no_address() {
        let due = Some(Timestamp::from_micros(1));
        for (state, next_due, expected) in [
            (DeliveryState::Refused, None, "address of the webhook is not allowed"),
            (DeliveryState::Gone, None, "does not want this report"),
            (DeliveryState::Pending, None, "this one is held"),
            (DeliveryState::Pending, due, "\"retrying\""),
            (DeliveryState::Dead, None, "\"dead\""),
        ] {
            let printed = printed(state, next_due);
            assert!(printed.contains(expected), "{printed}");
            for secret in ["10.1.2.3", "fd00::1", "s3cret"] {
                assert!(!printed.contains(secret), "{printed}");
            }
        }
    }
}
