//! Why the user's type could not be made from the tree. Values are taken out before it is shown.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::error::{Error, Origin};
use super::nearest;
use super::tree::Node;

/// Why a type could not be made, and where in the tree.
#[derive(Debug)]
pub(super) struct Trouble {
    /// From the inside out.
    pub(super) path: Vec<String>,
    origin: Option<Origin>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Expected {
        expected: String,
        found: &'static str,
    },
    Missing(&'static str),
    Unknown {
        key: String,
        known: &'static [&'static str],
    },
    /// Whatever the type says, which may contain values.
    Message(String),
}

impl Trouble {
    fn new(what: What) -> Self {
        Self { path: Vec::new(), origin: None, what }
    }

    pub(super) fn within(mut self, segment: impl Into<String>, origin: &Origin) -> Self {
        self.path.push(segment.into());
        self.located(origin)
    }

    pub(super) fn located(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// The error for the operator. Values of the tree that was read are taken out of it.
    pub(super) fn into_error(self, root: &str, read: &Node) -> Error {
        let mut key = root.to_owned();
        for segment in self.path.iter().rev() {
            push(&mut key, segment);
        }
        let origin = self.origin.unwrap_or_else(|| read.origin.clone());
        match self.what {
            What::Expected { expected, found } => {
                let found = if found.is_empty() { String::new() } else { format!(", found {found}") };
                Error::Expected { key, origin, expected: plain(without_values(expected, read)) + &found }
            }
            What::Missing(field) => {
                push(&mut key, field);
                Error::Missing { key }
            }
            What::Unknown { key: unknown, known } => {
                let hint = nearest::hint(&unknown, known);
                push(&mut key, &unknown);
                Error::Unknown { key, origin, hint }
            }
            What::Message(message) => Error::Own { key, origin, message: without_values(message, read) },
        }
    }
}

/// What serde calls by the name of a Rust type, in words for an operator.
fn plain(expected: String) -> String {
    let whole = |signed: bool, bits: u32| match (signed, bits) {
        (false, 64..) => "a whole number, at least 0".to_owned(),
        (true, 64..) => "a whole number".to_owned(),
        (false, bits) => format!("a whole number from 0 to {}", (1_u64 << bits) - 1),
        (true, bits) => format!("a whole number from -{0} to {1}", 1_u64 << (bits - 1), (1_u64 << (bits - 1)) - 1),
    };
    match expected.as_str() {
        "u8" => whole(false, 8),
        "u16" => whole(false, 16),
        "u32" => whole(false, 32),
        "u64" | "u128" | "usize" => whole(false, 64),
        "i8" => whole(true, 8),
        "i16" => whole(true, 16),
        "i32" => whole(true, 32),
        "i64" | "i128" | "isize" => whole(true, 64),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        _ => expected,
    }
}

fn push(key: &mut String, segment: &str) {
    if !segment.starts_with('[') {
        key.push('.');
    }
    key.push_str(segment);
}

/// Puts `…` in place of every value of the tree, as it is or escaped.
fn without_values(message: String, tree: &Node) -> String {
    let mut values = Vec::new();
    tree.shown_values(&mut values);
    values.extend(values.clone().iter().map(|value| value.escape_debug().to_string()));
    // A value that contains another one goes first.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    values.iter().filter(|value| !value.is_empty()).fold(message, |message, value| {
        // Short ones are also parts of words.
        if value.len() > 3 { message.replace(value, "…") } else { replace_word(&message, value) }
    })
}

fn replace_word(message: &str, word: &str) -> String {
    let mut kept = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(word) {
        let (before, tail) = rest.split_at(at);
        let after = tail.strip_prefix(word).unwrap_or_default();
        kept.push_str(before);
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        kept.push_str(if inside(kept.chars().next_back()) || inside(after.chars().next()) { word } else { "…" });
        rest = after;
    }
    kept + rest
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Seen by nobody but a type that looks into the errors of its parts.
        f.write_str("a value of the settings does not fit")
    }
}

impl std::error::Error for Trouble {}

impl serde::de::Error for Trouble {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Message(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a point",
            Unexpected::Str(_) | Unexpected::Char(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "something else",
        };
        Self::new(What::Expected { expected: expected.to_string(), found })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(What::Expected { expected: expected.to_string(), found: "" })
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(What::Expected { expected: format!("{expected}, not {length} items"), found: "" })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        let expected = if known.is_empty() { "nothing".to_owned() } else { format!("one of {}", known.join(", ")) };
        Self::new(What::Expected { expected, found: "" })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::Unknown { key: key.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Missing(field))
    }
}
