//! The calls of a route that only read: its list, and the result and the events of a request.

use utoipa::openapi::content::Content;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::calls::{Call, Types, answer, operation};
use super::{parameters, shared};
use crate::handler::Route;
use crate::openapi::header;

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
    let text = ObjectBuilder::new().schema_type(Type::String);
    let stream = ResponseBuilder::new()
        .description(
            "A stream of server-sent events. An event `status` has the id, the status and the time of a change. The last \
             event has the members of the status of the request.",
        )
        .content("text/event-stream", Content::new(Some(text)));
    let operation = operation(route, format!("events_{name}"), "Follow a request")
        .parameters(Some(parameters::of_events()))
        .response("200", stream)
        .response("204", empty("The client has all events already."));
    Call::Events.with_errors(operation)
}

fn empty(what: &str) -> Response {
    ResponseBuilder::new().description(what).build()
}
