//! Sends webhooks on: to the URL of `--forward`, or again to a URL that a person has chosen on the page.
//!
//! There is no guard of addresses here, unlike in the delivery. The URL is chosen by the person at this machine, and is
//! usually on this machine. The page of another site cannot choose one: see `pages::of_own_page`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::ServiceExt as _;
use url::Url;

use crate::delivery;
use postback_wire::line::Causes;
use postback_wire::time::Clock;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The longest time of one sending and its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that belong to one connection, and are not passed on.
const OF_CONNECTION: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What is sent.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The answer to it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) after: Duration,
}

/// Sends webhooks. Makes a connection for each.
#[derive(Clone)]
pub(super) struct Sender {
    connector: HttpsConnector<HttpConnector>,
    clock: Clock,
}

impl Sender {
    pub(super) fn new(clock: Clock) -> Result<Self, delivery::Error> {
        Ok(Self { connector: delivery::connector(None, Some(TIMEOUT))?, clock })
    }

    /// Sends a webhook. An error says why there is no answer.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Answer, String> {
        let begun = self.clock.elapsed();
        let url = outgoing.url.origin().ascii_serialization();
        let sent = tokio::time::timeout(TIMEOUT, self.exchange(outgoing)).await;
        let after = self.clock.elapsed().saturating_sub(begun);
        match sent {
            Ok(Ok(answer)) => {
                let (head, body) = answer.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, body, after })
            }
            Ok(Err(why)) => Err(format!("{url} did not answer: {why}")),
            Err(_) => Err(format!("{url} did not answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, outgoing: Outgoing) -> Result<Response<Bytes>, String> {
        let Outgoing { method, url, mut headers, body } = outgoing;
        without_connection(&mut headers);
        headers.insert(HOST, HeaderValue::try_from(delivery::host(&url)).map_err(|error| error.to_string())?);
        let uri = Uri::try_from(url.as_str()).map_err(|error| error.to_string())?;
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request =
            Request::builder().method(method).uri(target).body(Full::new(body)).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        let stream = self.connector.clone().oneshot(uri).await.map_err(|error| Causes(&*error).to_string())?;
        delivery::exchange(stream, request, MAX_ANSWER).await.map_err(|error| Causes(&error).to_string())
    }
}

/// Removes the headers that belong to one connection.
pub(super) fn without_connection(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Parses a URL to which webhooks are sent.
pub(crate) fn target(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("invalid URL {text:?}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("invalid URL {text:?}: use http or https, such as http://127.0.0.1:3000/hook"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user or a password is not used; send a header instead".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_http_url() {
        assert!(target("http://127.0.0.1:3000/a?b").is_ok() && target("https://example.com").is_ok());
        for text in ["", "3000", "ftp://x/", "file:///etc/passwd", "http://", "http://u:p@x/", "javascript:alert(1)"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_of_the_connection_stay_with_it() {
        let pairs =
            [("connection", "x-own, close"), ("x-own", "1"), ("host", "a"), ("content-length", "3"), ("x-kept", "1")];
        let mut headers: HeaderMap = pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        without_connection(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
