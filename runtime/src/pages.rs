//! What the pages for a browser have in common: how their embedded files are served, and the files that they share.
//!
//! No page loads anything from another place. The policy in [`POLICY`] lets a page run its own files and nothing else,
//! and makes every attempt to turn text into HTML fail. So a page can show whatever came from outside.

mod files;
mod same_origin;

use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use self::files::{File, Files};
pub(crate) use self::same_origin::{Refused, of_own_page};

/// The files that all pages share. They are below `shared/`, beside the files of the page.
pub(crate) const SHARED: &[File] = &[
    File { path: "shared/base.css", content: include_str!("pages/shared/base.css") },
    File { path: "shared/dom.js", content: include_str!("pages/shared/dom.js") },
    File { path: "shared/format.js", content: include_str!("pages/shared/format.js") },
    File { path: "shared/body.js", content: include_str!("pages/shared/body.js") },
    File { path: "shared/live.js", content: include_str!("pages/shared/live.js") },
    File { path: "shared/icon.svg", content: include_str!("pages/shared/icon.svg") },
];

/// What a page may do: load its own scripts, styles and pictures, and call its own server. `require-trusted-types-for`
/// makes `innerHTML` and its like throw an exception.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// The policy of an answer that no browser should show: it may do nothing, even if a person opens it as a page.
const NOTHING: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// Adds the headers that protect a page and its files.
pub(crate) fn protect(headers: &mut HeaderMap) {
    protect_by(headers, POLICY);
}

/// Adds the headers that protect data which a page reads, such as the bytes of a webhook.
pub(crate) fn protect_data(headers: &mut HeaderMap) {
    protect_by(headers, NOTHING);
}

fn protect_by(headers: &mut HeaderMap, policy: &'static str) {
    let added = [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ];
    for (name, value) in added {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
