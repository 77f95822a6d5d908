//! The tree into which the file, the environment and the flags are merged. Each value has a record of where it was set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::set_by::SetBy;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) set_by: SetBy,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    /// The text of an environment variable or a flag. Such a text has no type. The code that reads the key decides the
    /// type.
    Text(String),
    /// A string of the settings file. A date or a time in the file also becomes a string. The variants below are for
    /// the other types of values in the file.
    String(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Node>;

impl Value {
    /// Whether two values are the same, wherever they were set.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one) | Self::String(one), Self::Text(other) | Self::String(other)) => one == other,
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Float(one), Self::Float(other)) => one.to_bits() == other.to_bits(),
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Array(one), Self::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.value.is_same(&other.value))
            }
            (Self::Table(one), Self::Table(other)) => same_tables(one, other),
            _ => false,
        }
    }
}

/// Whether two tables have the same keys with the same values, wherever they were set.
pub(super) fn same_tables(one: &Table, other: &Table) -> bool {
    let is_same = |((key, node), (other_key, other)): ((&String, &Node), (&String, &Node))| {
        key == other_key && node.value.is_same(&other.value)
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

impl Node {
    pub(super) fn empty_table(set_by: SetBy) -> Self {
        Self { set_by, value: Value::Table(Table::new()) }
    }

    pub(super) fn text(set_by: SetBy, text: impl Into<String>) -> Self {
        Self { set_by, value: Value::Text(text.into()) }
    }

    /// Sets the value at `path`. Replaces the value that an earlier source has set there. If `fold` is true, the path
    /// comes from the name of an environment variable. Such a name cannot show whether a key has upper-case letters or
    /// characters such as dashes. So the path then also matches an existing key that differs only in these.
    pub(super) fn insert(&mut self, path: &[&str], leaf: Self, fold: bool) -> Result<(), Error> {
        let mut node = self;
        for (depth, segment) in path.iter().enumerate() {
            if !matches!(node.value, Value::Table(_)) {
                if let Value::Text(_) = node.value {
                    let key = path.get(..depth).unwrap_or_default().join(".");
                    return Err(Error::Clash { key, whole: node.set_by.clone(), part: leaf.set_by });
                }
                *node = Self::empty_table(leaf.set_by.clone());
            }
            let Value::Table(table) = &mut node.value else { return Ok(()) };
            let known = table.keys().find(|key| fold && folded(key) == folded(segment)).cloned();
            let key = known.unwrap_or_else(|| (*segment).to_owned());
            node = table.entry(key).or_insert_with(|| Self::empty_table(leaf.set_by.clone()));
        }
        *node = leaf;
        Ok(())
    }

    /// Parses the text of a variable or a flag as a TOML value, such as `[1, 2]` or `{ a = 1 }`. Returns `None` if the
    /// text is not valid TOML. Returns a value of another kind unchanged.
    pub(super) fn parsed(self) -> Option<Self> {
        match &self.value {
            Value::Text(text) => {
                let parsed = DeValue::parse(text.trim()).ok()?;
                let value = value(parsed.into_inner(), &|_| self.set_by.clone());
                Some(Self { value, ..self })
            }
            _ => Some(self),
        }
    }

    /// Returns the entries of a table. Returns `None` if the value is not a table. In a variable or a flag, a table has
    /// the TOML form `{ a = 1 }`.
    pub(super) fn into_table(self) -> Option<Table> {
        match self.parsed()?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Returns the items of a list. Returns `None` if the value is not a list. In a variable or a flag, a list has the
    /// TOML form `["a", "b"]`, or the items are separated by commas, as in `a,b`.
    pub(super) fn into_items(self) -> Option<Vec<Self>> {
        match &self.value {
            Value::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Value::Text(text) if !text.trim_start().starts_with('[') => {
                Some(text.split(',').map(|item| Self::text(self.set_by.clone(), item.trim())).collect())
            }
            _ => match self.parsed()?.value {
                Value::Array(items) => Some(items),
                _ => None,
            },
        }
    }

    /// Collects the text of every value in the tree, so that messages can leave these texts out.
    pub(super) fn collect_values(&self, into: &mut Vec<String>) {
        match &self.value {
            Value::Text(text) => {
                into.push(text.clone());
                // The user's type may read the items of a list one by one, and its error message may quote a single
                // item. So the items are collected, too.
                into.extend(text.split(',').map(|item| item.trim().to_owned()));
            }
            Value::String(text) => into.push(text.clone()),
            Value::Integer(number) => into.push(number.to_string()),
            Value::Float(number) => into.push(number.to_string()),
            Value::Bool(_) => {}
            Value::Array(items) => items.iter().for_each(|item| item.collect_values(into)),
            Value::Table(table) => table.values().for_each(|item| item.collect_values(into)),
        }
    }
}

/// Returns the form of a key that can be compared with the name of a variable: lower case, without the characters that
/// the name of a variable cannot contain. A key may be the path of a route, such as `/v1/render-video`.
pub(super) fn folded(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | '/' | '.' | '~')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads a TOML document. `path` is the path of the document's file. Error messages show this path.
pub(super) fn from_document(text: &str, path: &Path) -> Result<Node, Error> {
    let lines = Lines { text, path: path.into() };
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let (line, column) = lines.position(span.start);
        // The parser does not quote the file today, but a later version of the parser may quote the file. The file may
        // contain secrets. So a message that quotes the file is dropped.
        let faulty = text.get(span).filter(|faulty| faulty.len() > 3);
        let is_quoted = faulty.is_some_and(|faulty| error.message().contains(faulty));
        let problem = (!is_quoted && !error.message().is_empty()).then(|| error.message().to_owned());
        Error::Syntax { path: path.to_owned(), line, column, problem }
    })?;
    let set_by = SetBy::File { path: lines.path.clone(), line: 1 };
    let locate = |at: usize| SetBy::File { path: lines.path.clone(), line: lines.position(at).0 };
    Ok(Node { set_by, value: Value::Table(table(document.into_inner(), &locate)) })
}

/// A document in which the line and the column of a byte can be found.
struct Lines<'a> {
    text: &'a str,
    path: Arc<Path>,
}

impl Lines<'_> {
    /// Returns the line and the column of the byte at the index `at`. Both count from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

fn table(parsed: DeTable<'_>, locate: &dyn Fn(usize) -> SetBy) -> Table {
    parsed
        .into_iter()
        .map(|(key, item)| {
            // `set_by` has the line of the key and not the line of the value. The reason is that a table that contains
            // only tables has an empty span, from which no line can be found.
            let set_by = locate(key.span().start);
            (key.into_inner().into_owned(), Node { set_by, value: value(item.into_inner(), locate) })
        })
        .collect()
}

fn value(parsed: DeValue<'_>, locate: &dyn Fn(usize) -> SetBy) -> Value {
    let node = |item: Spanned<DeValue<'_>>| {
        let set_by = locate(item.span().start);
        Node { set_by, value: value(item.into_inner(), locate) }
    };
    match parsed {
        DeValue::String(text) => Value::String(text.into_owned()),
        // A number that does not fit into an `i128` becomes a string. So each key that expects a number refuses this
        // value.
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::String(integer.to_string()), Value::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or_else(|_| Value::String(float.to_string()), Value::Float),
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(node).collect()),
        DeValue::Table(items) => Value::Table(table(items, locate)),
    }
}
