//! The parameters of calls: in the path, in the query, and in headers.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, Ref, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{RefOr, Required};

use super::shared::{INCLUDE, STAGE};
use crate::api::brought::MAX_KEY;
use crate::api::list::{LIMIT, MAX_LIMIT};
use crate::api::prefer::MAX_WAIT;
use crate::handler::Route;

/// A key as most clients send it, without quotes.
const KEY: &str = "^[!#-~]([ -~]*[!-~])?$";

/// A cursor is a number in hexadecimal digits, which clients need not know.
const CURSOR: &str = "^[0-9a-f]{1,15}$";

fn parameter(name: &str, place: ParameterIn, what: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
    parameter.description(Some(what)).schema(Some(schema)).build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn query(name: &str, what: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Query, what, schema)
}

fn header(name: &str, what: &str) -> Parameter {
    parameter(name, ParameterIn::Header, what, text())
}

pub(super) fn id_in_path() -> Parameter {
    parameter("id", ParameterIn::Path, "The id of a request of this route.", text().min_length(Some(1)))
}

pub(super) fn wait() -> Parameter {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let what = format!("Wait this number of seconds for the end of the request, {} at most.", MAX_WAIT.as_secs());
    query("wait", &what, seconds)
}

pub(super) fn include() -> Parameter {
    list("include", "What else the answer has.", INCLUDE)
}

/// A query parameter whose value is a list with commas.
fn list(name: &str, what: &str, of: &str) -> Parameter {
    let items = ArrayBuilder::new().items(Ref::from_schema_name(of)).min_items(Some(1));
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    let parameter = parameter.style(Some(ParameterStyle::Form)).explode(Some(false));
    parameter.description(Some(what)).schema(Some(items)).build()
}

/// Which requests a list has.
pub(super) fn of_list() -> Vec<Parameter> {
    let time = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_LIMIT));
    let what = format!("The largest number of requests on the page, {LIMIT} if it is not given.");
    vec![
        list("status", "Only requests with one of these statuses.", STAGE),
        query("created_after", "Only requests that were made after this time.", time()),
        query("created_before", "Only requests that were made before this time.", time()),
        query("cursor", "The member `next` of the page before.", text().pattern(Some(CURSOR))),
        query("limit", &what, limit),
    ]
}

/// What the client of a result has already, and which part of it the client wants.
pub(super) fn of_result() -> Vec<Parameter> {
    vec![
        header("If-None-Match", "The entity tag of the result that the client has."),
        header("If-Match", "The entity tag that the result must have."),
        header("Range", "The part of the result that the client wants, such as `bytes=0-99`."),
        header("If-Range", "The entity tag that the result must have for `Range` to count."),
    ]
}

/// The last event that a client has.
pub(super) fn of_events() -> Vec<Parameter> {
    vec![
        header("Last-Event-Id", "The id of the last event that the client has. The stream begins after it."),
        query("last_event_id", "The same, for clients that cannot set the header.", text()),
    ]
}

pub(super) fn verbose() -> Parameter {
    query("verbose", "If it is given, with any value, the answer has a line for each check.", text())
}

pub(super) fn prefer() -> Parameter {
    header(
        "Prefer",
        "`respond-async`: answer with links and status 202. `wait=N`: wait N seconds for the end of the request (RFC \
         7240).",
    )
}

/// What a caller may bring to a request of this route, because the body belongs to the handler.
pub(super) fn brought(route: &Route) -> Vec<Parameter> {
    let limits = route.limits();
    let mut brought = vec![
        header(
            "X-Request-Id",
            "An id of the caller, which the server writes to its log. If the operator has allowed it, it is the id of \
             the request.",
        ),
        parameter(
            "Idempotency-Key",
            ParameterIn::Header,
            "Calls with the same key and the same body are the same request, and get the same id.",
            text().min_length(Some(1)).max_length(Some(MAX_KEY)).pattern(Some(KEY)),
        ),
        header("Postback-Metadata", "JSON of at most 4096 bytes, which the status and the report repeat."),
        header("Postback-Run-At", "When the request runs: a time (RFC 3339), or a time from now, such as `+10m`."),
        header("Postback-Deadline", "A request whose run has not begun by this time fails. As for `Postback-Run-At`."),
        header(
            "Postback-Timeout",
            "The longest time that a run may take, such as `30s`, up to the limit of the route.",
        ),
        header("Traceparent", "The trace to which the request belongs (W3C Trace Context). Its webhooks continue it."),
        header("Tracestate", "The state of the trace."),
    ];
    if route.caller_webhook {
        let url = text().format(Some(SchemaFormat::Custom("uri".to_owned())));
        let what = "A URL that gets the report of the request, too.";
        brought.push(parameter("Postback-Webhook", ParameterIn::Header, what, url));
    }
    if limits.allow_priority.unwrap_or(false) {
        let what = "Requests of the route with a higher priority run earlier.";
        let priority = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(-100)).maximum(Some(100));
        brought.push(parameter("Postback-Priority", ParameterIn::Header, what, priority));
    }
    brought
}

/// The parameters that the handler reads. They have no names here: they are any members of an object.
pub(super) fn of_query(route: &Route) -> Option<Parameter> {
    let any = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
    let parameter = ParameterBuilder::new().name("query").parameter_in(ParameterIn::Query).required(Required::False);
    let parameter = parameter.style(Some(ParameterStyle::Form)).explode(Some(true));
    let what = "The parameters that the handler reads, each under its own name.";
    route.takes_query().then(|| parameter.description(Some(what)).schema(Some(any)).build())
}

pub(super) fn if_none_match() -> Parameter {
    header("If-None-Match", "The entity tag of what the client has.")
}
