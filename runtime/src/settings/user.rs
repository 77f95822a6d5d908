//! `[config]`: the part of the settings whose type the user chose.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::de::{Reader, Untyped};
use super::error::{Error, Origin};
use super::tree::{self, Node, Value};
use super::trouble::What;

/// What every key in it begins with.
const ROOT: &str = "config";
/// The key of the pattern. The inspector sets it.
pub(crate) const WEBHOOK_URL: &str = "webhook_url";

/// The table `[config]`, before it becomes the user's own type.
#[derive(Clone)]
pub(crate) struct User(Node);

impl User {
    pub(super) fn new(node: Option<Node>) -> Result<Self, Error> {
        let node = node.unwrap_or_else(|| Node::table(Origin::Program));
        let inline = match &node.value {
            Value::Table(_) => Some(node.clone()),
            Value::Text(text) => tree::from_inline(text, &node.origin),
            _ => None,
        };
        match inline {
            Some(table @ Node { value: Value::Table(_), .. }) => Ok(Self(table)),
            _ => Err(Error::Expected { key: ROOT.into(), origin: node.origin, expected: "a table".into() }),
        }
    }

    /// Turns the table into the user's type.
    ///
    /// What a variable or flag gave is text, and becomes what the field asks for: a string stays as it is, numbers and
    /// booleans are parsed, lists are TOML (`["a", "b"]`) or separated by commas, tables are TOML (`{ a = 1 }`).
    pub(crate) fn deserialize<S: DeserializeOwned>(&self) -> Result<S, Error> {
        let read = |untyped| S::deserialize(Reader { node: self.0.clone(), untyped });
        // Fields of a flattened or untagged type do not say what they want. Mostly it is a string; if that does not
        // fit, what looks like a number is one.
        let read = read(Untyped::String).or_else(|first| read(Untyped::Guess).map_err(|_| first));
        read.map_err(|trouble| trouble.into_error(ROOT, &self.0))
    }

    /// `config.webhook_url`, the destination that the pattern has.
    pub(crate) fn webhook_url(&self) -> Option<&str> {
        let Value::Table(table) = &self.0.value else { return None };
        match &table.get(WEBHOOK_URL)?.value {
            Value::Text(text) | Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the key was set, to whatever.
    pub(crate) fn has(&self, key: &str) -> bool {
        matches!(&self.0.value, Value::Table(table) if table.contains_key(key))
    }

    /// Whether the user's type has a field of this name.
    pub(crate) fn wants<S: DeserializeOwned>(&self, key: &str) -> bool {
        if let Err(Probed(Some(fields))) = S::deserialize(Probe) {
            return fields.contains(&key);
        }
        // It does not say what its fields are, but perhaps that it lacks this one.
        let mut without = self.0.clone();
        if let Value::Table(table) = &mut without.value {
            table.remove(key);
        }
        let read = S::deserialize(Reader { node: without, untyped: Untyped::String });
        read.is_err_and(|trouble| {
            trouble.path.is_empty() && matches!(trouble.what, What::Missing(missing) if missing == key)
        })
    }

    /// Sets a key of the table, over whatever it was.
    pub(crate) fn set(&mut self, key: &str, text: &str) {
        if let Value::Table(table) = &mut self.0.value {
            table.insert(key.to_owned(), Node::text(Origin::Program, text));
        }
    }
}

impl Default for User {
    fn default() -> Self {
        Self(Node::table(Origin::Program))
    }
}

/// Shows the keys only.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.value {
            Value::Table(table) => f.debug_set().entries(table.keys()).finish(),
            _ => f.write_str("{}"),
        }
    }
}

/// Asked for a struct, fails with the names of its fields; asked for anything else, with `None`.
struct Probe;

#[derive(Debug)]
struct Probed(Option<&'static [&'static str]>);

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("probed")
    }
}

impl std::error::Error for Probed {}

impl serde::de::Error for Probed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Probed;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Probed> {
        Err(Probed(Some(fields)))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(Probed(None))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Probed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Probed> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
