//! The calls of a route that only read: its list, and the result and the events of a request.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::Type;

use super::calls::{Call, Types, answer, operation};
use super::{parameters, shared};
use crate::handler::Route;
use crate::openapi::{header, json_of};

pub(super) fn list(route: &Route, name: &str) -> Operation {
    let operation = operation(route, format!("list_{name}"), "List your requests, the newest first")
        .parameters(Some(parameters::of_list()))
        .response("200", answer("A page of the list.", shared::PAGE));
    Call::List.with_errors(operation)
}

pub(super) fn result(route: &Route, name: &str, types: &Types) -> Operation {
    let tagged = |response: ResponseBuilder| response.header("ETag", header("The tag of the result.", Type::String));
    // A part of a JSON text is bytes, and no JSON value.
    let part = ResponseBuilder::new().description("The part of the result that `Range` asks for.");
    let operation = operation(route, format!("result_{name}"), "Read the result alone")
        .parameter(parameters::wait())
        .parameters(Some(parameters::of_result()))
        .response("200", tagged(answer("The result.", &types.result)))
        .response("204", empty("The request was completed without a result."))
        .response("206", tagged(part).header("Content-Range", header("Which part this is.", Type::String)))
        .response("304", empty("The client has the result already."));
    Call::Result.with_errors(operation)
}

pub(super) fn events(route: &Route, name: &str) -> Operation {
    let stream = ResponseBuilder::new()
        .description("A stream of server-sent events. The stream ends with the request.")
        // Version 3.1 of OpenAPI has no schema for the parts of a stream, so programs read this one as that of an event.
        .content("text/event-stream", json_of(shared::EVENT));
    let operation = operation(route, format!("events_{name}"), "Follow a request")
        .parameters(Some(parameters::of_events()))
        .response("200", stream)
        .response("204", empty("The client has all events already."));
    Call::Events.with_errors(operation)
}

fn empty(what: &str) -> Response {
    ResponseBuilder::new().description(what).build()
}
