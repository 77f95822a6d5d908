//! Deserialises the tree into a type that this crate does not know. Text becomes what the type asks for.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::error::Origin;
use super::read;
use super::tree::{self, Node, Table, Value, folded};
use super::trouble::Trouble;

/// What text is for a type that does not say what it wants.
#[derive(Clone, Copy)]
pub(super) enum Untyped {
    String,
    /// A TOML value if it looks like one, else a string.
    Guess,
}

/// One value to be read.
pub(super) struct Reader {
    pub(super) node: Node,
    pub(super) untyped: Untyped,
}

impl Reader {
    fn number<'de, V, N>(
        self,
        visitor: V,
        visit: impl FnOnce(V, N) -> Result<V::Value, Trouble>,
    ) -> Result<V::Value, Trouble>
    where
        V: Visitor<'de>,
        N: std::str::FromStr,
    {
        let Value::Text(text) = &self.node.value else { return self.typed(visitor) };
        match text.trim().parse() {
            Ok(number) => visit(visitor, number),
            Err(_) => Err(Trouble::invalid_value(Unexpected::Other("text"), &visitor)),
        }
    }

    /// Text is put into TOML's form first, for types that text alone cannot be.
    fn structured<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match &self.node.value {
            Value::Text(text) => match tree::from_inline(text, &self.node.origin) {
                Some(node) => Self { node, ..self }.typed(visitor),
                None => Err(Trouble::invalid_value(Unexpected::Other("text"), &visitor)),
            },
            _ => self.typed(visitor),
        }
    }

    fn sequence<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        let Self { node, untyped } = self;
        match node.value {
            Value::Text(_) => match read::items(node) {
                Some(items) => visitor.visit_seq(Items { items: items.into_iter().enumerate(), untyped }),
                None => Err(Trouble::invalid_value(Unexpected::Other("text"), &visitor)),
            },
            _ => Self { node, untyped }.typed(visitor),
        }
    }

    /// Gives the value as what it is. Text is a string.
    fn typed<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
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

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
            self.number(visitor, |visitor, number| visitor.$visit(number))
        }
    )*};
}

macro_rules! as_typed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
            self.typed(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Trouble;

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

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match (&self.node.value, self.untyped) {
            (Value::Text(text), Untyped::Guess) => match tree::from_inline(text, &self.node.origin) {
                Some(node) => Self { node, ..self }.typed(visitor),
                None => self.typed(visitor),
            },
            _ => self.typed(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_some(self)
    }

    /// A program without settings of its own takes `()`.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match self.node.value {
            Value::Table(_) => visitor.visit_unit(),
            _ => self.typed(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        self.sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Trouble> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        self.sequence(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        self.structured(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        if let Value::Table(table) = &mut self.node.value {
            name_as_fields(table, fields);
        }
        self.structured(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        if let Value::Text(text) = &self.node.value
            && text.trim_start().starts_with('{')
            && let Some(node) = tree::from_inline(text, &self.node.origin)
        {
            self.node = node;
        }
        let untyped = self.untyped;
        match self.node.value {
            Value::Text(name) | Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            Value::Table(table) if table.len() == 1 => match table.into_iter().next() {
                Some((variant, node)) => visitor.visit_enum(Variant { variant, content: Reader { node, untyped } }),
                None => Err(Trouble::invalid_value(Unexpected::Map, &visitor)),
            },
            Value::Table(_) => Err(Trouble::invalid_value(Unexpected::Map, &"a table with one key, the variant")),
            _ => self.typed(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_unit()
    }
}

/// The name of a variable has no case and no dashes; the field that it sets may have.
fn name_as_fields(table: &mut Table, fields: &[&str]) {
    let variables = table
        .iter()
        .filter(|(key, node)| matches!(node.origin, Origin::Variable(_)) && !fields.contains(&key.as_str()));
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
    type Error = Trouble;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Trouble> {
        let Some((at, node)) = self.items.next() else { return Ok(None) };
        let origin = node.origin.clone();
        let read = seed.deserialize(Reader { node, untyped: self.untyped });
        read.map(Some).map_err(|trouble| trouble.within(format!("[{at}]"), &origin))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries {
    rest: std::collections::btree_map::IntoIter<String, Node>,
    /// The key that was handed out last, and what belongs to it.
    value: Option<(String, Node)>,
    untyped: Untyped,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Trouble;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Trouble> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        let origin = node.origin.clone();
        // A key is text even in a file, so that maps may have numbers as keys.
        let reader = Reader { node: Node::text(origin.clone(), key.clone()), untyped: Untyped::String };
        self.value = Some((key, node));
        seed.deserialize(reader).map(Some).map_err(|trouble| trouble.located(&origin))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Trouble> {
        let Some((key, node)) = self.value.take() else { return Err(Trouble::custom("a value was asked for twice")) };
        let origin = node.origin.clone();
        let read = seed.deserialize(Reader { node, untyped: self.untyped });
        read.map_err(|trouble| trouble.within(key, &origin))
    }
}

struct Variant {
    variant: String,
    content: Reader,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Trouble;
    type Variant = Reader;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Reader), Trouble> {
        let name: StringDeserializer<Trouble> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Reader {
    type Error = Trouble;

    fn unit_variant(self) -> Result<(), Trouble> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Trouble> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Trouble> {
        self.sequence(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_struct("", fields, visitor)
    }
}
