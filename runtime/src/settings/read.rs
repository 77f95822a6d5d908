//! Reads single values: each function says what it expects if the value is something else.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;

use super::deserializer::{NodeDeserializer, Untyped};
use super::mismatch::{Mismatch, expected, refused};
use super::tree::{Node, Value};

/// Reads the value as the type `T`. Returns `None` if the value has another type.
fn typed<T: for<'de> Deserialize<'de>>(node: Node) -> Option<T> {
    T::deserialize(NodeDeserializer::new(node, Untyped::String)).ok()
}

/// Reads a text that the function `parse` accepts. If the value is not such a text, returns an error that says that
/// `description` was expected.
pub(super) fn parsed<T>(node: Node, description: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Mismatch> {
    checked(node, description, |text| parse(text).ok_or_else(|| expected(description)))
}

/// Reads a text that the function `parse` accepts. The error of `parse` says what is wrong, and must not contain the
/// text. If the value is not a text, returns an error that says that `description` was expected.
pub(super) fn checked<T>(
    node: Node,
    description: &str,
    parse: impl FnOnce(&str) -> Result<T, Mismatch>,
) -> Result<T, Mismatch> {
    parse(&typed::<String>(node).ok_or_else(|| expected(description))?)
}

/// Reads a value with the function `read`. Returns `None` if the value is an empty text. So an operator can set an
/// environment variable to an empty text to remove a value that the file sets.
pub(super) fn optional<T>(node: Node, read: impl FnOnce(Node) -> Result<T, Mismatch>) -> Result<Option<T>, Mismatch> {
    match &node.value {
        Value::Text(text) | Value::String(text) if text.is_empty() => Ok(None),
        _ => read(node).map(Some),
    }
}

pub(super) fn whole<T: TryFrom<u64>>(node: Node, range: &RangeInclusive<u64>) -> Result<T, Mismatch> {
    typed(node)
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| expected(format!("a whole number from {} to {}", range.start(), range.end())))
}

/// Reads a whole number that may be negative.
pub(super) fn signed<T: TryFrom<i64>>(node: Node, range: &RangeInclusive<i64>) -> Result<T, Mismatch> {
    typed(node)
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| expected(format!("a whole number from {} to {}", range.start(), range.end())))
}

/// Reads a share of a whole.
pub(super) fn share(node: Node) -> Result<f64, Mismatch> {
    let number = typed::<f64>(node).filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| expected("a number from 0 to 1, such as 0.1"))
}

pub(super) fn boolean(node: Node) -> Result<bool, Mismatch> {
    typed(node).ok_or_else(|| expected("true or false"))
}

pub(super) fn duration(node: Node, range: &RangeInclusive<Duration>) -> Result<Duration, Mismatch> {
    let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
    let description = format!("a duration from {} to {}, such as \"15s\"", shown(range.start()), shown(range.end()));
    parsed(node, &description, |text| {
        humantime::parse_duration(text.trim()).ok().filter(|duration| range.contains(duration))
    })
}

/// Reads a number of bytes, with or without a unit such as `MiB`.
pub(super) fn size(node: Node, range: &RangeInclusive<u64>) -> Result<usize, Mismatch> {
    let bytes = match node.value {
        Value::Text(text) | Value::String(text) => ByteSize::from_str(text.trim()).ok().map(|size| size.as_u64()),
        _ => typed(node),
    };
    bytes.filter(|bytes| range.contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        let shown = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
        expected(format!("a size from {} to {}, such as \"10MiB\"", shown(*range.start()), shown(*range.end())))
    })
}

/// Reads a list, each item with the function `read`. If the value is not a list, returns an error that says that
/// `description` was expected.
pub(super) fn list<T>(
    node: Node,
    description: &str,
    mut read: impl FnMut(Node) -> Result<T, Mismatch>,
) -> Result<Vec<T>, Mismatch> {
    let items = node.into_items().ok_or_else(|| expected(description))?;
    let items = items.into_iter().enumerate().map(|(at, item)| {
        let set_by = item.set_by.clone();
        read(item).map_err(|mismatch| mismatch.within(format!("[{at}]"), &set_by))
    });
    items.collect()
}

/// Reads one of the words in `names`, and returns the value that `names` lists for this word.
pub(super) fn one_of<T: Copy>(node: Node, names: &[(&str, T)]) -> Result<T, Mismatch> {
    let quoted: Vec<String> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    parsed(node, &quoted.join(" or "), |text| {
        names.iter().find(|(name, _)| *name == text.trim()).map(|(_, value)| *value)
    })
}

/// Reads a network such as `10.1.0.0/16`. A single IP address is read as a network that contains only this address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

pub(super) fn secret(node: Node) -> Result<postback_wire::secret::Secret, Mismatch> {
    checked(node, "a signing secret", |text| text.parse().map_err(refused))
}

/// Reads the URL of a trusted destination. All paths below the URL are trusted, too, so the URL must not have a query.
pub(super) fn url(node: Node) -> Result<url::Url, Mismatch> {
    checked(node, "a URL", |text| {
        let webhook = postback_wire::webhook::Webhook::new(text).map_err(refused)?;
        if webhook.url().query().is_some() || webhook.url().fragment().is_some() {
            return Err(expected(
                "a URL without `?` and `#`; the URL stands for itself and the paths below it, with any query",
            ));
        }
        Ok(webhook.url().clone())
    })
}
