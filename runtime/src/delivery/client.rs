//! The HTTP clients: one for public webhooks, one for public webhooks on a port that this server listens on, and one
//! for destinations that may be private.
//!
//! Each client pools its connections and is built once. A new client for each attempt would cost a hundred times as
//! much.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::Options;
use super::connect::Connect;
use super::connections::Connections;
use super::dial::Dial;
use super::own_addresses;
use crate::policy::guard::{Guard, Reach, Refusal};

/// The longest time that a connection may be idle. Most servers and load balancers close idle connections only after a
/// longer time, so a request is rarely sent on a connection that the receiver is just closing. After a change of the
/// network rules, an idle connection from before the change lives for at most this time.
const MAX_IDLE_AGE: Duration = Duration::from_secs(30);

/// An HTTP client that follows no redirects and uses no proxy. A proxy would resolve names itself, so this server could
/// not check the addresses of the receiver.
pub(super) type Client = legacy::Client<Connect, Full<Bytes>>;

/// The HTTP clients of a delivery. Which client is used depends on the URL and on the networks that its webhook is
/// allowed to reach.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    strict: Client,
    trusted: Client,
    /// The addresses that this server listens on, and the client for URLs with the port of one of these addresses. This
    /// client does not connect to these addresses. The client is chosen by the port of the URL, because the check of
    /// the addresses happens at the look-up, where only the host name is known and not the port.
    away: Option<(Arc<[SocketAddr]>, Client)>,
    connections: Connections,
}

/// Why a delivery cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the file {path} of delivery.ca_file cannot be read", path = path.display())]
    CaFileUnread {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file {path} of delivery.ca_file is not valid PEM", path = path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the file {path} of delivery.ca_file {what}; {todo}", path = path.display())]
    CaFileWithout { path: PathBuf, what: &'static str, todo: &'static str },
    #[error("certificate {number} in the file {path} of delivery.ca_file is not valid", path = path.display())]
    Certificate {
        path: PathBuf,
        number: usize,
        #[source]
        source: rustls::Error,
    },
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl Clients {
    pub(super) fn new(options: &Options, guard: &Guard) -> Result<Self, Error> {
        let tls = Arc::new(tls(roots(options.ca_file.as_deref())?)?);
        let connections = Connections::new(options.connections());
        let client = |reach, own_addresses: &[SocketAddr]| {
            let own_addresses = own_addresses.iter().map(SocketAddr::ip).collect();
            let dial = Dial { lookup: options.resolver.clone(), guard: guard.clone(), reach, own_addresses };
            let connect = Connect::new(dial, tls.clone(), connections.clone());
            #[cfg(all(feature = "testing", feature = "server"))]
            let connect = connect.within(options.in_memory.clone());
            build(connect, options.concurrency)
        };
        let own_addresses = options.own_addresses.as_slice();
        let away = if own_addresses.is_empty() {
            None
        } else {
            Some((own_addresses.into(), client(Reach::Public, own_addresses)))
        };
        Ok(Self { strict: client(Reach::Public, &[]), trusted: client(Reach::Private, &[]), away, connections })
    }

    /// Returns the client for a URL.
    pub(super) fn of(&self, reach: Reach, url: &Url) -> &Client {
        match (reach, &self.away) {
            (Reach::Private, _) => &self.trusted,
            (Reach::Public, Some((own_addresses, client))) if has_port_of(url, own_addresses) => client,
            (Reach::Public, _) => &self.strict,
        }
    }

    /// Returns the value that counts and limits the open connections of all clients.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Refuses a URL whose host is an IP address that this server listens on. Such a host is not resolved, so the check
    /// in the resolver does not apply to it.
    pub(super) fn check_own(&self, url: &Url, reach: Reach) -> Result<(), Refusal> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        match &self.away {
            Some((own_addresses, _)) if reach == Reach::Public && has_port_of(url, own_addresses) => {
                own_addresses::check(&[address], &own_addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>())
            }
            _ => Ok(()),
        }
    }
}

fn has_port_of(url: &Url, own_addresses: &[SocketAddr]) -> bool {
    url.port_or_known_default().is_some_and(|port| own_addresses.iter().any(|address| address.port() == port))
}

fn build(connect: Connect, concurrency: usize) -> Client {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that builds clients")]
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(MAX_IDLE_AGE)
        // All attempts in flight may go to one origin. If the client kept fewer idle connections, it would close and
        // open connections to this origin all the time.
        .pool_max_idle_per_host(concurrency)
        // The HTTP client ignores invalid header fields and uses the rest of the answer. The client still rejects some
        // other answers. `raw_answer.rs` reads the head of these answers.
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .build(connect)
}

/// Returns the TLS settings of a client that is no delivery, such as the client of the operator's API. It trusts the same
/// certificates as deliveries do.
#[cfg(feature = "server")]
pub(crate) fn client_tls(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    tls(roots(ca_file)?)
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, Error> {
    // The TLS provider is passed to this client and not installed for the whole process, because only the program, and
    // not a library, may choose the provider of the process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns the root certificates of the system, or the built-in root certificates if the system has none. The
/// operator's certificates are added to them.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let cause = system.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        tracing::warn!(
            "no root certificates were found on this system{cause}; the certificates built into the program are used, which \
             are as old as the program; install the system's package, often named ca-certificates"
        );
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let content = std::fs::read(path).map_err(|source| Error::CaFileUnread { path: path.into(), source })?;
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(&content) {
        number += 1;
        let certificate = certificate.map_err(|source| Error::CaFile { path: path.into(), source })?;
        roots.add(certificate).map_err(|source| Error::Certificate { path: path.into(), number, source })?;
    }
    if number == 0 {
        let (what, todo) = instead_of_certificates(&content);
        return Err(Error::CaFileWithout { path: path.into(), what, todo });
    }
    Ok(())
}

/// Returns what a file contains instead of PEM certificates, and what the operator has to do.
fn instead_of_certificates(content: &[u8]) -> (&'static str, &'static str) {
    let says = |words: &[u8]| content.windows(words.len()).any(|part| part == words);
    if content.trim_ascii().is_empty() {
        ("is empty", "put the certificates of your receivers' issuers into it, in PEM")
    } else if says(b"PRIVATE KEY-----") {
        (
            "has a private key and no certificate",
            "name the file of the issuer's certificate; a key is never needed here",
        )
    } else if says(b"-----BEGIN CERTIFICATE REQUEST-----") {
        ("has a request for a certificate and no certificate", "name the file of the issuer's certificate")
    } else if content.first() == Some(&0x30) {
        (
            "is in DER (or PKCS #12)",
            "it takes PEM: convert it with `openssl x509 -inform der -in FILE -out FILE.pem` (`openssl pkcs12 -nokeys -in FILE`)",
        )
    } else {
        ("has no certificate in it", "it takes PEM, which has lines that say BEGIN CERTIFICATE")
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io::Write as _;
    use std::process::Command;

    use super::*;
    use crate::delivery::receiver::{CA_FILE, OK, Receiver};

    const KEY: &str = include_str!("testdata/server.key");

    fn clients(ca_file: Option<&Path>) -> Result<Clients, Error> {
        let options = Options { ca_file: ca_file.map(Into::into), ..Options::default() };
        Clients::new(&options, &Guard::default())
    }

    #[test]
    fn a_bad_ca_file_is_an_error_that_names_it() {
        let refused = |content: Option<&str>| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.unwrap_or_default().as_bytes()).unwrap();
            let path = match content {
                Some(_) => file.path().to_owned(),
                None => file.path().with_extension("missing"),
            };
            let error = clients(Some(&path)).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            for source in std::iter::successors(error.source(), |&error| error.source()) {
                assert!(!error.to_string().contains(&source.to_string()), "{error} repeats its source");
            }
            error
        };
        assert!(matches!(refused(None), Error::CaFileUnread { .. }));
        for (content, told) in [
            ("", "is empty; put"),
            (" \n", "is empty; put"),
            ("no certificate", "BEGIN CERTIFICATE"),
            (KEY, "has a private key and no certificate"),
            ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "a request for"),
            ("\u{30}\u{1}", "openssl x509 -inform der"),
        ] {
            let error = refused(Some(content));
            assert!(error.to_string().contains(told) && error.to_string().contains("delivery.ca_file"), "{error}");
        }
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(refused(Some(cut)), Error::CaFile { .. } | Error::CaFileWithout { .. }));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(clients(Some(folder.path())), Err(Error::CaFileUnread { .. })), "a folder");
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(Some(bad)), Error::Certificate { number: 1, .. }));
        clients(Some(Path::new(CA_FILE))).unwrap();
    }

    /// Environment variables belong to the whole process, so the test starts its own program again in another process.
    #[test]
    fn no_proxy_is_taken_from_the_environment() {
        const INNER: &str = "POSTBACK_TEST_PROXY_RECEIVER";
        #[expect(clippy::disallowed_methods, reason = "how the outer process talks to the inner one")]
        if let Ok(url) = std::env::var(INNER) {
            let runtime = crate::background::Background::start("test", 1).unwrap();
            let sent = runtime.block_on(
                clients(None).unwrap().trusted.request(http::Request::post(url).body(Full::default()).unwrap()),
            );
            assert_eq!(sent.unwrap().status(), 204);
            return;
        }
        let (receiver, proxy) = (Receiver::answering(OK), Receiver::answering(OK));
        let proxy_url = format!("http://127.0.0.1:{}", proxy.port());
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", "delivery::client::tests::no_proxy_is_taken_from_the_environment"]);
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            inner.env(name, &proxy_url);
        }
        let output = inner.env(INNER, receiver.url()).env_remove("REQUEST_METHOD").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!((receiver.requests().len(), proxy.requests().len()), (1, 0));
    }
}
