//! What all routes share in the document: schemas and parameters.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::{RefOr, Required};

use crate::api::prefer::MAX_WAIT;
use crate::openapi::{PROBLEM, problem_schema};

pub(super) const TEXT: Type = Type::String;
/// The names of schemas in the document. Types of the user's program that have the same name get another one.
/// The schema of a payload that the program does not describe.
pub(super) const ANY: &str = "PostbackAny";
pub(super) const DOCUMENT: &str = "PostbackDocument";
pub(super) const ACCEPTED: &str = "PostbackAccepted";
pub(super) const PENDING: &str = "PostbackPending";
pub(super) const STATUS: &str = "PostbackStatus";
pub(super) const CANCELLED: &str = "PostbackCancelled";
const STAGE: &str = "PostbackRequestStatus";
const INCLUDE: &str = "PostbackInclude";
const DELIVERIES: &str = "PostbackDeliveries";
const DELIVERY: &str = "PostbackDelivery";

/// The schemas of answers that do not depend on the types of a route.
pub(super) fn schemas() -> Map<String, Value> {
    let schemas = [
        (PROBLEM, problem_schema()),
        (ANY, json!({"description": "Any JSON value."})),
        (DOCUMENT, json!({"type": "object", "description": "An OpenAPI document."})),
        (
            ACCEPTED,
            json!({
                "type": "object", "description": "A request that the server has accepted.", "required": ["id"],
                "properties": {"id": id()},
            }),
        ),
        (
            PENDING,
            json!({
                "type": "object", "description": "A request that is not over.",
                "required": ["id", "status", "status_url", "cancel_url"],
                "properties": {
                    "id": id(), "status": status(),
                    "status_url": {"type": "string", "description": "The path at which `GET` says the status."},
                    "cancel_url": {"type": "string", "description": "The path at which `DELETE` cancels the request."},
                },
            }),
        ),
        (STATUS, status_with(json!({}))),
        (
            CANCELLED,
            json!({
                "type": "object", "description": "A request that is cancelled or is being cancelled.",
                "required": ["id", "status"], "properties": {"id": id(), "status": status(), "reason": reason()},
            }),
        ),
        (
            STAGE,
            json!({
                "type": "string", "description": "How far a request is, or how it ended.",
                "enum": ["in_queue", "in_progress", "completed", "failed", "cancelled"],
            }),
        ),
        (INCLUDE, json!({"type": "string", "enum": ["delivery"]})),
        (DELIVERIES, deliveries()),
        (DELIVERY, delivery()),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn id() -> Value {
    json!({"type": "string", "description": "The id of the request."})
}

fn status() -> Value {
    json!({"$ref": format!("#/components/schemas/{STAGE}")})
}

fn reason() -> Value {
    json!({
        "type": "string",
        "description": "Why the request was not completed, if the handler reports reasons. Later versions may add words.",
        "examples": ["error", "panic", "timeout", "lost", "dropped", "unserializable", "cancelled"],
    })
}

/// The schema of the status of a request whose result has this schema.
pub(super) fn status_with(mut result: Value) -> Value {
    const ABOUT: &str = "The result, if the request is completed and has one.";
    // A schema may also be `true`, which allows anything.
    if let Some(result) = result.as_object_mut().filter(|result| !result.contains_key("$ref")) {
        result.entry("description").or_insert(ABOUT.into());
    }
    json!({
        "type": "object", "description": "The status of a request. After its end, these are the members of its report.",
        "required": ["id", "status"],
        "properties": {
            "id": id(), "status": status(), "result": result,
            "timestamp": {
                "type": "string", "format": "date-time",
                "description": "When the request was completed, if it has a result.",
            },
            "reason": reason(),
            "error": {"description": "The error of a request that failed, if the handler reports errors."},
            "delivery": {"$ref": format!("#/components/schemas/{DELIVERIES}")},
        },
    })
}

fn deliveries() -> Value {
    json!({
        "type": "object", "description": "The webhooks of a request, with `include=delivery`.",
        "required": ["state", "webhooks"],
        "properties": {
            "state": {
                "type": "string", "description": "The state of all deliveries together.",
                "enum": ["none", "pending", "retrying", "delivered", "dead", "refused", "gone"],
            },
            "webhooks": {"type": "array", "items": {"$ref": format!("#/components/schemas/{DELIVERY}")}},
        },
    })
}

fn delivery() -> Value {
    json!({
        "type": "object", "description": "The delivery of a report to one URL.",
        "required": ["id", "url", "state", "attempts"],
        "properties": {
            "id": {"type": "string", "description": "The id of the report, as in the header `webhook-id`."},
            "replay_of": {"type": "string", "description": "The id of the report that this delivery sends again."},
            "url": {"type": "string", "description": "The URL, without user, query and what looks like a token."},
            "state": {"type": "string", "enum": ["pending", "retrying", "delivered", "dead", "refused", "gone"]},
            "attempts": {"type": "integer", "minimum": 0},
            "next_attempt": {"type": "string", "format": "date-time"},
            "last_status": {"type": "integer", "description": "The HTTP status of the last answer."},
            "reason": {"type": "string", "description": "Why no attempt is planned."},
        },
    })
}

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
    query("include", "What else the answer has.", Ref::from_schema_name(INCLUDE))
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

pub(super) fn correlation() -> Parameter {
    header("X-Request-Id", "An id of the caller, which the server writes to its log.")
}

pub(super) fn if_none_match() -> Parameter {
    header("If-None-Match", "The entity tag of the document that the client has.")
}
