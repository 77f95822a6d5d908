//! Tests of the document.

use super::*;

/// All references in a JSON value.
fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(document().text()).unwrap();
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > CALLS.len());
    for reference in all {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(document["paths"]["/requests/{id}"]["get"]["operationId"], "showRequest");
}

#[test]
fn every_path_of_the_router_is_in_the_document() {
    let router = include_str!("../../admin.rs");
    let paths = router.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let document: Value = serde_json::from_str(document().text()).unwrap();
    let mut n = 0;
    for path in paths {
        assert!(document["paths"][path].is_object(), "{path}");
        n += 1;
    }
    assert!(n > 15, "{n}");
}
