//! `/openapi.json`: describes the API to client programs, from the routes of the program.
//!
//! The calls of a route are in `openapi/calls`, their parameters in `openapi/parameters`, and the schemas that all routes
//! share in `openapi/shared`.

mod calls;
mod names;
mod parameters;
mod reads;
mod shared;

use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, PathItemBuilder, PathsBuilder};
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder, ResponseBuilder};

use self::calls::{Call, Types};
use self::names::Names;
use super::public_keys;
use crate::handler::Routes;
use crate::openapi::{self, Document, Schemas, TOKEN};
use crate::problem::Code;

const ABOUT: &str = "A workload server. `POST` to a route answers with the id of a request at once. The server runs the \
    request, and reports its outcome by webhook. `GET` with the id says how far the request is, and how it ended.\n\n\
    An error is one line of text, or a problem document for a client that accepts `application/problem+json`.";

/// Makes the document of a program with this name, this version and these routes.
pub(crate) fn document(name: &str, version: &str, routes: &Routes) -> Document {
    let mut schemas = Schemas::new(shared::schemas());
    let mut names = Names::default();
    let mut paths = probes();
    for route in routes.iter() {
        let name = names.of(&route.path);
        let types = Types::of(route, &name, &mut schemas);
        for (path, item) in calls::paths(route, &name, &types) {
            paths = paths.path(path, item);
        }
    }
    let info = InfoBuilder::new().title(name).version(version).description(Some(ABOUT));
    let document = OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components()))
        // A server without tokens takes calls without one, so each call lists both.
        .security(Some([SecurityRequirement::new(TOKEN, [] as [&str; 0]), SecurityRequirement::default()]));
    Document::new(&document.build(), schemas.into_map())
}

fn components() -> Components {
    let mut components = ComponentsBuilder::new().security_scheme(
        TOKEN,
        openapi::bearer("A token of the server, `pbk_…`. The operator says whether the server wants one."),
    );
    for call in Call::ALL {
        for (status, problem) in openapi::problems(call.errors()) {
            components = components.response(call.component(status), problem);
        }
    }
    components.build()
}

fn probes() -> PathsBuilder {
    let ready = ResponseBuilder::new()
        .description("The server takes requests. With the parameter `verbose` there is a line for each check.")
        .content("text/plain", openapi::plain_text());
    let ready = OperationBuilder::new()
        .operation_id(Some("ready"))
        .summary(Some("Whether the server takes requests"))
        .tag("server")
        .parameter(parameters::verbose())
        .response("200", ready);
    let not_ready = openapi::problems(&[Code::Draining, Code::StoreUnavailable]);
    let ready =
        not_ready.into_iter().fold(ready, |ready, (status, problem)| ready.response(status.to_string(), problem));
    let alive =
        ResponseBuilder::new().description("The process is alive.").content("text/plain", openapi::plain_text());
    let alive = OperationBuilder::new()
        .operation_id(Some("alive"))
        .summary(Some("Whether the process is alive"))
        .tag("server")
        .response("200", alive);
    PathsBuilder::new()
        .path("/healthz", open(alive))
        .path("/readyz", open(ready))
        .path("/metrics", metrics())
        .path("/openapi.json", own())
        .path(public_keys::PATH, keys())
}

/// The path of the public keys, for receivers of reports.
fn keys() -> PathItem {
    let found = ResponseBuilder::new()
        .description(
            "The keys: a JWKS by RFC 7517. It is empty if the server signs with shared secrets, or not at all.",
        )
        .content("application/jwk-set+json", openapi::json_of(shared::KEYS))
        .header("ETag", openapi::header("The version of the keys.", shared::TEXT));
    let known = ResponseBuilder::new().description("The client has these keys already.");
    open(
        OperationBuilder::new()
            .operation_id(Some("public_keys"))
            .summary(Some("The Ed25519 public keys that verify reports"))
            .tag("server")
            .parameter(parameters::if_none_match())
            .response("200", found)
            .response("304", known),
    )
}

/// The path of the metrics, which are for the operator unless the settings say otherwise.
fn metrics() -> PathItem {
    let found = ResponseBuilder::new()
        .description("The metrics in Prometheus' text exposition format.")
        .content("text/plain", openapi::plain_text());
    let operation = OperationBuilder::new()
        .operation_id(Some("metrics"))
        .summary(Some("The metrics of the process; the token is `server.admin_token`"))
        .tag("server")
        .response("200", found);
    let refusals = openapi::problems(&[Code::Unauthorized, Code::NotFound, Code::RateLimited, Code::MisdirectedHost]);
    let operation = refusals
        .into_iter()
        .fold(operation, |operation, (status, problem)| operation.response(status.to_string(), problem));
    PathItemBuilder::new().operation(HttpMethod::Get, operation).build()
}

/// A path that serves `GET` only, and takes calls without a token.
fn open(operation: OperationBuilder) -> PathItem {
    PathItemBuilder::new()
        .operation(HttpMethod::Get, operation.securities(Some([SecurityRequirement::default()])))
        .build()
}

/// The path of the document itself.
fn own() -> PathItem {
    let found = ResponseBuilder::new()
        .description("This document.")
        .content("application/json", openapi::json_of(shared::DOCUMENT))
        .header("ETag", openapi::header("The version of the document.", shared::TEXT));
    let known = ResponseBuilder::new().description("The client has this document already.");
    let operation = OperationBuilder::new()
        .operation_id(Some("openapi"))
        .summary(Some("This document"))
        .tag("server")
        .parameter(parameters::if_none_match())
        .response("200", found)
        .response("304", known);
    PathItemBuilder::new().operation(HttpMethod::Get, operation).build()
}

#[cfg(test)]
mod tests;
