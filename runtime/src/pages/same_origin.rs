//! Tells the calls of a server's own page from the calls of other pages that are open in the same browser.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Uri};

/// The header that a call needs to change something. A form cannot send it, and a script of another page can only send
/// it if the server allows that in its answer to a preflight call, which no page's server does.
const CHANGE_HEADER: HeaderName = HeaderName::from_static("x-postback-page");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a call is refused. The text is for the person who made the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the call comes from a page of another site; open this server's own page")]
    OtherPage,
    #[error(
        "a change needs the header x-postback-page, which forms of other pages cannot send; send x-postback-page: 1"
    )]
    NoHeader,
}

/// Lets a call pass if the server's own page, or a program that is no browser, makes it.
///
/// The caller of this function must have checked the name in `uri` and in the header `host` before. Otherwise a page could take the server's name
/// by DNS rebinding, and would be of the same origin.
pub(crate) fn of_own_page(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    // Browsers say with each call which page makes it. `none` is a person who types the address.
    let site = headers.get(SEC_FETCH_SITE).map(http::HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Err(Refused::OtherPage);
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let page = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
        // HTTP/2 has the name in the URI, and mostly no header `host`.
        let host = uri.authority().map(Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok());
        if !page.is_some_and(|page| host.is_some_and(|host| page.eq_ignore_ascii_case(host))) {
            return Err(Refused::OtherPage);
        }
    }
    if !method.is_safe() && !headers.contains_key(CHANGE_HEADER) {
        return Err(Refused::NoHeader);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, headers: &[(&'static str, &str)]) -> Result<(), Refused> {
        let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        of_own_page(method, &Uri::from_static("/x"), &pairs.collect())
    }

    #[test]
    fn only_the_own_page_changes_something() {
        let own = ("origin", "http://127.0.0.1:4000");
        let host = ("host", "127.0.0.1:4000");
        let change = ("x-postback-page", "1");
        assert_eq!(check(&Method::POST, &[host, own, change, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check(&Method::POST, &[host, change]), Ok(()));
        assert_eq!(check(&Method::POST, &[host, own]), Err(Refused::NoHeader));
        assert_eq!(check(&Method::GET, &[host]), Ok(()));
        for origin in ["http://127.0.0.1:4001", "https://evil.example", "null", "http://127.0.0.1:4000.evil.example"] {
            assert_eq!(check(&Method::POST, &[host, ("origin", origin), change]), Err(Refused::OtherPage), "{origin}");
        }
        let of_http2 = |origin: &str| {
            let headers = [(ORIGIN, origin.parse().unwrap()), (CHANGE_HEADER, "1".parse().unwrap())];
            of_own_page(&Method::POST, &Uri::from_static("http://127.0.0.1:4000/x"), &headers.into_iter().collect())
        };
        assert_eq!(of_http2(own.1), Ok(()));
        assert_eq!(of_http2("http://127.0.0.1:4001"), Err(Refused::OtherPage));
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(check(&Method::GET, &[host, ("sec-fetch-site", site)]), Err(Refused::OtherPage), "{site}");
        }
    }
}
