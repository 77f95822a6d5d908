//! The OpenAPI document of the operator's API: a table of the calls, and the schemas of the model.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder, Required, ResponseBuilder, ServerBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::{PATH, model};
use crate::openapi::{self, Document, PROBLEM, TOKEN};
use crate::problem::Code;

const ABOUT: &str = "The operator's API of a workload server. It is served on the Unix socket beside the database, for the \
    user who owns the socket, and at `/_postback/api` for the token `server.admin_token`. No token of a caller opens it.\n\n\
    Lists go from the newest row to the oldest, or by name. A page may have fewer items than `limit`, or none, and still \
    have a next page: its `next` is the parameter `cursor` of the next call.";

/// One call of the API.
struct Call {
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// The names of the query parameters.
    query: &'static [&'static str],
    /// The names of the headers.
    headers: &'static [&'static str],
    /// The schema of the body.
    body: Option<&'static str>,
    /// The status of a good answer, and its schema, or the content type of its text.
    answer: (&'static str, &'static str),
    errors: &'static [Code],
}

const LIST: &[Code] = &[Code::InvalidParameter];
const ONE: &[Code] = &[Code::NotFound];
const CHANGE: &[Code] = &[Code::NotFound, Code::Conflict, Code::RequestOver];
const BODY: &[Code] =
    &[Code::MalformedPayload, Code::InvalidParameter, Code::NotFound, Code::Conflict, Code::PayloadTooLarge];

/// The errors of a new request, as of a `POST` to its route.
const SUBMIT: &[Code] = &[
    Code::InvalidParameter,
    Code::InvalidHeader,
    Code::InvalidWebhook,
    Code::MalformedPayload,
    Code::MalformedRequest,
    Code::MalformedContentEncoding,
    Code::NotFound,
    Code::RequestInProgress,
    Code::BodyTooSlow,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedContentEncoding,
    Code::InvalidPayload,
    Code::IdempotencyKeyReused,
    Code::AcceptanceUnknown,
];
/// What the body cannot say about a new request, because it belongs to the handler.
const BROUGHT: &[&str] = &[
    "Idempotency-Key",
    "Postback-Metadata",
    "Postback-Run-At",
    "Postback-Deadline",
    "Postback-Timeout",
    "Postback-Priority",
    "Postback-Webhook",
];

const fn call(method: HttpMethod, path: &'static str, id: &'static str, summary: &'static str) -> Call {
    Call { method, path, id, summary, query: &[], headers: &[], body: None, answer: ("200", ""), errors: &[] }
}

impl Call {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, errors: LIST, ..self }
    }

    const fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), errors: BODY, ..self }
    }

    const fn headers(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }

    const fn answers(self, schema: &'static str) -> Self {
        Self { answer: (self.answer.0, schema), ..self }
    }

    const fn with_status(self, status: &'static str) -> Self {
        Self { answer: (status, self.answer.1), ..self }
    }

    const fn errors(self, errors: &'static [Code]) -> Self {
        Self { errors, ..self }
    }
}

use HttpMethod::{Delete, Get, Post};

const CALLS: &[Call] = &[
    call(Get, "/requests", "listRequests", "List requests, the newest first")
        .query(&["route", "status", "token", "since", "until", "id", "cursor", "limit"])
        .answers("RequestPage"),
    call(Post, "/requests", "submitRequest", "Make a request of a route, which belongs to no token of a caller")
        .query(&["route"])
        .headers(BROUGHT)
        .body("Payload")
        .answers("Submitted")
        .with_status("201")
        .errors(SUBMIT),
    call(Get, "/requests/{id}", "showRequest", "Show a request with all that is stored about it")
        .answers("RequestDetail")
        .errors(ONE),
    call(Post, "/requests/{id}/cancel", "cancelRequest", "Cancel a request").answers("Cancelled").errors(CHANGE),
    call(Post, "/requests/{id}/retry", "retryRequest", "Run a failed or cancelled request again, as a new request")
        .answers("Retried")
        .errors(CHANGE),
    call(Get, "/deliveries", "listDeliveries", "List deliveries, the newest first")
        .query(&["status", "url", "subject", "since", "until", "cursor", "limit"])
        .answers("DeliveryPage"),
    call(Get, "/deliveries/{id}", "showDelivery", "Show a delivery with its body and every attempt")
        .answers("DeliveryDetail")
        .errors(ONE),
    call(Post, "/deliveries/{id}/replay", "replayDelivery", "Send the report of a delivery that is over again")
        .answers("Replayed")
        .errors(CHANGE),
    call(Get, "/replays", "listReplays", "List the replays of this process, the newest first").answers("ReplayPage"),
    call(Post, "/replays", "startReplay", "Send the reports of many deliveries again")
        .body("Selection")
        .answers("Replay")
        .with_status("202"),
    call(Post, "/replays/count", "countReplay", "Count the deliveries that a replay would go through, up to 10,000")
        .body("Selection")
        .answers("Count"),
    call(Get, "/replays/{id}", "showReplay", "Show how far a replay has come").answers("Replay").errors(ONE),
    call(Delete, "/replays/{id}", "stopReplay", "Stop a replay; what it has done stays").answers("Replay").errors(ONE),
    call(Get, "/origins", "listOrigins", "List the origins with an open circuit, with parked reports, or disabled")
        .query(&["cursor", "limit"])
        .answers("OriginPage"),
    call(Post, "/origins/enable", "enableOrigin", "Enable an origin").body("Name").answers("AllEnabled"),
    call(Post, "/origins/disable", "disableOrigin", "Hold the reports to an origin until it is enabled")
        .body("Name")
        .answers("DisabledName"),
    call(Get, "/endpoints", "listEndpoints", "List the disabled URLs and origins")
        .query(&["cursor", "limit"])
        .answers("EndpointPage"),
    call(Post, "/endpoints/enable", "enableEndpoint", "Enable a URL").body("Name").answers("AllEnabled"),
    call(Post, "/endpoints/disable", "disableEndpoint", "Hold the reports to a URL until it is enabled")
        .body("Name")
        .answers("DisabledName"),
    call(Get, "/tokens", "listTokens", "List the tokens of callers").query(&["cursor", "limit"]).answers("TokenPage"),
    call(Post, "/tokens", "makeToken", "Make a token; the answer alone shows its secret")
        .body("NewToken")
        .answers("MadeToken")
        .with_status("201"),
    call(Delete, "/tokens/{id}", "revokeToken", "Refuse a token from now on").answers("Token").errors(CHANGE),
    call(Get, "/nodes", "listNodes", "List the processes that use the store, and some that have ended")
        .answers("NodePage"),
    call(Get, "/schedules", "listSchedules", "List the schedules of the program").answers("SchedulePage"),
    call(Get, "/routes/openapi.json", "showRoutes", "Show the document that describes the routes to callers")
        .answers("Document"),
    call(Get, "/audit", "listAudit", "List the changes that operators made, the latest first")
        .query(&["cursor", "limit"])
        .answers("AuditPage"),
    call(Get, "/settings", "showSettings", "Show the settings that the server uses, with secrets masked")
        .answers("Settings"),
    call(Post, "/settings/reload", "reloadSettings", "Read the settings again; a wrong file changes nothing")
        .answers("Reload")
        .errors(&[Code::InvalidSettings]),
    call(Get, "/health", "showHealth", "Show the state of the server in detail").answers("Health"),
    call(Get, "/metrics", "showMetrics", "Show the metrics in Prometheus' text exposition format")
        .answers("text/plain")
        .errors(ONE),
    call(Get, "/series", "showSeries", "Show what happened over time: numbers, latencies, and what waited")
        .query(&["range", "route", "origin"])
        .answers("Series"),
    call(Get, "/changes", "followChanges", "Follow the changes of requests and deliveries as server-sent events")
        .query(&["every"])
        .answers("text/event-stream"),
    call(Get, "/openapi.json", "showDocument", "Show this document").answers("Document"),
];

/// Makes the document.
pub(super) fn document() -> Document {
    let mut paths = PathsBuilder::new();
    let mut at = 0;
    while let Some(first) = CALLS.get(at) {
        let of_path = CALLS[at..].iter().take_while(|call| call.path == first.path);
        let mut item = PathItemBuilder::new();
        for call in of_path {
            item = item.operation(call.method.clone(), operation(call));
            at += 1;
        }
        paths = paths.path(first.path, item.build());
    }
    let info = InfoBuilder::new()
        .title("Postback: the operator's API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT));
    let bearer = openapi::bearer("The value of `server.admin_token`. The socket needs no token.");
    let document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(PATH).build()]))
        .paths(paths)
        .components(Some(ComponentsBuilder::new().security_scheme(TOKEN, bearer).build()))
        .security(Some([SecurityRequirement::new(TOKEN, [] as [&str; 0]), SecurityRequirement::default()]));
    Document::new(&document.build(), schemas())
}

fn operation(call: &Call) -> Operation {
    let (status, schema) = call.answer;
    let answer = ResponseBuilder::new().description("The call was answered.");
    let answer = if schema.contains('/') {
        answer.content(schema, openapi::plain_text())
    } else {
        answer.content("application/json", openapi::json_of(schema))
    };
    let tag = call.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let operation = OperationBuilder::new().operation_id(Some(call.id)).summary(Some(call.summary)).tag(tag);
    let mut operation = operation.response(status, answer.build());
    if call.path.contains("{id}") {
        operation = operation.parameter(parameter("id", ParameterIn::Path));
    }
    for name in call.query {
        operation = operation.parameter(parameter(name, ParameterIn::Query));
    }
    for name in call.headers {
        operation = operation.parameter(parameter(name, ParameterIn::Header));
    }
    if let Some(body) = call.body {
        let content = openapi::json_of(body);
        let body = RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let of_all = [
        Code::Unauthorized,
        Code::Forbidden,
        Code::MethodNotAllowed,
        Code::RateLimited,
        Code::Overloaded,
        Code::StoreUnavailable,
        Code::Draining,
        Code::QueueFull,
        Code::StoreFull,
        Code::InternalError,
    ];
    let codes: Vec<Code> = call.errors.iter().copied().chain(of_all).collect();
    let problems = openapi::problems(&codes);
    problems
        .into_iter()
        .fold(operation, |operation, (status, problem)| operation.response(status.to_string(), problem))
        .build()
}

fn parameter(name: &str, place: ParameterIn) -> Parameter {
    let what = match name {
        "id" if place == ParameterIn::Query => "The first characters of the id.",
        "id" => "The id.",
        "route" => "The path of the route. For a new request, perhaps with a query, as in /greet?lang=en.",
        "status" => "The state.",
        "token" => "The id of the token that the request belongs to.",
        "since" => "Rows of this time or later: a time such as 2026-11-23T08:00:00Z, or how long ago, such as 10m.",
        "until" => "Rows before this time.",
        "range" => "`15m`, `1h`, `24h` or `7d`. Without it: `1h`.",
        "origin" => "An origin, such as https://example.com.",
        "url" => "The first part of the URL.",
        "subject" => "What the report is about, such as the id of a request.",
        _ if place == ParameterIn::Header => "As in a `POST` to the route.",
        "every" => {
            "Collect changes for this long, such as 1s. Each event `changes` then has rows, or says that many have changed."
        }
        "cursor" => "The member `next` of the page before.",
        _ => "The largest number of items, from 1 to 200.",
    };
    let schema = if name == "limit" {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(200)).build()
    } else {
        ObjectBuilder::new().schema_type(Type::String).build()
    };
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(what))
        .schema(Some(schema))
        .build()
}

/// The schemas of all bodies and answers.
fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    macro_rules! add {
        ($($model:ident),+ $(,)?) => {$(
            let schema = serde_json::to_value(model::$model::schema()).unwrap_or_default();
            schemas.insert(<model::$model as ToSchema>::name().into_owned(), schema);
        )+};
    }
    add!(
        Request,
        RequestDetail,
        Event,
        Progress,
        Checkpoint,
        Content,
        Cancelled,
        Retried,
        Submitted,
        Count,
        Delivery,
        DeliveryDetail,
        Attempt,
        Replayed,
        Selection,
        Replay,
        Origin,
        Endpoint,
        Name,
        Enabled,
        AllEnabled,
        DisabledName,
        Health,
        Settings,
        Reload,
        AuditEntry,
        Node,
        Schedule,
        Series,
        RequestSeries,
        DeliverySeries,
        LatencySeries,
        WaitingSeries,
    );
    for (page, item) in [
        ("RequestPage", "Request"),
        ("DeliveryPage", "Delivery"),
        ("ReplayPage", "Replay"),
        ("OriginPage", "Origin"),
        ("EndpointPage", "Endpoint"),
        ("TokenPage", "Token"),
        ("AuditPage", "AuditEntry"),
        ("NodePage", "Node"),
        ("SchedulePage", "Schedule"),
    ] {
        let item = json!({"$ref": format!("#/components/schemas/{item}")});
        let page_schema = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "items": {"type": "array", "items": item},
                "next": {"type": "string", "description": "The parameter `cursor` of the next page."},
            },
        });
        schemas.insert(page.to_owned(), page_schema);
    }
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let number = json!({"type": "integer", "minimum": 1});
    let terms = json!({
        "scopes": {"type": "array", "items": {"type": "string", "enum": ["submit", "read", "cancel"]}},
        "routes": texts, "webhook_hosts": texts, "rate": text, "max_queued": number, "max_queued_bytes": number,
        "name": text, "expires": text,
    });
    let object = |required: &[&str], more: Value| {
        let mut properties = terms.as_object().cloned().unwrap_or_default();
        properties.extend(more.as_object().cloned().unwrap_or_default());
        json!({"type": "object", "required": required, "properties": properties})
    };
    let shown = json!({"id": text, "source": text, "created": text, "revoked": text, "last_used": text});
    let mut made = shown.clone();
    made["token"] = text;
    schemas.insert("NewToken".to_owned(), object(&["name"], json!({})));
    schemas.insert("Token".to_owned(), object(&["id", "name", "source"], shown));
    schemas.insert("MadeToken".to_owned(), object(&["token", "id", "name", "source"], made));
    let payload = "The payload, with the content type of a `POST` to the route: JSON, or any bytes.";
    schemas.insert("Payload".to_owned(), json!({"description": payload}));
    schemas.insert("Document".to_owned(), json!({"type": "object"}));
    schemas.insert(PROBLEM.to_owned(), openapi::problem_schema());
    schemas
}

#[cfg(test)]
mod tests;
