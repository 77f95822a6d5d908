//! Deserialises a value of the tree into any type, one of this crate or one of the user's.
//!
//! The text of a variable or a flag has no type of its own. It becomes what the target type asks for.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::mismatch::Mismatch;
use super::set_by::SetBy;
use super::tree::{Node, Table, Value, folded};

/// How to read the text of a variable if the target type does not say which type of value it expects.
#[derive(Clone, Copy)]
pub(super) enum Untyped {
    String,
    /// A text that is a valid TOML value is read as this TOML value. Any other text is read as a string.
    Guess,
}

/// A serde deserializer that reads from a value of the settings.
pub(super) struct NodeDeserializer {
    node: Node,
    untyped: Untyped,
}

impl NodeDeserializer {
    pub(super) fn new(node: Node, untyped: Untyped) -> Self {
        Self { node, untyped }
    }

    fn number<'de, V, N>(
        self,
        visitor: V,
        visit: impl FnOnce(V, N) -> Result<V::Value, Mismatch>,
    ) -> Result<V::Value, Mismatch>
    where
        V: Visitor<'de>,
        N: std::str::FromStr,
    {
        let Value::Text(text) = &self.node.value else { return self.typed(visitor) };
        match text.trim().parse() {
            Ok(number) => visit(visitor, number),
            Err(_) => Err(not_as_expected(&visitor)),
        }
    }

    /// Reads the value as a map or another type that is not plain text. If the value is the text of a variable, the
    /// text is parsed as TOML first.
    fn structured<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node.parsed() {
            Some(node) => Self { node, ..self }.typed(visitor),
            None => Err(not_as_expected(&visitor)),
        }
    }

    fn sequence<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if !matches!(self.node.value, Value::Text(_)) {
            return self.typed(visitor);
        }
        match self.node.into_items() {
            Some(items) => visitor.visit_seq(Items { items: items.into_iter().enumerate(), untyped: self.untyped }),
            None => Err(not_as_expected(&visitor)),
        }
    }

    /// Gives the value to the serde visitor, with the type that the value has in the settings. The visitor gets the
    /// text of a variable as a string.
    fn typed<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let Self { node, untyped } = self;
        match node.value {
            Value::Text(text) | Value::String(text) => visitor.visit_string(text),
            Value::Bool(yes) => visitor.visit_bool(yes),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Integer(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(number),
            },
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter().enumerate(), untyped }),
            Value::Table(table) => visitor.visit_map(Entries { rest: table.into_iter(), value: None, untyped }),
        }
    }
}

fn not_as_expected<'de>(visitor: &impl Visitor<'de>) -> Mismatch {
    Mismatch::invalid_value(Unexpected::Other("text"), visitor)
}

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.number(visitor, |visitor, number| visitor.$visit(number))
        }
    )*};
}

macro_rules! as_typed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.typed(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer {
    type Error = Mismatch;

    numbers! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i64 deserialize_i16 visit_i64 deserialize_i32 visit_i64 deserialize_i64 visit_i64
        deserialize_u8 visit_u64 deserialize_u16 visit_u64 deserialize_u32 visit_u64 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128
        deserialize_f32 visit_f64 deserialize_f64 visit_f64
    }

    as_typed! {
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match (&self.node.value, self.untyped) {
            (Value::Text(_), Untyped::Guess) => match self.node.clone().parsed() {
                Some(node) => Self { node, ..self }.typed(visitor),
                None => self.typed(visitor),
            },
            _ => self.typed(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    /// A table can be read as `()`, because a program without settings uses `()` as the type of `[config]`.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node.value {
            Value::Table(_) => visitor.visit_unit(),
            _ => self.typed(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.sequence(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.structured(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if let Value::Table(table) = &mut self.node.value {
            rename_to_fields(table, fields);
        }
        self.structured(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if let Value::Text(text) = &self.node.value
            && text.trim_start().starts_with('{')
            && let Some(node) = self.node.clone().parsed()
        {
            self.node = node;
        }
        let untyped = self.untyped;
        match self.node.value {
            Value::Text(name) | Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            Value::Table(table) if table.len() == 1 => match table.into_iter().next() {
                Some((variant, node)) => {
                    visitor.visit_enum(Variant { variant, content: NodeDeserializer { node, untyped } })
                }
                None => Err(not_as_expected(&visitor)),
            },
            Value::Table(_) => Err(Mismatch::invalid_value(Unexpected::Map, &"a table with one key, the variant")),
            _ => self.typed(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }
}

/// Changes the names of keys that environment variables have set to the names of the matching fields. The name of a
/// variable does not show which letters of a field's name are capitals, and where the field's name has dashes.
fn rename_to_fields(table: &mut Table, fields: &[&str]) {
    let variables =
        table.iter().filter(|(key, node)| matches!(node.set_by, SetBy::Variable(_)) && !fields.contains(&key.as_str()));
    let renamed: Vec<(String, String)> = variables
        .filter_map(|(key, _)| {
            let field = fields.iter().find(|field| folded(field) == folded(key))?;
            Some((key.clone(), (*field).to_owned()))
        })
        .collect();
    for (key, field) in renamed {
        if let Some(node) = table.remove(&key) {
            table.insert(field, node);
        }
    }
}

struct Items {
    items: std::iter::Enumerate<std::vec::IntoIter<Node>>,
    untyped: Untyped,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some((at, node)) = self.items.next() else { return Ok(None) };
        let set_by = node.set_by.clone();
        let read = seed.deserialize(NodeDeserializer { node, untyped: self.untyped });
        read.map(Some).map_err(|mismatch| mismatch.within(format!("[{at}]"), &set_by))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries {
    rest: std::collections::btree_map::IntoIter<String, Node>,
    /// The key that the visitor has read last, and the value of this key.
    value: Option<(String, Node)>,
    untyped: Untyped,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        let set_by = node.set_by.clone();
        // The visitor gets each key of a map as text without a type, even if the key is in the settings file. So a map
        // may have numbers as keys.
        let reader = NodeDeserializer::new(Node::text(set_by.clone(), key.clone()), Untyped::String);
        self.value = Some((key, node));
        seed.deserialize(reader).map(Some).map_err(|mismatch| mismatch.set_by(&set_by))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let Some((key, node)) = self.value.take() else {
            return Err(Mismatch::custom("a map asked twice for the same value"));
        };
        let set_by = node.set_by.clone();
        let read = seed.deserialize(NodeDeserializer { node, untyped: self.untyped });
        read.map_err(|mismatch| mismatch.within(key, &set_by))
    }
}

struct Variant {
    variant: String,
    content: NodeDeserializer,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Mismatch;
    type Variant = NodeDeserializer;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, NodeDeserializer), Mismatch> {
        let name: StringDeserializer<Mismatch> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for NodeDeserializer {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mismatch> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.sequence(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_struct("", fields, visitor)
    }
}
