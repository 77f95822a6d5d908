//! Serves files that are in the program.

use std::collections::HashMap;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

/// A file in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    /// The path below the page's folder, such as `app.js`. The extension decides the content type.
    pub(crate) path: &'static str,
    pub(crate) content: &'static str,
}

impl File {
    fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("json") => "application/json",
            _ => "text/plain; charset=utf-8",
        }
    }
}

/// The files of a page, by path.
#[derive(Debug)]
pub(crate) struct Files(HashMap<&'static str, (File, HeaderValue)>);

impl Files {
    /// Puts lists of files together. If two files have the same path, the later one is served.
    pub(crate) fn new(lists: &[&[File]]) -> Self {
        let files = lists.iter().copied().flatten();
        Self(files.filter_map(|file| Some((file.path, (*file, tag(file.content)?)))).collect())
    }

    /// Answers a GET of a path below the page's folder. The empty path is `index.html`. Returns `None` if there is no such
    /// file.
    ///
    /// A browser keeps the file, and asks each time whether it has changed. So the files of a new version are never
    /// mixed with those of an older one.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let (file, tag) = self.0.get(if path.is_empty() { "index.html" } else { path })?;
        let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|known| known == tag);
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(file.content) });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, tag.clone());
        super::protect(headers);
        Some(response)
    }
}

/// The tag of a file's content: its SHA-256.
fn tag(content: &str) -> Option<HeaderValue> {
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(content.as_bytes()));
    HeaderValue::try_from(format!("\"{digest}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_once_and_then_known() {
        let files = Files::new(&[super::super::SHARED, &[File { path: "index.html", content: "<p>x" }]]);
        let first = files.answer("index.html", &HeaderMap::new()).unwrap();
        assert_eq!(
            (first.status(), &first.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
        );
        let policy = first.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(files.answer("index.html", &known).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(files.answer("shared/dom.js", &known).unwrap().status(), StatusCode::OK);
        assert!(files.answer("../index.html", &known).is_none());
    }
}
