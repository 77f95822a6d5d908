//! Tests of the document: it has every call of each route, and its references lead somewhere.

use std::panic::Location;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::handler::{Payload, Shared, States, Unbound};

async fn nothing() -> Result<(), String> {
    Ok(())
}

async fn bytes(_: Payload<Bytes>) -> Result<(), String> {
    Ok(())
}

async fn json(_: Payload<Value>) -> Result<Value, String> {
    Ok(Value::Null)
}

fn unbound() -> Vec<Unbound<()>> {
    let place = Location::caller();
    let mut example = Unbound::new("/v1/json".to_owned(), json, place);
    example.set_example(r#"{"n":1}"#.to_owned());
    vec![Unbound::new("/nothing".to_owned(), nothing, place), Unbound::new("/bytes".to_owned(), bytes, place), example]
}

fn described(unbound: Vec<Unbound<()>>) -> Value {
    let shared = Arc::new(Shared { settings: Arc::new(()), states: States::default() });
    let routes = Routes::bind(unbound, &shared).ok().unwrap();
    serde_json::from_str(document("tests", "1.2.3", &routes).text()).unwrap()
}

/// All references of a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn references_lead_somewhere(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[test]
fn each_route_has_its_calls() {
    let document = described(unbound());
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!((&document["info"]["title"], &document["info"]["version"]), (&"tests".into(), &"1.2.3".into()));
    for path in ["/nothing", "/bytes", "/v1/json"] {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
        for method in ["get", "delete"] {
            assert!(document["paths"][format!("{path}/{{id}}")][method].is_object(), "{method} {path}");
        }
    }
    let submit = |path: &str| &document["paths"][path]["post"];
    assert_eq!(submit("/v1/json")["operationId"], "submit_v1_json");
    assert!(submit("/nothing").get("requestBody").is_none());
    assert!(submit("/bytes")["requestBody"]["content"]["application/octet-stream"].is_object());
    assert_eq!(submit("/v1/json")["requestBody"]["content"]["application/json"]["example"]["n"], 1);
    references_lead_somewhere(&document);
}

#[test]
fn each_error_of_a_call_is_described() {
    let document = described(unbound());
    for call in Call::ALL {
        for code in call.errors() {
            let component = &document["components"]["responses"][call.component(code.status().as_u16())];
            let example = &component["content"]["application/problem+json"]["examples"][code.text()]["value"];
            assert_eq!(example["code"], code.text(), "{call:?}");
        }
    }
}

#[cfg(feature = "schemars")]
mod schemas {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::handler::Described;

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Item {
        #[serde(default)]
        count: u8,
    }

    mod other {
        #[derive(schemars::JsonSchema)]
        #[expect(dead_code, reason = "only its type matters")]
        pub(super) struct Item {
            text: String,
            next: Option<Box<Item>>,
        }
    }

    fn with<In: JsonSchema, Out: JsonSchema>(path: &str) -> Unbound<()> {
        let mut route = Unbound::new(path.to_owned(), json, Location::caller());
        route.set_schema(Described::of::<In, Out>);
        route
    }

    #[test]
    fn types_with_the_same_name_have_schemas_of_their_own() {
        let routes = vec![with::<Item, Vec<Item>>("/a"), with::<other::Item, u8>("/b"), with::<u8, ()>("/c")];
        let document = described(routes);
        references_lead_somewhere(&document);
        let schema = |path: &str| document["paths"][path]["post"]["requestBody"]["content"]["application/json"].clone();
        assert_eq!(schema("/a")["schema"]["$ref"], "#/components/schemas/Item");
        assert_eq!(schema("/b")["schema"]["$ref"], "#/components/schemas/Item3");
        assert_eq!(schema("/c")["schema"]["$ref"], "#/components/schemas/PostbackCPayload");
        let components = &document["components"]["schemas"];
        // The field with a default may be left out by a caller, but is always in a result.
        assert!(components["Item"].get("required").is_none(), "{components:#}");
        assert_eq!(components["Item2"]["required"][0], "count");
        assert_eq!(
            components["PostbackAStatus"]["properties"]["result"]["items"]["$ref"],
            "#/components/schemas/Item2"
        );
        assert_eq!(components["PostbackBStatus"]["properties"]["result"]["maximum"], 255);
    }

    /// A type of the user's program with a name that the document uses itself.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its type matters")]
    struct PostbackProblem {
        mine: bool,
    }

    #[test]
    fn a_type_of_the_program_replaces_no_type_of_the_document() {
        let document = described(vec![with::<PostbackProblem, PostbackProblem>("/a")]);
        let components = &document["components"]["schemas"];
        assert!(components["PostbackProblem"]["properties"]["code"].is_object());
        assert!(components["PostbackProblem2"]["properties"]["mine"].is_object());
        references_lead_somewhere(&document);
    }
}
