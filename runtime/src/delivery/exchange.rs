//! One HTTP/1.1 exchange on a connection of its own, for calls that are no deliveries: those of the commands, and those of
//! the inspector. There is no guard of addresses here, since a person has chosen the URL.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use url::Url;

use super::{Error, client_tls};

/// Why an exchange has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Connection(hyper::Error),
    /// The body of the answer was cut off, or is too large.
    #[error("{0}")]
    Body(String),
}

/// Makes a connector for http and https. `ca_file` has further authorities to trust.
pub(crate) fn connector(
    ca_file: Option<&Path>,
    connect_timeout: Option<Duration>,
) -> Result<HttpsConnector<HttpConnector>, Error> {
    let mut tls = client_tls(ca_file)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(connect_timeout);
    Ok(HttpsConnector::from((tcp, tls)))
}

/// Returns the value of the header `host` for this URL.
pub(crate) fn host(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// Sends the request, and reads the whole answer, of at most `max` bytes.
pub(crate) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max: usize,
) -> Result<Response<Bytes>, ExchangeError>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(ExchangeError::Connection)?;
    let answered = async {
        let (head, body) = sender.send_request(request).await.map_err(ExchangeError::Connection)?.into_parts();
        let body = Limited::new(body, max).collect().await;
        let body = body.map_err(|error| ExchangeError::Body(error.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection makes progress only while it is polled. It ends after the answer, or never.
    tokio::pin!(connection, answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(ExchangeError::Connection(error)),
        },
    }
}
