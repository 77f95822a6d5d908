//! The path of a request target: which percent-encodings are equal to plain characters, and which path a client with
//! nearly the right path has probably meant.
//!
//! The server never redirects, because many clients drop the body or the credentials when they follow a redirect. It
//! also never joins slashes or removes dot segments, because a proxy in front may have checked the path as it was sent.

use http::Uri;
use http::uri::PathAndQuery;

use super::problem::Problem;
use super::{events, public_keys, result};
use crate::handler::Routes;

/// The paths that the server itself serves.
const OWN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", public_keys::PATH];
/// The last segments of the paths below the path of a request.
const BELOW_ID: [&str; 2] = [result::SEGMENT, events::SEGMENT];

/// Replaces each percent-encoding of a letter, a digit, `-`, `.`, `_` or `~` by the character, because RFC 3986 says
/// that both are the same path. Other percent-encodings stay: `%2F` is a character of a segment, and does not end the
/// segment.
///
/// Returns `None` if the path stays the same.
pub(super) fn normalised(uri: &Uri) -> Result<Option<Uri>, Problem> {
    if !uri.path().contains('%') {
        return Ok(None);
    }
    let mut target = decoded(uri.path()).ok_or_else(Problem::percent_encoding)?;
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| Problem::percent_encoding())?);
    Uri::from_parts(parts).map(Some).map_err(|_| Problem::percent_encoding())
}

/// Returns the path without needless percent-encodings. Returns `None` if a `%` is not followed by two hexadecimal
/// digits.
fn decoded(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(code, 16).ok().filter(|_| code.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            decoded.push(byte.into());
        } else {
            decoded.push('%');
            decoded.push_str(&code.to_ascii_uppercase());
        }
        decoded.push_str(rest);
    }
    Some(decoded)
}

/// Returns the path that is served and differs from `path` only in upper and lower case, in empty segments and in a
/// slash at the end. Returns `None` if there is no such path.
pub(super) fn near(routes: &Routes, path: &str) -> Option<String> {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let plain = format!("/{}", segments.join("/"));
    let all = routes.iter().map(|route| route.path.as_str()).chain(OWN);
    let near = all.filter_map(|known| {
        let (begin, rest) = plain.split_at_checked(known.len())?;
        let is_below = match *rest.split('/').collect::<Vec<_>>() {
            [""] => true,
            ["", _] => !OWN.contains(&known),
            ["", _, last] => !OWN.contains(&known) && BELOW_ID.contains(&last),
            _ => false,
        };
        (begin.eq_ignore_ascii_case(known) && is_below).then(|| format!("{known}{rest}"))
    });
    near.into_iter().find(|near| near != path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Option<String> {
        let uri: Uri = target.parse().unwrap();
        normalised(&uri).ok().map(|changed| changed.unwrap_or(uri).to_string())
    }

    #[test]
    fn what_needs_no_encoding_equals_its_encoding() {
        for (target, expected) in [
            ("/greet?a=%67", "/greet?a=%67"),
            ("/%67reet", "/greet"),
            ("/%67%72%65%65%74/a%2db?x=%2F", "/greet/a-b?x=%2F"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb%7e", "/a%2Fb~"),
            ("/%2e%2e/a", "/../a"),
            ("/a%00%ff%25", "/a%00%FF%25"),
            ("/%2541", "/%2541"),
            ("http://a.example/%61", "http://a.example/a"),
        ] {
            assert_eq!(path(target).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn half_an_encoding_is_refused() {
        for target in ["/%", "/%4", "/%zz", "/%4z", "/%+1", "/a%", "/%%41", "/%4%31"] {
            assert_eq!(path(target), None, "{target}");
        }
    }
}
