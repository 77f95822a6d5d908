//! The headers that make a read of a result conditional, or ask for a part of it, by RFC 9110 sections 8.8, 13 and 14.

use std::ops::Range;

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::coding::Coding;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The largest text of a condition, in bytes. A longer one is read up to this length.
const MAX_TEXT: usize = 1 << 10;

/// The tag of a result. A result never changes, so the id of its request and the time at which the request ended are
/// enough: even if the id is used again after the request was deleted, the time differs.
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn of(id: &RequestId, finished: Timestamp) -> Self {
        Self(format!("{id}-{:x}", finished.micros()))
    }

    /// Returns the tag as the value of the header `etag`. A compressed answer has different bytes, so it has another
    /// tag.
    pub(super) fn header(&self, coding: Option<Coding>) -> Option<HeaderValue> {
        HeaderValue::try_from(self.text(coding)).ok()
    }

    fn text(&self, coding: Option<Coding>) -> String {
        match coding {
            None => format!("\"{}\"", self.0),
            Some(coding) => format!("\"{}-{}\"", self.0, coding.as_str()),
        }
    }

    /// Returns the copy that the first listed tag of this result names. Returns `None` if no tag of this result is
    /// listed. An asterisk stands for the result that is not compressed.
    ///
    /// A weak tag, which begins with `W/`, is a tag of this result only if `weakly` is true.
    fn listed(&self, list: &str, weakly: bool) -> Option<Held> {
        let known = [None, Some(Coding::Gzip), Some(Coding::Zstd)].map(|coding| (Held { coding }, self.text(coding)));
        list.split(',').map(str::trim).find_map(|tag| {
            let tag = tag.strip_prefix("W/").filter(|_| weakly).unwrap_or(tag);
            let is_it = |(_, text): &&(Held, String)| tag == text;
            if tag == "*" { Some(Held { coding: None }) } else { known.iter().find(is_it).map(|(held, _)| *held) }
        })
    }
}

/// A copy of a result that a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) coding: Option<Coding>,
}

/// The conditions of one read.
pub(super) struct Conditions {
    matches: Option<String>,
    none_match: Option<String>,
    range: Option<Asked>,
    if_range: Option<String>,
}

/// The range that a client asks for. A client that asks for several gets the whole, which the RFC allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// From the first byte to the last. `None`: to the end.
    From(usize, Option<usize>),
    /// The last bytes.
    Last(usize),
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Whole,
    Part(Range<usize>),
    /// The range is not within the result.
    NoSuchPart,
    /// The client has the result already.
    NotModified(Held),
    /// The client wants the result only if it has one of the given tags, and it has none of them.
    Failed,
}

impl Conditions {
    /// Reads the conditions from the headers. `is_get` is `false` for a `HEAD`, for which a range has no meaning.
    pub(super) fn of(headers: &HeaderMap, is_get: bool) -> Self {
        let range = joined(headers, &RANGE).filter(|_| is_get).and_then(|text| range(&text));
        Self {
            matches: joined(headers, &IF_MATCH),
            none_match: joined(headers, &IF_NONE_MATCH),
            range,
            if_range: joined(headers, &IF_RANGE).filter(|_| range.is_some()),
        }
    }

    /// Decides what the client gets of a result with this tag and this length in bytes.
    pub(super) fn judge(&self, tag: &Tag, length: usize) -> Answer {
        if self.matches.as_ref().is_some_and(|list| tag.listed(list, false).is_none()) {
            return Answer::Failed;
        }
        if let Some(held) = self.none_match.as_ref().and_then(|list| tag.listed(list, true)) {
            return Answer::NotModified(held);
        }
        // Parts are not compressed, so only the tag of the plain result shows that the client has a part of the same
        // bytes.
        let is_same = self.if_range.as_ref().is_none_or(|known| *known == tag.text(None));
        match self.range.filter(|_| is_same) {
            None => Answer::Whole,
            Some(asked) => asked.within(length).map_or(Answer::NoSuchPart, Answer::Part),
        }
    }
}

impl Asked {
    fn within(self, length: usize) -> Option<Range<usize>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
            Self::Last(bytes) => length.saturating_sub(bytes)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Returns the values of a header as one list. The text is copied, so that the other headers can be dropped.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut text = values.join(",");
    text.truncate(MAX_TEXT);
    (headers.contains_key(name)).then_some(text)
}

/// Reads the header `range`. Returns `None` if the header is malformed or asks for several ranges. Then it is ignored.
fn range(text: &str) -> Option<Asked> {
    let (unit, set) = text.split_once('=')?;
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (spec, None) = (specs.next()?, specs.next()) else { return None };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match spec.split_once('-')? {
        ("", last) => number(last).map(Asked::Last),
        (first, "") => Some(Asked::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

/// Reads a number that has only digits. A number that is too large becomes the largest.
fn number(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 100;

    fn tag() -> Tag {
        Tag::of(&RequestId::stored("a"), Timestamp::from_micros(255))
    }

    fn not_modified(coding: Option<Coding>) -> Answer {
        Answer::NotModified(Held { coding })
    }

    fn judged(headers: &[(HeaderName, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Conditions::of(&headers, true).judge(&tag(), LENGTH)
    }

    #[test]
    fn a_range_is_one_part_of_the_result() {
        for (range, expected) in [
            ("bytes=0-0", Answer::Part(0..1)),
            ("bytes=0-99", Answer::Part(0..100)),
            ("Bytes = 10-", Answer::Part(10..100)),
            ("bytes=90-1000", Answer::Part(90..100)),
            ("bytes=-1", Answer::Part(99..100)),
            ("bytes=-1000", Answer::Part(0..100)),
            ("bytes=5-99999999999999999999999", Answer::Part(5..100)),
            ("bytes=,5-6,", Answer::Part(5..7)),
            ("bytes=100-", Answer::NoSuchPart),
            ("bytes=-0", Answer::NoSuchPart),
            ("bytes=99999999999999999999999-", Answer::NoSuchPart),
            ("bytes=0-1,3-4", Answer::Whole),
            ("bytes=5-4", Answer::Whole),
            ("bytes=a-b", Answer::Whole),
            ("bytes=+1-2", Answer::Whole),
            ("bytes=-", Answer::Whole),
            ("bytes=", Answer::Whole),
            ("bytes", Answer::Whole),
            ("lines=0-1", Answer::Whole),
        ] {
            assert_eq!(judged(&[(RANGE, range)]), expected, "{range}");
        }
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
        assert_eq!(Conditions::of(&headers, false).judge(&tag(), LENGTH), Answer::Whole, "HEAD has no ranges");
    }

    #[test]
    fn who_has_the_result_does_not_get_it_again() {
        for (list, expected) in [
            ("\"a-ff\"", not_modified(None)),
            ("W/\"a-ff\"", not_modified(None)),
            ("\"x\", \"a-ff-gzip\"", not_modified(Some(Coding::Gzip))),
            ("*", not_modified(None)),
            ("\"a-f\"", Answer::Whole),
            ("a-ff", Answer::Whole),
            ("", Answer::Whole),
        ] {
            assert_eq!(
                judged(&[(IF_NONE_MATCH, list), (RANGE, "bytes=0-")]) == Answer::Part(0..100),
                expected == Answer::Whole
            );
            assert_eq!(judged(&[(IF_NONE_MATCH, list)]), expected, "{list}");
        }
        let long = format!("{}\"a-ff\"", "\"x\",".repeat(1_000));
        assert_eq!(judged(&[(IF_NONE_MATCH, &long)]), Answer::Whole, "what is too long is not read to its end");
    }

    #[test]
    fn who_has_a_part_of_other_bytes_gets_the_whole() {
        for (known, expected) in [
            ("\"a-ff\"", Answer::Part(1..3)),
            ("W/\"a-ff\"", Answer::Whole),
            ("\"a-ff-gzip\"", Answer::Whole),
            ("\"b\"", Answer::Whole),
            ("Fri, 27 Nov 2026 04:10:21 GMT", Answer::Whole),
        ] {
            assert_eq!(judged(&[(IF_RANGE, known), (RANGE, "bytes=1-2")]), expected, "{known}");
        }
    }

    #[test]
    fn who_wants_other_bytes_gets_none() {
        assert_eq!(judged(&[(IF_MATCH, "\"b\"")]), Answer::Failed);
        for good in ["*", "\"b\", \"a-ff\"", "\"a-ff-zstd\""] {
            assert_eq!(judged(&[(IF_MATCH, good)]), Answer::Whole, "{good}");
        }
    }
}
