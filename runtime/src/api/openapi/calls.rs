//! The calls of one route: parameters, bodies and answers.

use serde_json::Value;
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, PathItemBuilder};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
#[cfg(feature = "multipart")]
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Ref, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Required};

use super::names::type_name;
use super::{parameters, reads, shared};
use crate::api::{events, result};
#[cfg(feature = "multipart")]
use crate::handler::MULTIPART;
use crate::handler::{FORM, PayloadKind, Route};
use crate::openapi::{Schemas, header, json_of};
use crate::problem::Code;

/// A kind of call that each route serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Submit,
    List,
    Status,
    Cancel,
    Result,
    Events,
}

/// The errors of every call, before a route sees it.
macro_rules! errors {
    ($($code:ident)*) => {
        &[
            Code::MalformedRequest, Code::Unauthorized, Code::Forbidden, Code::UriTooLong, Code::MisdirectedHost,
            Code::RateLimited, Code::InternalError, Code::NotImplemented, Code::StoreUnavailable, Code::Overloaded,
            $(Code::$code,)*
        ]
    };
}

impl Call {
    pub(super) const ALL: [Self; 6] =
        [Self::Submit, Self::List, Self::Status, Self::Cancel, Self::Result, Self::Events];

    /// The errors that this call may answer.
    pub(super) const fn errors(self) -> &'static [Code] {
        match self {
            Self::Submit => errors![
                MalformedPayload MalformedContentEncoding InvalidHeader InvalidParameter InvalidWebhook BodyTooSlow
                RequestInProgress IdTaken PayloadTooLarge
                UnsupportedMediaType UnsupportedContentEncoding InvalidPayload IdempotencyKeyReused QuotaExceeded
                Draining QueueFull StoreFull AcceptanceUnknown
            ],
            Self::List => errors![InvalidParameter],
            Self::Status => errors![InvalidParameter NotFound],
            Self::Cancel => errors![NotFound RequestOver],
            Self::Result => {
                errors![InvalidParameter NotFound NoResult NotFinished PreconditionFailed RangeNotSatisfiable]
            }
            Self::Events => errors![NotFound TooManyEventStreams],
        }
    }

    /// The name of the component that describes the errors of this call with this status.
    pub(super) fn component(self, status: u16) -> String {
        format!("{self:?}{status}")
    }

    /// Adds the errors of this call.
    pub(super) fn with_errors(self, operation: OperationBuilder) -> Operation {
        let mut statuses: Vec<_> = self.errors().iter().map(|code| code.status().as_u16()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let response = |operation: OperationBuilder, status: u16| {
            operation.response(status.to_string(), Ref::from_response_name(self.component(status)))
        };
        statuses.into_iter().fold(operation, response).build()
    }
}

/// The types of a route, as names of schemas in the document.
pub(super) struct Types {
    /// The schema of a JSON payload.
    payload: String,
    /// The schema of the answer that says the status of a request.
    status: String,
    /// The schema of a result.
    pub(super) result: String,
}

impl Types {
    /// Adds the types of this route to the schemas of the document. `name` is the name of the route.
    pub(super) fn of(route: &Route, name: &str, schemas: &mut Schemas) -> Self {
        let Some(described) = &route.described else {
            let any = shared::ANY.to_owned();
            return Self { payload: any.clone(), status: shared::STATUS.to_owned(), result: any };
        };
        let [payload, result] = [&described.payload, &described.result].map(|of| (&of.schema, &of.definitions));
        let payload = schemas.add(payload.0.clone(), payload.1);
        let result = schemas.add(result.0.clone(), result.1);
        let name = type_name(name);
        let status = schemas.insert(&format!("Postback{name}Status"), shared::status_with(result.clone()));
        let result = component(result, &format!("Postback{name}Result"), schemas);
        Self { payload: component(payload, &format!("Postback{name}Payload"), schemas), status, result }
    }
}

/// Returns the name of the component to which this schema refers. A schema that is no reference becomes a component.
fn component(schema: Value, name: &str, schemas: &mut Schemas) -> String {
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
    let is_reference = schema.as_object().is_some_and(|members| members.len() == 1);
    match referred.filter(|_| is_reference) {
        Some(referred) => referred.to_owned(),
        None => schemas.insert(name, schema),
    }
}

/// The paths of a route.
pub(super) fn paths(route: &Route, name: &str, types: &Types) -> Vec<(String, PathItem)> {
    let all = PathItemBuilder::new()
        .operation(HttpMethod::Get, reads::list(route, name))
        .operation(HttpMethod::Post, submit(route, name, types));
    let one = PathItemBuilder::new()
        .parameters(Some([parameters::id_in_path()]))
        .operation(HttpMethod::Get, status(route, name, types))
        .operation(HttpMethod::Delete, cancel(route, name));
    let below =
        |read| PathItemBuilder::new().parameters(Some([parameters::id_in_path()])).operation(HttpMethod::Get, read);
    let id = format!("{}/{{id}}", route.path);
    vec![
        (route.path.clone(), all.build()),
        (format!("{id}/{}", result::SEGMENT), below(reads::result(route, name, types)).build()),
        (format!("{id}/{}", events::SEGMENT), below(reads::events(route, name)).build()),
        (id, one.build()),
    ]
}

pub(super) fn operation(route: &Route, id: String, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(&route.path).summary(Some(summary))
}

fn submit(route: &Route, name: &str, types: &Types) -> Operation {
    // A status has more required members than what follows it, so a client that tries one after the other finds the right
    // one.
    let any =
        AnyOfBuilder::new().item(Ref::from_schema_name(&types.status)).item(Ref::from_schema_name(shared::ACCEPTED));
    let accepted = ResponseBuilder::new()
        .description(
            "The server has accepted the request, and keeps it whatever happens. With `Prefer: wait=N`: how the request \
             ended.",
        )
        .content("application/json", Content::new(Some(any)));
    let pending = answer("With `Prefer`: the server has accepted the request, and it is not over.", shared::PENDING)
        .header("Location", header("The path of the request.", Type::String))
        .header("Retry-After", header("The number of seconds after which to ask for the status.", Type::Integer));
    let operation = operation(route, format!("submit_{name}"), "Submit a request")
        .parameter(parameters::prefer())
        .parameters(Some(parameters::brought(route)))
        .parameters(Some(parameters::of_query(route)))
        .request_body(body(route, types))
        .response("200", linked(applied(accepted), name))
        .response("202", linked(applied(pending), name));
    Call::Submit.with_errors(operation)
}

fn applied(response: ResponseBuilder) -> ResponseBuilder {
    let applied = header("The preferences that the server has honoured.", Type::String);
    response.header("Preference-Applied", applied)
}

/// Says which calls take the id in this answer.
fn linked(response: ResponseBuilder, name: &str) -> Response {
    let link = |call: &str| {
        // utoipa writes the member `operationId` of a link as `operation_id`, which no client understands.
        let operation = Extensions::from_iter([("operationId", format!("{call}_{name}"))]);
        let link = LinkBuilder::new().parameter("id", "$response.body#/id").extensions(Some(operation));
        RefOr::T(link.build())
    };
    ["get", "cancel", "result", "events"]
        .into_iter()
        .fold(response, |response, call| response.link(call, link(call)))
        .build()
}

pub(super) fn answer(what: &str, schema: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(what).content("application/json", json_of(schema))
}

/// The body of a new request. `None` if the handler takes no payload.
fn body(route: &Route, types: &Types) -> Option<RequestBody> {
    let example = route.example.as_deref();
    let body = RequestBodyBuilder::new();
    let body = match route.payload? {
        PayloadKind::Bytes => {
            let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
            let binary = ObjectBuilder::new().schema_type(Type::String).format(Some(binary));
            let content = ContentBuilder::new().schema(Some(binary)).example(example.map(Value::from));
            body.description(Some("Any bytes, with any content type. There may be none."))
                .content("application/octet-stream", content.build())
        }
        PayloadKind::Form(_) => {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(&types.payload)));
            body.description(Some("The fields of a form."))
                .required(Some(Required::True))
                .content(FORM, content.build())
        }
        #[cfg(feature = "multipart")]
        PayloadKind::Multipart => {
            let any = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
            let content = ContentBuilder::new().schema(Some(any));
            body.description(Some("A form with parts, which may be files."))
                .required(Some(Required::True))
                .content(MULTIPART, content.build())
        }
        PayloadKind::Json(_) => {
            let example = example.and_then(|text| serde_json::from_str(text).ok());
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(&types.payload))).example(example);
            body.description(Some("The payload. Its content type may also be one that ends in `+json`."))
                .required(Some(Required::True))
                .content("application/json", content.build())
        }
    };
    Some(body.build())
}

fn status(route: &Route, name: &str, types: &Types) -> Operation {
    let operation = operation(route, format!("get_{name}"), "Get the status of a request, and its result")
        .parameter(parameters::wait())
        .parameter(parameters::include())
        .response("200", answer("How far the request is, or how it ended.", &types.status));
    Call::Status.with_errors(operation)
}

fn cancel(route: &Route, name: &str) -> Operation {
    let operation = operation(route, format!("cancel_{name}"), "Cancel a request")
        .response("200", answer("The request had not begun, and is cancelled.", shared::CANCELLED))
        .response("202", answer("The request runs, and is being stopped.", shared::CANCELLED));
    Call::Cancel.with_errors(operation)
}
