//! The table `[config]`: the part of the settings whose type the user's program defines.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::deserializer::{NodeDeserializer, Untyped};
use super::error::Error;
use super::mismatch::{Mismatch, expected};
use super::set_by::SetBy;
use super::tree::{Node, Table, Value, same_tables};

const CONFIG: &str = "config";
/// The key of `[config]` that names the usual destination of reports. `serve --inspect` sets this key.
pub(crate) const WEBHOOK_URL: &str = "webhook_url";

/// The table `[config]` of the settings, before the table is read into the user's type.
#[derive(Clone)]
pub(crate) struct ConfigTable {
    set_by: SetBy,
    table: Table,
}

impl ConfigTable {
    pub(super) fn new(node: Option<Node>) -> Result<Self, Error> {
        let Some(node) = node else { return Ok(Self::default()) };
        let set_by = node.set_by.clone();
        match node.into_table() {
            Some(table) => Ok(Self { set_by, table }),
            None => Err(expected("a table").into_error(CONFIG.to_owned(), &set_by)),
        }
    }

    /// Reads the table into the user's type.
    ///
    /// The value of a variable or a flag is text. This text is converted to the type of the field: a string stays
    /// unchanged, numbers and booleans are parsed, lists are TOML (`["a", "b"]`) or separated by commas, tables are
    /// TOML (`{ a = 1 }`).
    pub(crate) fn deserialize<S: DeserializeOwned>(&self) -> Result<S, Error> {
        // The fields of a flattened or untagged type do not say which type of value they expect. So the table is first
        // read with the text of each variable as a string. If this read fails, the table is read again. In the second
        // read, each text gets the type that the text looks like: the text `5`, for example, is read as a number.
        let read = self.read(Untyped::String).or_else(|first| self.read(Untyped::Guess).map_err(|_| first));
        read.map_err(|mismatch| mismatch.without_values(&self.node()).into_error(CONFIG.to_owned(), &self.set_by))
    }

    fn read<S: DeserializeOwned>(&self, untyped: Untyped) -> Result<S, Mismatch> {
        S::deserialize(NodeDeserializer::new(self.node(), untyped))
    }

    /// Whether another table has the same keys with the same values.
    pub(super) fn has_values_of(&self, other: &Self) -> bool {
        same_tables(&self.table, &other.table)
    }

    fn node(&self) -> Node {
        Node { set_by: self.set_by.clone(), value: Value::Table(self.table.clone()) }
    }

    /// Returns the value of `config.webhook_url`. Returns `None` if the key is not set, or if the value of the key is
    /// not a text.
    pub(crate) fn webhook_url(&self) -> Option<&str> {
        match &self.table.get(WEBHOOK_URL)?.value {
            Value::Text(text) | Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the key is set, with a value of whatever type.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the user's type has a field with the name `key`.
    pub(crate) fn wants<S: DeserializeOwned>(&self, key: &str) -> bool {
        if let Err(FieldNames(Some(fields))) = S::deserialize(FieldProbe) {
            return fields.contains(&key);
        }
        // The user's type does not name its fields, for example because it is flattened. So the table is read without
        // the key. If the error is that this key is missing, the user's type has the field.
        let mut without = self.clone();
        without.table.remove(key);
        without.read::<S>(Untyped::String).is_err_and(|mismatch| mismatch.is_missing(key))
    }

    /// Sets a key of the table. Replaces the value that the key had before.
    pub(crate) fn set(&mut self, key: &str, text: &str) {
        self.table.insert(key.to_owned(), Node::text(SetBy::Program, text));
    }
}

impl Default for ConfigTable {
    fn default() -> Self {
        Self { set_by: SetBy::Program, table: Table::new() }
    }
}

/// Writes only the keys of the table, because the values may be secrets.
impl fmt::Debug for ConfigTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}

/// A deserializer that has no data and always fails. If the target type is a struct, the error contains the names of
/// the struct's fields.
struct FieldProbe;

/// The error of [`FieldProbe`]. It contains the names of a struct's fields, or `None` if the target type is not a
/// struct.
#[derive(Debug)]
struct FieldNames(Option<&'static [&'static str]>);

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the names of the fields were asked for")
    }
}

impl std::error::Error for FieldNames {}

impl serde::de::Error for FieldNames {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for FieldProbe {
    type Error = FieldNames;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FieldNames> {
        Err(FieldNames(Some(fields)))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldNames> {
        Err(FieldNames(None))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldNames> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FieldNames> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
