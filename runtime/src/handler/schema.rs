//! What a program says about the types of a route's payload and result: their JSON Schemas.

use serde_json::{Map, Value};

/// The schemas of a route.
pub(crate) struct Described {
    pub(crate) payload: TypeSchema,
    pub(crate) result: TypeSchema,
}

/// The JSON Schema (draft 2020-12) of a type. References to other types have the form `#/$defs/NAME`.
pub(crate) struct TypeSchema {
    pub(crate) schema: Value,
    /// The schemas of the types to which `schema` and the other definitions refer, by name.
    pub(crate) definitions: Map<String, Value>,
}

#[cfg(feature = "schemars")]
mod of_types {
    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;

    use super::{Described, TypeSchema};

    impl Described {
        /// Describes a payload as it is deserialised, and a result as it is serialised. The two differ, for example, in
        /// fields that have a default.
        pub(crate) fn of<In: JsonSchema, Out: JsonSchema>() -> Self {
            let settings = SchemaSettings::draft2020_12();
            Self {
                payload: TypeSchema::of::<In>(settings.clone().for_deserialize()),
                result: TypeSchema::of::<Out>(settings.for_serialize()),
            }
        }
    }

    impl TypeSchema {
        fn of<T: JsonSchema>(settings: SchemaSettings) -> Self {
            let mut generator = settings.into_generator();
            // A root schema would refer to itself as `#`, which is another place in the document that gets the schema.
            let schema = generator.subschema_for::<T>().to_value();
            Self { schema, definitions: generator.take_definitions(true) }
        }
    }
}
