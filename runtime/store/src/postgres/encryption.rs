//! Encrypted connections to PostgreSQL: the files with certificates, and what an operator can do if the certificate of
//! the server is not accepted.

use std::fs::File;
use std::io::{self, Read as _};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, Error};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Checks a file that a parameter of the URL names. The driver reads the files at each connection. It would ignore a file
/// without certificates, and would call a missing file a lost connection. The error says what to do.
pub(super) fn check_file(parameter: &str, value: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("the file {value} of {parameter} in store.url {what}"));
    let bytes = match read(value) {
        Ok(bytes) => bytes,
        Err(error) => return wrong(&format!("cannot be read ({error}); correct its name or its permissions")),
    };
    if parameter == "sslkey" {
        return match PrivateKeyDer::from_pem_slice(&bytes) {
            Ok(_) => Ok(()),
            Err(_) => wrong("has no private key; it needs one in the PEM form, without a password"),
        };
    }
    let mut certificates = CertificateDer::pem_slice_iter(&bytes);
    match certificates.next() {
        Some(Ok(_)) if certificates.all(|certificate| certificate.is_ok()) => Ok(()),
        None => wrong("has no certificate; it needs one in the PEM form"),
        Some(_) => wrong("has a broken certificate; write it anew"),
    }
}

fn read(name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = File::open(name)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(size).is_ok_and(|size| size <= LARGEST) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it has more than {LARGEST} bytes")))
    }
}

/// Returns what the operator can do about a failed handshake. `None`: this is another error, such as a lost connection.
pub(super) fn advice(error: &io::Error) -> Option<&'static str> {
    use CertificateError as C;
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let Error::InvalidCertificate(error) = error else {
        return Some(
            "the encrypted connection to PostgreSQL fails; check sslmode in store.url, and the server's ssl settings",
        );
    };
    Some(match error {
        C::UnknownIssuer | C::BadSignature => {
            "the issuer of the server's certificate is not trusted; name the file with the issuer's certificate in \
             sslrootcert of store.url"
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "the server's certificate is not for this host; name the host in store.url as the certificate does in its \
             subjectAltName, or issue it anew for this host"
        }
        C::Expired | C::ExpiredContext { .. } => {
            "the server's certificate has expired; renew it there, or set this machine's clock if that is wrong"
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; set this machine's clock if that is wrong, or replace the \
             certificate"
        }
        // This error is recognised by its text, because its type belongs to a crate that is not a dependency.
        C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an authority (CA:TRUE) as its own; make the self-signed certificate \
             anew with basicConstraints = CA:FALSE, or have one issued, and name it or its issuer in sslrootcert of \
             store.url"
        }
        _ => "the server's certificate is not accepted; issue it anew, or name its issuer in sslrootcert of store.url",
    })
}
