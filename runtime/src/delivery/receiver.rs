//! A webhook receiver for tests. It uses real sockets, blocking threads and no HTTP library.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A file with root certificates. They verify the certificates in `testdata`, which are for `hooks.test` and 127.0.0.1
/// and share one private key. All certificates are valid for a hundred years, except one that was valid in 2020.
pub(crate) const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/delivery/testdata/ca.pem");

pub(crate) const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The number of the connection on which the request arrived. The first connection has number 0.
    pub(crate) connection: usize,
    pub(crate) line: String,
    /// The headers in alphabetical order. Their names are in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A function that writes the answer to a request. If the function returns an error, the receiver closes the
/// connection.
type Behave = dyn Fn(&Request, &mut dyn Write) -> io::Result<()> + Send + Sync;

impl Receiver {
    pub(crate) fn new(behave: impl Fn(&Request, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", None, Arc::new(behave))
    }

    /// Starts a receiver that sends this answer to every request.
    pub(crate) fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |_, out| out.write_all(answer.as_bytes()))
    }

    pub(crate) fn on(ip: &str, answer: &'static str) -> Self {
        Self::at(&format!("{ip}:0"), None, Arc::new(move |_, out| out.write_all(answer.as_bytes())))
    }

    pub(crate) fn tls() -> Self {
        Self::tls_with(include_bytes!("testdata/server.pem"))
    }

    /// Starts a receiver that uses TLS with this certificate (PEM).
    pub(crate) fn tls_with(certificate: &[u8]) -> Self {
        Self::tls_as(tls_config(certificate))
    }

    pub(crate) fn tls_as(config: ServerConfig) -> Self {
        let behave = Arc::new(|_: &Request, out: &mut dyn Write| out.write_all(OK.as_bytes()));
        Self::at("127.0.0.1:0", Some(Arc::new(config)), behave)
    }

    fn at(bind: &str, tls: Option<Arc<ServerConfig>>, behave: Arc<Behave>) -> Self {
        let listener = TcpListener::bind(bind).unwrap();
        let this = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = this.requests.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (requests, behave, tls) = (requests.clone(), behave.clone(), tls.clone());
                std::thread::spawn(move || {
                    let stream = stream?;
                    match tls {
                        None => serve(connection, stream, &requests, &*behave),
                        Some(config) => {
                            let server = ServerConnection::new(config).map_err(io::Error::other)?;
                            serve(connection, StreamOwned::<_, TcpStream>::new(server, stream), &requests, &*behave)
                        }
                    }
                });
            }
        });
        this
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until the receiver has received at least `n` requests, and returns all of them.
    pub(crate) async fn received(&self, n: usize) -> Vec<Request> {
        let come = async {
            while self.requests().len() < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), come).await.expect("requests did not come in time");
        self.requests()
    }
}

/// Returns the configuration of a TLS server with a valid certificate.
pub(crate) fn good_tls() -> ServerConfig {
    tls_config(include_bytes!("testdata/server.pem"))
}

/// Returns the configuration of a TLS server that has a valid certificate and offers only HTTP/2.
pub(crate) fn http2_tls() -> ServerConfig {
    let mut tls = good_tls();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    tls
}

/// The requests that arrived. For each request: the number of its connection, and its path.
pub(crate) type Asked = Arc<Mutex<Vec<(usize, String)>>>;

/// Serves HTTP/2 over TLS while the returned `JoinSet` lives, and calls `behave` for each request. Returns the port and
/// the list of requests that arrived.
pub(crate) async fn http2(
    behave: impl Fn(usize, &str, h2::server::SendResponse<bytes::Bytes>) + Send + Sync + 'static,
) -> (u16, Asked, tokio::task::JoinSet<()>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(http2_tls()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, mut tasks) = (Asked::default(), tokio::task::JoinSet::new());
    let log = asked.clone();
    tasks.spawn(async move {
        let (behave, mut connections) = (Arc::new(behave), tokio::task::JoinSet::new());
        for connection in 0.. {
            let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let (log, behave) = (log.clone(), behave.clone());
            connections.spawn(async move {
                let mut requests = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = requests.accept().await {
                    assert_eq!(request.method(), http::Method::POST);
                    let path = request.uri().path().to_owned();
                    log.lock().unwrap().push((connection, path.clone()));
                    behave(connection, &path, respond);
                }
            });
        }
    });
    (port, asked, tasks)
}

fn tls_config(certificate: &[u8]) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key")).unwrap();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

fn serve(
    connection: usize,
    stream: impl Read + Write,
    requests: &Mutex<Vec<Request>>,
    behave: &Behave,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let split = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut headers: Vec<_> = lines.iter().skip(1).filter_map(split).collect();
        headers.sort();
        let mut request = Request { connection, line: lines.swap_remove(0), headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
        requests.lock().unwrap().push(request.clone());
        behave(&request, stream.get_mut())?;
        stream.get_mut().flush()?;
    }
}
