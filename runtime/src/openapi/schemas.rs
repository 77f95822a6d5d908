//! The schemas of a document: collects the schemas of many types under distinct names.

use serde_json::{Map, Value};

/// The place at which the schemas of a type's definitions are before they are in a document.
const DEFINITIONS: &str = "#/$defs/";
/// The place of schemas in an OpenAPI document.
const COMPONENTS: &str = "#/components/schemas/";

/// The schemas of a document, by name.
///
/// Two types of a program may have the same name, and a type may have one schema for reading and another one for
/// writing. Equal schemas are kept once. If two schemas differ, the later one gets a number behind its name.
pub(crate) struct Schemas(Map<String, Value>);

impl Schemas {
    pub(crate) fn new(own: Map<String, Value>) -> Self {
        Self(own)
    }

    /// Adds the definitions of a type, and returns its schema, whose references name the added definitions.
    pub(crate) fn add(&mut self, mut schema: Value, definitions: &Map<String, Value>) -> Value {
        let names = self.names(definitions);
        for (old, new) in &names {
            if let Some(definition) = definitions.get(old) {
                self.0.entry(new).or_insert_with(|| in_document(definition, &names));
            }
        }
        rewrite(&mut schema, &names);
        schema
    }

    /// Adds a schema under this name, or under this name with a number. Returns the name.
    pub(crate) fn insert(&mut self, name: &str, schema: Value) -> String {
        let mut number = 1;
        while self.0.contains_key(&numbered(name, number)) {
            number += 1;
        }
        let name = numbered(name, number);
        self.0.insert(name.clone(), schema);
        name
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Chooses the names of these definitions in the document. A name that is taken already is chosen only if its schema
    /// is equal.
    fn names(&self, definitions: &Map<String, Value>) -> Names {
        let mut numbers = vec![1; definitions.len()];
        loop {
            let names = definitions.keys().zip(&numbers);
            let names: Names = names.map(|(old, number)| (old.clone(), numbered(&component(old), *number))).collect();
            // A definition that gets another name changes the definitions that refer to it. So all are compared again.
            let clash = definitions.values().enumerate().find(|(at, definition)| {
                let name = &names[*at].1;
                let is_taken = self.0.get(name).is_some_and(|taken| *taken != in_document(definition, &names));
                is_taken || names[..*at].iter().any(|(_, earlier)| earlier == name)
            });
            match clash {
                Some((at, _)) => numbers[at] += 1,
                None => return names,
            }
        }
    }
}

/// Pairs of names: the name of a definition, and its name in the document.
type Names = Vec<(String, String)>;

fn numbered(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}{number}") }
}

/// Makes a name that OpenAPI allows for a component.
fn component(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn in_document(definition: &Value, names: &Names) -> Value {
    let mut definition = definition.clone();
    rewrite(&mut definition, names);
    definition
}

/// Rewrites the references of a schema, and adds the bounds of its integers.
fn rewrite(schema: &mut Value, names: &Names) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(new) = reference.strip_prefix(DEFINITIONS).and_then(|old| new_name(old, names))
            {
                *reference = format!("{COMPONENTS}{new}");
            }
            add_bounds(members);
            members.values_mut().for_each(|member| rewrite(member, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, names)),
        _ => {}
    }
}

fn new_name<'a>(reference: &str, names: &'a Names) -> Option<&'a str> {
    // A reference is a JSON pointer (RFC 6901) in a URI fragment.
    let decoded = percent_decoded(reference).replace("~1", "/").replace("~0", "~");
    names.iter().find(|(old, _)| *old == decoded).map(|(_, new)| new.as_str())
}

fn percent_decoded(text: &str) -> String {
    // A plus sign would be decoded as a space, but it has no special meaning in a fragment.
    let query = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Adds the bounds of an integer whose format names a type of Rust. Otherwise the schema would allow numbers that the
/// server refuses.
fn add_bounds(schema: &mut Map<String, Value>) {
    let bounds: Option<(Value, Value)> = match schema.get("format").and_then(Value::as_str) {
        Some("int8") => Some((i8::MIN.into(), i8::MAX.into())),
        Some("int16") => Some((i16::MIN.into(), i16::MAX.into())),
        Some("int32") => Some((i32::MIN.into(), i32::MAX.into())),
        Some("int64" | "int") => Some((i64::MIN.into(), i64::MAX.into())),
        Some("uint8") => Some((0.into(), u8::MAX.into())),
        Some("uint16") => Some((0.into(), u16::MAX.into())),
        Some("uint32") => Some((0.into(), u32::MAX.into())),
        Some("uint64" | "uint") => Some((0.into(), u64::MAX.into())),
        _ => None,
    };
    if let Some((minimum, maximum)) = bounds {
        schema.entry("minimum").or_insert(minimum);
        schema.entry("maximum").or_insert(maximum);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definitions(json: Value) -> Map<String, Value> {
        let Value::Object(map) = json else { panic!("{json} is not an object") };
        map
    }

    fn reference(name: &str) -> Value {
        json!({"$ref": format!("{DEFINITIONS}{name}")})
    }

    #[test]
    fn equal_schemas_are_kept_once_and_others_get_a_number() {
        let mut schemas = Schemas::new(Map::new());
        let first = definitions(json!({"Name": {"type": "string"}}));
        assert_eq!(schemas.add(reference("Name"), &first), json!({"$ref": "#/components/schemas/Name"}));
        assert_eq!(schemas.add(reference("Name"), &first), json!({"$ref": "#/components/schemas/Name"}));
        let other = definitions(json!({"Name": {"type": "null"}}));
        assert_eq!(schemas.add(reference("Name"), &other), json!({"$ref": "#/components/schemas/Name2"}));
        assert_eq!(schemas.add(reference("Name"), &other), json!({"$ref": "#/components/schemas/Name2"}));
        let kept = schemas.into_map();
        assert_eq!(kept, definitions(json!({"Name": {"type": "string"}, "Name2": {"type": "null"}})));
    }

    #[test]
    fn a_schema_that_refers_to_another_one_is_another_schema() {
        let mut schemas = Schemas::new(Map::new());
        let with = |inner: Value| definitions(json!({"Inner": inner, "Outer": {"items": {"$ref": "#/$defs/Inner"}}}));
        schemas.add(reference("Outer"), &with(json!({"type": "string"})));
        let second = schemas.add(reference("Outer"), &with(json!({"type": "null"})));
        assert_eq!(second, json!({"$ref": "#/components/schemas/Outer2"}));
        let kept = schemas.into_map();
        assert_eq!(kept["Outer"]["items"]["$ref"], "#/components/schemas/Inner");
        assert_eq!(kept["Outer2"]["items"]["$ref"], "#/components/schemas/Inner2");
    }

    #[test]
    fn a_type_may_refer_to_itself_and_have_any_name() {
        let mut schemas = Schemas::new(Map::new());
        let tree = definitions(json!({"a b/c~d": {"items": {"$ref": "#/$defs/a%20b~1c~0d"}}}));
        let schema = schemas.add(json!({"items": {"$ref": "#/$defs/a%20b~1c~0d"}}), &tree);
        assert_eq!(schema["items"]["$ref"], "#/components/schemas/a_b_c_d");
        let same = definitions(json!({"a b c d": {"type": "null"}}));
        assert_eq!(schemas.add(reference("a b c d"), &same)["$ref"], "#/components/schemas/a_b_c_d2");
        assert_eq!(schemas.into_map()["a_b_c_d"]["items"]["$ref"], "#/components/schemas/a_b_c_d");
    }

    #[test]
    fn integers_have_the_bounds_of_their_types() {
        let mut schemas = Schemas::new(Map::new());
        let schema = json!({"type": "array", "items": {"type": "integer", "format": "uint8", "minimum": 3}});
        let added = schemas.add(schema, &Map::new());
        assert_eq!((&added["items"]["minimum"], &added["items"]["maximum"]), (&json!(3), &json!(255)));
    }
}
