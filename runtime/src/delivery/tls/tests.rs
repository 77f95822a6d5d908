//! Tests of TLS handshakes that fail, and of their error texts.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{OtherError, PeerMisbehaved, RootCertStore, ServerConfig};

use super::*;
use crate::delivery::Options;
use crate::delivery::attempt::tests::{Names, send};
use crate::delivery::receiver::{CA_FILE, OK, Receiver};
use crate::policy::guard::Reach;

fn options(ca_file: &str) -> Options {
    Options {
        ca_file: Some(PathBuf::from(ca_file)),
        resolver: Names::of(&["127.0.0.1"]),
        timeout: Duration::from_mins(10),
        ..Options::default()
    }
}

/// Makes an attempt at this host and port, and returns the error text of the attempt.
async fn told_with(options: &Options, host: &str, port: u16) -> Option<String> {
    send(options, &format!("https://{host}:{port}/in?token=s3cret"), Reach::Private).await.attempt.error
}

async fn told(host: &str, port: u16) -> String {
    told_with(&options(CA_FILE), host, port).await.unwrap()
}

/// Starts a receiver that reads the beginning of the TLS handshake and then calls `behave`. Returns the receiver's
/// port.
fn raw(behave: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream?;
            let _ = stream.read(&mut [0; 4_096])?;
            behave(&mut stream)?;
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        Ok::<_, std::io::Error>(())
    });
    port
}

fn data(name: &str) -> String {
    format!("{}/src/delivery/testdata/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn shows(certificate: &str) -> Receiver {
    Receiver::tls_with(&std::fs::read(data(certificate)).unwrap())
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_says_why_and_what_to_do() {
    for (certificate, host, why, todo) in [
        ("expired.pem", "hooks.test", "has expired", "renew it there"),
        ("not_yet_valid.pem", "hooks.test", "is not valid yet", "this machine's clock"),
        (
            "server.pem",
            "other.test",
            "is not for the host other.test, but for",
            "name the host as the certificate does",
        ),
        ("no_name.pem", "hooks.test", "names none as subjectAltName", "issue that anew"),
        ("self_signed.pem", "hooks.test", "is not trusted by this machine", "the file of delivery.ca_file"),
        ("own_ca.pem", "hooks.test", "of an authority (CA:TRUE)", "the file of delivery.ca_file"),
        ("client_only.pem", "hooks.test", "is not one for servers", "serverAuth"),
        ("sha1.pem", "hooks.test", "such as with SHA-1", "SHA-256 or better"),
    ] {
        let receiver = shows(certificate);
        let told = told(host, receiver.port()).await;
        assert!(told.starts_with("TLS: ") && told.contains(why) && told.contains(todo), "{certificate}: {told}");
        assert!(receiver.requests().is_empty(), "nothing is sent");
        assert!(!told.contains("s3cret"));
    }
}

#[tokio::test]
async fn of_self_signed_certificates_in_the_ca_file_a_servers_own_is_taken_and_an_authoritys_is_told() {
    let taken = shows("self_signed.pem");
    assert_eq!(told_with(&options(&data("self_signed.pem")), "hooks.test", taken.port()).await, None);
    let told = told_with(&options(&data("own_ca.pem")), "hooks.test", shows("own_ca.pem").port()).await.unwrap();
    assert!(told.contains("CA:FALSE") && told.contains("delivery.ca_file"), "{told}");
}

#[tokio::test]
async fn an_alert_of_the_receiver_says_what_it_wants() {
    for (alert, why) in [
        (40, "no version or cipher of TLS in common (HandshakeFailure)"),
        (70, "no version or cipher of TLS in common (ProtocolVersion)"),
        (71, "no version or cipher of TLS in common (InsufficientSecurity)"),
        (42, "wants a certificate of its clients (BadCertificate)"),
        (48, "wants a certificate of its clients (UnknownCA)"),
        (49, "wants a certificate of its clients (AccessDenied)"),
        (112, "knows no site of this host name"),
        (120, "neither HTTP/1.1 nor HTTP/2"),
        (80, "a fault of its own"),
        (90, "broke off (UserCanceled)"),
    ] {
        let port = raw(move |stream| stream.write_all(&[21, 3, 3, 0, 2, 2, alert]));
        let told = told("hooks.test", port).await;
        assert!(told.starts_with("TLS: ") && told.contains(why) && told.contains("; "), "{alert}: {told}");
    }
}

#[tokio::test]
async fn who_wants_a_certificate_of_its_clients_is_said_so() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let pem = |name: &str| std::fs::read(data(name)).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap()
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(&pem("server.pem")).unwrap()],
                PrivateKeyDer::from_pem_slice(&pem("server.key")).unwrap(),
            )
            .unwrap();
        let told = told("hooks.test", Receiver::tls_as(config).port()).await;
        assert!(told.starts_with("TLS: ") && told.contains("of its clients"), "{told}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_said_so() {
    for (answer, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak TLS on this port"),
        (b"220 mail.example.com ESMTP\r\n", "does not speak TLS on this port"),
        (b"", "closed the connection during the handshake"),
        (&[22, 3, 3, 0, 4], "closed the connection during the handshake"),
    ] {
        let told = told("hooks.test", raw(move |stream| stream.write_all(answer))).await;
        assert!(told.starts_with("TLS: ") && told.contains(why), "{answer:?}: {told}");
    }
    let plain = Receiver::answering(OK);
    let told = told("hooks.test", plain.port()).await;
    assert!(told.starts_with("TLS: ") && plain.requests().is_empty(), "{told}");
}

#[test]
fn each_failure_is_one_sentence_with_something_to_do_within_the_bound() {
    use CertificateError as C;
    let certificates = [
        C::BadEncoding,
        C::Expired,
        C::NotValidYet,
        C::Revoked,
        C::UnhandledCriticalExtension,
        C::UnknownIssuer,
        C::UnknownRevocationStatus,
        C::ExpiredRevocationList,
        C::BadSignature,
        C::NotValidForName,
        C::InvalidPurpose,
        C::InvalidOcspResponse,
        C::ApplicationVerificationFailure,
        C::Other(OtherError(Arc::new(std::io::Error::other("UnsupportedCertVersion")))),
        C::Other(OtherError(Arc::new(std::io::Error::other("CaUsedAsEndEntity")))),
        C::Other(OtherError(Arc::new(std::io::Error::other("\u{1b}[31mnews\nof tomorrow")))),
    ];
    let errors = certificates.into_iter().map(Error::InvalidCertificate).chain([
        Error::NoCertificatesPresented,
        Error::UnsupportedNameType,
        Error::DecryptError,
        Error::EncryptError,
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
        Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived),
        Error::InvalidMessage(InvalidMessage::InvalidContentType),
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge),
        Error::AlertReceived(AlertDescription::Unknown(200)),
        Error::General("what".into()),
        Error::FailedToGetCurrentTime,
        Error::FailedToGetRandomBytes,
        Error::HandshakeNotComplete,
        Error::PeerSentOversizedRecord,
        Error::NoApplicationProtocol,
        Error::BadMaxFragmentSize,
    ]);
    for error in errors {
        let told = words(&error);
        assert!(told.starts_with("TLS: ") && told.contains("; "), "{told}");
        assert!(!told.contains('…') && !told.contains(char::is_control), "{told}");
    }
}
