//! The tree that file, environment and flags are laid over one another in. Each value knows where it was given.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Origin};

#[derive(Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    /// From outside a file: it means what the place that it is offered to wants it to mean.
    Text(String),
    /// Of a file, like all that follow; a date or time is one too.
    String(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Node>;

impl Node {
    pub(super) fn table(origin: Origin) -> Self {
        Self { origin, value: Value::Table(Table::new()) }
    }

    pub(super) fn text(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin, value: Value::Text(text.into()) }
    }

    /// Puts `leaf` at the end of `path`, over what an earlier source put there. With `fold`, a key that is there
    /// already is found whatever its case and its dashes, which the name of a variable cannot tell.
    pub(super) fn insert(&mut self, path: &[&str], leaf: Self, fold: bool) -> Result<(), Error> {
        let mut node = self;
        for (depth, segment) in path.iter().enumerate() {
            if !matches!(node.value, Value::Table(_)) {
                if let Value::Text(_) = node.value {
                    let key = path.get(..depth).unwrap_or_default().join(".");
                    return Err(Error::Clash { key, whole: node.origin.clone(), part: leaf.origin });
                }
                *node = Self::table(leaf.origin.clone());
            }
            let Value::Table(table) = &mut node.value else { return Ok(()) };
            let known = table.keys().find(|key| fold && folded(key) == folded(segment)).cloned();
            let key = known.unwrap_or_else(|| (*segment).to_owned());
            node = table.entry(key).or_insert_with(|| Self::table(leaf.origin.clone()));
        }
        *node = leaf;
        Ok(())
    }

    /// Every text and number below, as they would be shown. To be kept out of messages.
    pub(super) fn shown_values(&self, into: &mut Vec<String>) {
        match &self.value {
            Value::Text(text) => {
                into.push(text.clone());
                // A list in one text is offered item by item.
                into.extend(text.split(',').map(|item| item.trim().to_owned()));
            }
            Value::String(text) => into.push(text.clone()),
            Value::Integer(number) => into.push(number.to_string()),
            Value::Float(number) => into.push(number.to_string()),
            Value::Bool(_) => {}
            Value::Array(items) => items.iter().for_each(|item| item.shown_values(into)),
            Value::Table(table) => table.values().for_each(|item| item.shown_values(into)),
        }
    }
}

/// How keys are compared with names that have no case and no dashes.
pub(super) fn folded(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads a document.
pub(super) fn from_document(text: &str, path: &Path) -> Result<Node, Error> {
    let lines = Lines { text, path: path.into() };
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let (line, column) = lines.position(span.start);
        // The parser does not quote the file today; it shall not tomorrow.
        let culprit = text.get(span).filter(|culprit| culprit.len() > 3);
        let is_quoted = culprit.is_some_and(|culprit| error.message().contains(culprit));
        let problem = (!is_quoted && !error.message().is_empty()).then(|| error.message().to_owned());
        Error::Syntax { path: path.to_owned(), line, column, problem }
    })?;
    let origin = Origin::File { path: lines.path.clone(), line: 1 };
    let locate = |at: usize| Origin::File { path: lines.path.clone(), line: lines.position(at).0 };
    Ok(Node { origin, value: Value::Table(table(document.into_inner(), &locate)) })
}

/// Reads one value in TOML's inline form, such as `[1, 2]` or `{ a = 1 }`; `None` if it is none.
pub(super) fn from_inline(text: &str, origin: &Origin) -> Option<Node> {
    let parsed = DeValue::parse(text.trim()).ok()?;
    Some(Node { origin: origin.clone(), value: value(parsed.into_inner(), &|_| origin.clone()) })
}

struct Lines<'a> {
    text: &'a str,
    path: Arc<Path>,
}

impl Lines<'_> {
    /// Line and column of a byte, counted from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

fn table(parsed: DeTable<'_>, locate: &dyn Fn(usize) -> Origin) -> Table {
    parsed
        .into_iter()
        .map(|(key, item)| {
            // The key's line, not the value's: a table that has only tables in it spans nothing.
            let origin = locate(key.span().start);
            (key.into_inner().into_owned(), Node { origin, value: value(item.into_inner(), locate) })
        })
        .collect()
}

fn value(parsed: DeValue<'_>, locate: &dyn Fn(usize) -> Origin) -> Value {
    let node = |item: Spanned<DeValue<'_>>| {
        let origin = locate(item.span().start);
        Node { origin, value: value(item.into_inner(), locate) }
    };
    match parsed {
        DeValue::String(text) => Value::String(text.into_owned()),
        // What no integer type holds stays text, so that whoever wants a number refuses it.
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::String(integer.to_string()), Value::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or_else(|_| Value::String(float.to_string()), Value::Float),
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(node).collect()),
        DeValue::Table(items) => Value::Table(table(items, locate)),
    }
}
