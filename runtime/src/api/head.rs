//! Checks the head of a request beyond the checks of hyper, by RFC 9112 sections 3 and 6, RFC 9110 sections 7 and 9,
//! and RFC 9113 section 8.3. If hyper itself refuses a head, the answer has no body.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Version};

use super::problem::{Code, Problem};

/// The longest request target (the path and the query of a request), in bytes.
const MAX_TARGET: usize = 8 << 10;
/// The methods that HTTP defines. If the server does not support one of these methods, the answer has status 405. If a
/// method is not in this list, the answer has status 501.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
    Method::QUERY,
    Method::TRACE,
];

/// Checks whether a request with this head is allowed to reach a route. If the request is not allowed, returns the
/// error answer.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    check_with(head, true)
}

/// Checks the head of a request that another server has read, as [`check`] does. A request that was made in the same
/// process may have no host.
pub(super) fn check_in_router(head: &Parts) -> Result<(), Problem> {
    check_with(head, head.headers.contains_key(HOST))
}

fn check_with(head: &Parts, has_host: bool) -> Result<(), Problem> {
    target(head)?;
    if has_host {
        host(head)?;
    }
    if head.version < Version::HTTP_2 { codings(&head.headers) } else { Ok(()) }
}

/// Whether the request is `OPTIONS *`, which asks what the server as a whole can do.
pub(super) fn is_for_server(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.uri.path() == "*"
}

/// Adds the header that tells the client that the server closes the connection after this answer.
pub(super) fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

fn bad(what: impl Into<String>) -> Problem {
    Problem::new(Code::MalformedRequest, what)
}

fn target(head: &Parts) -> Result<(), Problem> {
    if !KNOWN.contains(&head.method) {
        let what = format!("the method {} is not implemented; methods are written in capitals", head.method);
        return Err(Problem::new(Code::NotImplemented, what));
    }
    let length = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > MAX_TARGET {
        let what = format!("the request target has {length} bytes; {MAX_TARGET} are allowed");
        return Err(Problem::new(Code::UriTooLong, what));
    }
    // A request target that is a URL must have the scheme `http` or `https`, because URLs with other schemes are meant
    // for other servers. A request target without a scheme must be a path that begins with a slash.
    let scheme = head.uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    if !(scheme && head.uri.path().starts_with('/') || is_for_server(head)) {
        return Err(bad(
            "the request target is not valid; use a path that begins with /, or a URL with http:// or https://",
        ));
    }
    Ok(())
}

fn host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("there is more than one header host"));
    }
    match host {
        Some(host) if !is_host(host.as_bytes()) => Err(bad("the header host is not a valid host")),
        Some(host) if head.version == Version::HTTP_2 => {
            let same = |asked: &Authority| asked.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes());
            let differs = head.uri.authority().is_some_and(|asked| !same(asked));
            if differs { Err(bad("the header host differs from :authority")) } else { Ok(()) }
        }
        None if head.version == Version::HTTP_11 => {
            Err(bad("the header host is missing; every request of HTTP/1.1 must have it"))
        }
        _ => Ok(()),
    }
}

/// Whether `value` is a host with an optional port, `uri-host [ ":" port ]`, as RFC 3986 defines host and port. An
/// empty host is valid.
fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
            let (address, rest) = literal.split_at(end);
            let is_address = std::str::from_utf8(address)
                .is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok() || text.starts_with(['v', 'V']));
            if !is_address {
                return false;
            }
            (&b""[..], rest.strip_prefix(b"]").unwrap_or_default())
        }
        None => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    is_port && is_name(name)
}

fn is_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [a, b, rest @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            (byte, rest) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

/// Checks the header `transfer-encoding`. The body must have no transfer coding except `chunked`. hyper has already
/// checked that `chunked` is the last coding.
fn codings(headers: &HeaderMap) -> Result<(), Problem> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let text: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()).collect();
    let mut chunked = 0;
    for coding in text.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|coding| !coding.is_empty()) {
        if coding != "chunked" {
            let what = format!(
                "the transfer coding {} is not implemented; send the body as it is, or chunked",
                coding.escape_debug()
            );
            return Err(Problem::new(Code::NotImplemented, what));
        }
        chunked += 1;
    }
    if chunked > 1 { Err(bad("the transfer coding chunked is applied more than once")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in ["", "a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "a:", "a_b", "x%20y", "[v1.a]"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["a b", "a/b", "user@a", "a:b", "[::1", "[::1]x", "[x]", "a%2", "a:80:80", "a\u{e9}", "a?b", "::1"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
