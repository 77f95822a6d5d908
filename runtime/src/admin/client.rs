//! The client of the operator's API, for the commands: through the socket beside the database, or over the network with
//! the admin token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;
use url::Url;

use super::PATH;
use super::offline::Offline;
use crate::delivery::{self, ExchangeError};
use crate::handler::Routes;
use postback_store::Store;
use postback_wire::line::{Causes, Escaped};

/// The largest answer that the client reads, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// The longest time that one call and its answer may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A client of a running server.
#[derive(Debug)]
pub(crate) struct Client(Target);

enum Target {
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has such sockets"))]
    Socket(PathBuf),
    /// The store of a stopped server.
    Store(Box<Offline>),
    Url {
        url: Url,
        token: HeaderValue,
        ca_file: Option<PathBuf>,
    },
}

/// `Debug` shows where the server is, and not the token.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(_) => f.write_str("Store"),
            Self::Socket(path) => write!(f, "Socket({})", path.display()),
            Self::Url { url, .. } => write!(f, "Url({})", url.origin().ascii_serialization()),
        }
    }
}

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the answer of the server is not as expected: {0}")]
    Answer(String),
    /// The server has refused the call. The text says why.
    #[error("{detail}")]
    Refused { status: StatusCode, code: String, detail: String },
}

impl ClientError {
    /// Whether the server has no such row.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// The members of a problem document that the client reads.
#[derive(serde::Deserialize)]
struct ProblemText {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl Client {
    /// Makes a client of the server that has this database open. Returns `None` if no server listens on the socket
    /// beside the database. Fails if there is a socket that this user may not use.
    #[cfg(all(unix, feature = "sqlite"))]
    pub(crate) fn beside(database: &Path) -> Result<Option<Self>, String> {
        use std::io::ErrorKind;

        let path = super::beside(database);
        match std::os::unix::net::UnixStream::connect(&path) {
            Ok(_) => Ok(Some(Self(Target::Socket(path)))),
            // The path of a socket is limited to about 100 bytes, and beyond that, the server has made none either.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(format!(
                "the socket {} of the server cannot be used: {error}; run the command as the user of the server, or use --url",
                path.display()
            )),
        }
    }

    /// Makes a client of the server at this URL. `ca_file` names certificates that are trusted besides those of the
    /// system.
    pub(crate) fn at(url: &str, token: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        let expected = || "the URL of a server looks like https://host:port".to_owned();
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(expected)?;
        if url.host_str().is_none() || url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
            return Err(expected());
        }
        let mut token = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| "the admin token has characters that a header cannot carry".to_owned())?;
        token.set_sensitive(true);
        Ok(Self(Target::Url { url, token, ca_file: ca_file.map(Path::to_owned) }))
    }

    /// Makes a client that reads and changes the store of a stopped server. `routes` are those of the program.
    pub(crate) fn of_store(store: Store, routes: Routes) -> Self {
        Self(Target::Store(Box::new(Offline::new(store, routes))))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// Reads an answer that is plain text.
    pub(crate) async fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.answer(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        self.post_bytes(path, headers, body.into()).await
    }

    /// Sends this body with these headers.
    pub(crate) async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, Some((headers, body))).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(HeaderMap, Bytes)>,
    ) -> Result<T, ClientError> {
        let answer = self.answer(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Returns the bytes of a good answer.
    async fn answer(&self, method: Method, path: &str, body: Option<(HeaderMap, Bytes)>) -> Result<Bytes, ClientError> {
        let slow = || ClientError::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs()));
        let (status, answer) =
            tokio::time::timeout(TIMEOUT, self.ask(method, path, body)).await.map_err(|_| slow())??;
        if status.is_success() {
            return Ok(answer);
        }
        let problem = serde_json::from_slice(&answer).unwrap_or_else(|_| ProblemText {
            code: String::new(),
            detail: format!("{status}: {}", Escaped(String::from_utf8_lossy(&answer).trim())),
        });
        let ProblemText { code, detail } = problem;
        Err(ClientError::Refused { status, code, detail })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(HeaderMap, Bytes)>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        if let Target::Store(offline) = &self.0 {
            let (_, body) = body.unwrap_or_default();
            return Ok(offline.answer(&method, path, &body).await);
        }
        let (headers, body) = body.unwrap_or_default();
        let mut request = Request::builder().method(method);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let request = request.header(ACCEPT, "application/json");
        let body = Full::new(body);
        let built = |request: http::Result<Request<Full<Bytes>>>| {
            request.map_err(|error| ClientError::Unreachable(error.to_string()))
        };
        match &self.0 {
            #[cfg(unix)]
            Target::Socket(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| unreachable(&error))?;
                let request = request.uri(path).header(HOST, "localhost").body(body);
                exchange(TokioIo::new(stream), built(request)?).await
            }
            #[cfg(not(unix))]
            Target::Socket(_) => Err(ClientError::Unreachable("this system has no such sockets".to_owned())),
            Target::Store(_) => Err(ClientError::Unreachable("the store was to answer".to_owned())),
            Target::Url { url, token, ca_file } => {
                let stream = connect(url, ca_file.as_deref()).await?;
                let request =
                    request.uri(format!("{PATH}{path}")).header(HOST, delivery::host(url)).header(AUTHORIZATION, token);
                exchange(stream, built(request.body(body))?).await
            }
        }
    }
}

fn unreachable(error: &dyn std::error::Error) -> ClientError {
    ClientError::Unreachable(Causes(error).to_string())
}

/// Connects to the server, with TLS if the URL says so.
async fn connect(
    url: &Url,
    ca_file: Option<&Path>,
) -> Result<impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + use<>, ClientError> {
    let connector = delivery::connector(ca_file, None).map_err(|error| unreachable(&error))?;
    let uri = Uri::try_from(url.as_str()).map_err(|error| unreachable(&error))?;
    connector.oneshot(uri).await.map_err(|error| unreachable(&*error))
}

/// Sends the request, and reads the whole answer.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    match delivery::exchange(stream, request, MAX_ANSWER).await {
        Ok(answer) => Ok((answer.status(), answer.into_body())),
        Err(ExchangeError::Connection(error)) => Err(unreachable(&error)),
        Err(ExchangeError::Body(why)) => Err(ClientError::Answer(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(unix, feature = "sqlite"))]
    #[test]
    fn a_socket_that_cannot_be_used_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Client::beside(&folder.path().join(name));
        assert!(at("x.db").unwrap().is_none());
        let server = std::os::unix::net::UnixListener::bind(folder.path().join("x.db.sock")).unwrap();
        assert!(at("x.db").unwrap().is_some());
        drop(server);
        assert!(at("x.db").unwrap().is_none(), "a socket of an earlier process");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let why = at("file/x.db").unwrap_err();
        assert!(why.contains("x.db.sock of the server cannot be used") && why.contains("--url"), "{why}");
    }

    #[test]
    fn the_url_of_a_server_has_neither_path_nor_user_and_no_token_is_shown() {
        for bad in ["host:80", "ftp://a", "https://a/x", "https://u@a", "https://a?x", "nothing", ""] {
            assert!(Client::at(bad, "t", None).is_err(), "{bad}");
        }
        assert!(Client::at("https://a", "to\nken", None).is_err());
        let client = Client::at("https://a.example:8443/", "s3cret-s3cret", None).unwrap();
        assert_eq!(format!("{client:?}"), "Client(Url(https://a.example:8443))");
    }
}
