//! Reads single values out of the tree: each reader says what it expects, and collects what is wrong.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use super::error::{Error, Origin};
use super::nearest;
use super::tree::{self, Node, Table, Value};

/// What is wrong with one value.
pub(super) struct Wrong {
    /// Below the key: `[2]`, or nothing.
    at: String,
    /// Where it differs from the key's.
    origin: Option<Origin>,
    what: What,
}

enum What {
    Expected(String),
    Refused(Box<dyn std::error::Error + Send + Sync>),
}

pub(super) fn expected(what: impl Into<String>) -> Wrong {
    Wrong { at: String::new(), origin: None, what: What::Expected(what.into()) }
}

/// For errors that do not repeat the value.
fn refused(source: impl std::error::Error + Send + Sync + 'static) -> Wrong {
    Wrong { at: String::new(), origin: None, what: What::Refused(Box::new(source)) }
}

impl Wrong {
    fn of(self, key: String, origin: &Origin) -> Error {
        let key = key + &self.at;
        let origin = self.origin.unwrap_or_else(|| origin.clone());
        match self.what {
            What::Expected(expected) => Error::Expected { key, origin, expected },
            What::Refused(source) => Error::Refused { key, origin, source },
        }
    }
}

/// One table, taken apart key by key. What is left at the end is unknown.
pub(super) struct Section<'e> {
    path: String,
    table: Table,
    /// All keys that exist, dotted, for hints.
    known: &'static [&'static str],
    errors: &'e mut Vec<Error>,
}

impl<'e> Section<'e> {
    pub(super) fn new(
        path: String,
        node: Option<Node>,
        known: &'static [&'static str],
        errors: &'e mut Vec<Error>,
    ) -> Self {
        let table = node.and_then(|node| {
            let origin = node.origin.clone();
            as_table(node).map_err(|wrong| errors.push(wrong.of(path.clone(), &origin))).ok()
        });
        Self { path, table: table.unwrap_or_default(), known, errors }
    }

    /// The value of a key, or the default if it is not given or is wrong. The latter is an error that ends the start.
    pub(super) fn take<T>(&mut self, key: &str, default: T, read: impl FnOnce(Node) -> Result<T, Wrong>) -> T {
        self.take_with_origin(key, default, read).0
    }

    pub(super) fn take_with_origin<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(Node) -> Result<T, Wrong>,
    ) -> (T, Origin) {
        let Some(node) = self.table.remove(key) else { return (default, Origin::Program) };
        let origin = node.origin.clone();
        match read(node) {
            Ok(value) => (value, origin),
            Err(wrong) => {
                self.errors.push(wrong.of(self.dotted(key), &origin));
                (default, origin)
            }
        }
    }

    /// A list of tables below a key.
    pub(super) fn take_tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> Option<T>) -> Vec<T> {
        let nodes = self.take(key, Vec::new(), |node| list(node, "a list of tables", Ok));
        let mut values = Vec::new();
        for (at, node) in nodes.into_iter().enumerate() {
            let path = format!("{}[{at}]", self.dotted(key));
            let mut section = Section::new(path, Some(node), self.known, self.errors);
            values.extend(read(&mut section));
            section.finish();
        }
        values
    }

    /// Records a mistake that shows only when several values are seen together.
    pub(super) fn refuse(&mut self, key: &str, origin: &Origin, wrong: Wrong) {
        self.errors.push(wrong.of(self.dotted(key), origin));
    }

    /// The same for something that is no key.
    pub(super) fn refuse_as(&mut self, name: &str, origin: &Origin, wrong: Wrong) {
        self.errors.push(wrong.of(name.to_owned(), origin));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn missing(&mut self, key: &str) {
        self.errors.push(Error::Missing { key: self.dotted(key) });
    }

    pub(super) fn finish(self) {
        for (key, node) in &self.table {
            let key = self.dotted(key);
            let hint = hint(&key, self.known);
            self.errors.push(Error::Unknown { key, origin: node.origin.clone(), hint });
        }
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Names the known key that was probably meant, or those of its section.
fn hint(key: &str, known: &[&str]) -> Option<String> {
    let mut bare = key.to_owned();
    while let (Some(open), Some(close)) = (bare.find('['), bare.find(']')) {
        bare.replace_range(open.min(close)..=close, "");
    }
    let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
    let mut sections: Vec<&str> =
        known.iter().filter_map(|known| known.split_once('.')).map(|(section, _)| section).chain(["config"]).collect();
    sections.dedup();
    let Some((section, _)) = bare.split_once('.') else { return nearest::hint(&bare, &sections) };
    // The right key in the wrong section is nearer than any other word.
    if let Some(elsewhere) = known.iter().find(|known| last(known) == last(&bare)) {
        return Some(format!("the nearest known one is {elsewhere}"));
    }
    let near = known.iter().filter(|known| nearest::is_near(&bare, known));
    if let Some(nearest) = near.min_by_key(|known| strsim::damerau_levenshtein(known, &bare)) {
        return Some(format!("the nearest known one is {nearest}"));
    }
    let in_section: Vec<&str> =
        known.iter().copied().filter(|known| known.split_once('.').is_some_and(|(of, _)| of == section)).collect();
    nearest::hint(&bare, &in_section)
}

fn as_table(node: Node) -> Result<Table, Wrong> {
    let wrong = || expected("a table");
    match node.value {
        Value::Table(table) => Ok(table),
        Value::Text(text) => match tree::from_inline(&text, &node.origin).map(|node| node.value) {
            Some(Value::Table(table)) => Ok(table),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// A text that `parse` accepts, described for those that it does not.
pub(super) fn parsed<T>(node: Node, description: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
    match node.value {
        Value::Text(text) | Value::String(text) => parse(&text).ok_or_else(|| expected(description)),
        _ => Err(expected(description)),
    }
}

/// A text in the form of `T`, whose own error says what is wrong without repeating it.
pub(super) fn checked<T>(
    node: Node,
    description: &str,
    parse: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    match node.value {
        Value::Text(text) | Value::String(text) => parse(&text),
        _ => Err(expected(description)),
    }
}

/// `None` for an empty text, with which a variable takes back what the file set.
pub(super) fn optional<T>(node: Node, read: impl FnOnce(Node) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    match &node.value {
        Value::Text(text) | Value::String(text) if text.is_empty() => Ok(None),
        _ => read(node).map(Some),
    }
}

pub(super) fn whole<T: TryFrom<u64>>(node: Node, range: &RangeInclusive<u64>) -> Result<T, Wrong> {
    let number = match node.value {
        Value::Text(text) => text.trim().parse().ok(),
        Value::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    };
    number
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| expected(format!("a whole number from {} to {}", range.start(), range.end())))
}

pub(super) fn boolean(node: Node) -> Result<bool, Wrong> {
    let yes = match node.value {
        Value::Bool(yes) => Some(yes),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    yes.ok_or_else(|| expected("true or false"))
}

pub(super) fn duration(node: Node, range: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let spoken = |duration: &Duration| humantime::format_duration(*duration).to_string();
    let description =
        || format!("a duration from {} to {}, such as \"15s\"", spoken(range.start()), spoken(range.end()));
    parsed(node, &description(), |text| {
        humantime::parse_duration(text.trim()).ok().filter(|duration| range.contains(duration))
    })
}

/// A number of bytes, with or without a unit.
pub(super) fn size(node: Node, range: &RangeInclusive<u64>) -> Result<usize, Wrong> {
    let bytes = match node.value {
        Value::Text(text) | Value::String(text) => ByteSize::from_str(text.trim()).ok().map(|size| size.as_u64()),
        Value::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    };
    bytes.filter(|bytes| range.contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        let spoken = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
        expected(format!("a size from {} to {}, such as \"10MiB\"", spoken(*range.start()), spoken(*range.end())))
    })
}

pub(super) fn list<T>(
    node: Node,
    description: &str,
    mut read: impl FnMut(Node) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let items = items(node).ok_or_else(|| expected(description))?;
    items
        .into_iter()
        .enumerate()
        .map(|(at, item)| {
            let origin = item.origin.clone();
            read(item).map_err(|wrong| Wrong { at: format!("[{at}]"), origin: Some(origin), ..wrong })
        })
        .collect()
}

/// The items of a list, which a variable or flag gives in TOML's form (`["a", "b"]`) or separated by commas (`a,b`).
pub(super) fn items(node: Node) -> Option<Vec<Node>> {
    match node.value {
        Value::Array(items) => Some(items),
        Value::Text(text) if text.trim_start().starts_with('[') => {
            match tree::from_inline(&text, &node.origin)?.value {
                Value::Array(items) => Some(items),
                _ => None,
            }
        }
        Value::Text(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::Text(text) => Some(text.split(',').map(|item| Node::text(node.origin.clone(), item.trim())).collect()),
        _ => None,
    }
}

/// A network such as `10.1.0.0/16`; a single address is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

pub(super) fn secret(node: Node) -> Result<crate::secret::Secret, Wrong> {
    checked(node, "a signing secret", |text| text.parse().map_err(refused))
}

/// A URL that a webhook could go to, and that has others below it: so it has no query.
pub(super) fn url(node: Node) -> Result<url::Url, Wrong> {
    checked(node, "a URL", |text| {
        let webhook = crate::webhook::Webhook::new(text).map_err(refused)?;
        if webhook.url().query().is_some() || webhook.url().fragment().is_some() {
            return Err(expected(
                "a URL without `?` and `#`: it stands for itself and the paths below, with any query",
            ));
        }
        Ok(webhook.url().clone())
    })
}
