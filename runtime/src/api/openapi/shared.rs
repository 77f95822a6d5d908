//! The schemas of answers that all routes share.

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::Type;

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
pub(super) const STAGE: &str = "PostbackRequestStatus";
pub(super) const INCLUDE: &str = "PostbackInclude";
pub(super) const PAGE: &str = "PostbackPage";
pub(super) const EVENT: &str = "PostbackEvent";
pub(super) const KEYS: &str = "PostbackPublicKeys";
const LISTED: &str = "PostbackListed";
const DELIVERIES: &str = "PostbackDeliveries";
const DELIVERY: &str = "PostbackDelivery";
const PROGRESS: &str = "PostbackProgress";

/// The schemas of answers that do not depend on the types of a route.
pub(super) fn schemas() -> Map<String, Value> {
    let schemas = [
        (PROBLEM, problem_schema()),
        (ANY, json!({"description": "Any JSON value."})),
        (DOCUMENT, json!({"type": "object", "description": "An OpenAPI document."})),
        (KEYS, keys()),
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
                "required": ["id", "status", "status_url", "events_url", "cancel_url"],
                "properties": {
                    "id": id(), "status": status(),
                    "status_url": {"type": "string", "description": "The path at which `GET` says the status."},
                    "events_url": {"type": "string", "description": "The path of the request's events."},
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
        (INCLUDE, json!({"type": "string", "enum": ["delivery", "progress"]})),
        (PAGE, page()),
        (LISTED, listed()),
        (EVENT, event()),
        (DELIVERIES, deliveries()),
        (DELIVERY, delivery()),
        (PROGRESS, progress()),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn keys() -> Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    json!({
        "type": "object", "description": "A JSON Web Key Set, as RFC 7517 and RFC 8037 define it.", "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {
            "type": "object", "required": ["kty", "crv", "x", "use", "kid"],
            "properties": {
                "kty": {"const": "OKP"}, "crv": {"const": "Ed25519"}, "use": {"const": "sig"},
                "x": text("The 32 bytes of the key, in base64url."),
                "kid": text("The thumbprint of the key by RFC 7638."),
            },
        }}},
    })
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
            "metadata": {"description": "The metadata that the caller gave to the request."},
            "error": {"description": "The error of a request that failed, if the handler reports errors."},
            "delivery": {"$ref": format!("#/components/schemas/{DELIVERIES}")},
            "progress": {
                "anyOf": [{"$ref": format!("#/components/schemas/{PROGRESS}")}, {"type": "null"}],
                "description": "What the last run has told about its progress, with `include=progress`.",
            },
        },
    })
}

fn page() -> Value {
    json!({
        "type": "object", "description": "A page of a list of requests.", "required": ["requests", "next"],
        "properties": {
            "requests": {"type": "array", "items": {"$ref": format!("#/components/schemas/{LISTED}")}},
            "next": {
                "type": ["string", "null"],
                "description": "The cursor of the next page. It is null on the last page. A page may have few requests, or \
                    none, and not be the last.",
            },
        },
    })
}

fn event() -> Value {
    json!({
        "type": "object", "description": "An event of a stream.", "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "description": "The id, which a client sends as `Last-Event-ID`."},
            "event": {
                "type": "string", "description": "The name. Later versions may have more names.", "examples": ["status", "progress"],
            },
            "data": {
                "type": "string", "contentMediaType": "application/json",
                "description": "The id, the status and the time of a change, or the id and the progress. In the last \
                    event: the status of the request.",
            },
        },
    })
}

fn listed() -> Value {
    json!({
        "type": "object", "description": "A request in a list.", "required": ["id", "status", "created"],
        "properties": {
            "id": id(), "status": status(),
            "created": {"type": "string", "format": "date-time"},
            "finished": {"type": "string", "format": "date-time", "description": "When the request ended."},
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

fn progress() -> Value {
    json!({
        "type": "object", "description": "How far a run has come.",
        "required": ["fraction", "message", "detail", "at", "sequence"],
        "properties": {
            "fraction": {
                "type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "How much of the work is done.",
            },
            "message": {"type": ["string", "null"], "description": "What the handler is doing."},
            "detail": {"description": "Any JSON value of the handler."},
            "at": {"type": "string", "format": "date-time", "description": "When the handler told it."},
            "sequence": {
                "type": "integer", "minimum": 1,
                "description": "Its number among all that the request has told. It grows by one each time.",
            },
        },
    })
}
