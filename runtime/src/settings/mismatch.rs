//! Why a value cannot be used as what its key, or a field of the user's own type, asks for.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::error::Error;
use super::set_by::SetBy;
use super::suggestion::suggest;
use super::tree::Node;

/// Why a value of the settings cannot be used, and which part of the value is wrong.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// The path from the whole value to its wrong part. The path has the keys of tables and the indexes of lists. The
    /// innermost key or index comes first.
    path: Vec<String>,
    /// The place where the wrong part of the value was set. `None` if the wrong part was set in the same place as the
    /// whole value.
    set_by: Option<SetBy>,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// The value has the wrong type, or is outside its limits. `found` is the TOML type of the value, or an empty text.
    Expected {
        expected: String,
        found: &'static str,
    },
    /// A parser did not accept the value. The text of the parser's error does not contain the value.
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// A required field is not set. The text is the name of the field.
    Missing(&'static str),
    Unknown {
        key: String,
        known: &'static [&'static str],
    },
    /// An error message of the user's settings type. The message may contain values of the settings.
    Message(String),
}

/// Makes the mismatch for a value that does not fit the description `what`, such as "a whole number from 1 to 64".
pub(super) fn expected(what: impl Into<String>) -> Mismatch {
    Mismatch::new(Reason::Expected { expected: what.into(), found: "" })
}

/// Makes the mismatch for a value that a parser did not accept. The text of the error must not contain the value.
pub(super) fn refused(source: impl std::error::Error + Send + Sync + 'static) -> Mismatch {
    Mismatch::new(Reason::Refused(Box::new(source)))
}

impl Mismatch {
    fn new(reason: Reason) -> Self {
        Self { path: Vec::new(), set_by: None, reason }
    }

    /// Extends the path to the wrong part by a key or an index, when the value is itself a part of a larger value.
    pub(super) fn within(mut self, segment: impl Into<String>, set_by: &SetBy) -> Self {
        self.path.push(segment.into());
        self.set_by(set_by)
    }

    /// Records where the wrong part of the value was set, unless this place is already recorded.
    pub(super) fn set_by(mut self, set_by: &SetBy) -> Self {
        self.set_by.get_or_insert_with(|| set_by.clone());
        self
    }

    /// Whether the mismatch is that the field `key` of the whole value is not set.
    pub(super) fn is_missing(&self, key: &str) -> bool {
        self.path.is_empty() && matches!(self.reason, Reason::Missing(missing) if missing == key)
    }

    /// Removes the values of `tree` from messages of the user's settings type, because the values may be secrets.
    /// Replaces the names of Rust types by plain words.
    pub(super) fn without_values(mut self, tree: &Node) -> Self {
        match &mut self.reason {
            Reason::Expected { expected, .. } => *expected = in_plain_words(without_values(expected, tree)),
            Reason::Message(message) => *message = without_values(message, tree),
            Reason::Refused(_) | Reason::Missing(_) | Reason::Unknown { .. } => {}
        }
        self
    }

    /// Makes the error that the operator sees. `key` is the key of the whole value, and `set_by` says where the whole
    /// value was set.
    pub(super) fn into_error(self, mut key: String, set_by: &SetBy) -> Error {
        for segment in self.path.iter().rev() {
            push_segment(&mut key, segment);
        }
        let set_by = self.set_by.unwrap_or_else(|| set_by.clone());
        match self.reason {
            Reason::Expected { expected, found: "" } => Error::Expected { key, set_by, expected },
            Reason::Expected { expected, found } => {
                Error::Expected { key, set_by, expected: format!("{expected}, found {found}") }
            }
            Reason::Refused(source) => Error::Refused { key, set_by, source },
            Reason::Missing(field) => {
                push_segment(&mut key, field);
                Error::Missing { key }
            }
            Reason::Unknown { key: unknown, known } => {
                let hint = suggest(&unknown, known);
                push_segment(&mut key, &unknown);
                Error::Unknown { key, set_by, hint }
            }
            Reason::Message(message) => Error::Message { key, set_by, message },
        }
    }
}

/// Replaces the name of a Rust type in a message of serde by words that an operator understands.
fn in_plain_words(expected: String) -> String {
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

fn push_segment(key: &mut String, segment: &str) {
    if !segment.starts_with('[') {
        key.push('.');
    }
    key.push_str(segment);
}

/// Replaces each value of the tree in the message by `…`. The message may contain a value unchanged or escaped.
fn without_values(message: &str, tree: &Node) -> String {
    let mut values = Vec::new();
    tree.collect_values(&mut values);
    values.extend(values.clone().iter().map(|value| value.escape_debug().to_string()));
    // Longer values are replaced first, because a value may contain a shorter one.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    values.iter().filter(|value| !value.is_empty()).fold(message.to_owned(), |message, value| {
        // A short value, such as `no`, may also occur inside an ordinary word. So a short value is replaced only where
        // it is a whole word.
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

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Operators never see this text. Only a `Deserialize` implementation that reads the errors of its fields can
        // see this text.
        f.write_str("a value of the settings does not fit")
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Reason::Message(message.to_string()))
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
        Self::new(Reason::Expected { expected: expected.to_string(), found })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Reason::Expected { expected: expected.to_string(), found: "" })
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Reason::Expected { expected: format!("{expected}, not {length} items"), found: "" })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        let expected = if known.is_empty() { "nothing".to_owned() } else { format!("one of {}", known.join(", ")) };
        Self::new(Reason::Expected { expected, found: "" })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::Unknown { key: key.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Reason::Missing(field))
    }
}
