//! Describes a TLS failure: what is wrong, and which setting or file the operator has to change.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::log;

/// Describes a TLS error in one sentence. The text is escaped and its length is limited, because it may contain text
/// from the receiver's certificate.
pub(super) fn words(error: &Error) -> String {
    let (what, todo) = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => (
            "the receiver does not speak TLS on this port".to_owned(),
            "begin the webhook's URL with http://, or name the port that speaks TLS",
        ),
        Error::InvalidMessage(_) | Error::PeerMisbehaved(_) | Error::PeerSentOversizedRecord => {
            (format!("the receiver breaks the protocol ({error})"), "update its TLS library, or what stands before it")
        }
        Error::NoCertificatesPresented => {
            ("the receiver shows no certificate".to_owned(), "give it one for its host name")
        }
        Error::NoApplicationProtocol => (
            "the receiver speaks neither HTTP/1.1 nor HTTP/2 on this port".to_owned(),
            "check the port in the webhook's URL",
        ),
        Error::UnsupportedNameType => {
            ("the host in the URL is no name that TLS takes".to_owned(), "name the host as its certificate does")
        }
        Error::FailedToGetCurrentTime => ("this machine has no time of day".to_owned(), "set its clock"),
        Error::FailedToGetRandomBytes => {
            ("this machine has no random numbers".to_owned(), "check its kernel's source of them")
        }
        Error::DecryptError => {
            ("what the receiver sent was changed on its way".to_owned(), "look for a proxy between it and this machine")
        }
        other => (other.to_string(), "see what `openssl s_client -connect HOST:PORT` says of the receiver"),
    };
    log::escaped(&format!("TLS: {what}; {todo}")).into_owned()
}

fn certificate(error: &CertificateError) -> (String, &'static str) {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => (
            "the receiver's certificate has expired".into(),
            "renew it there, or set this machine's clock if that is wrong",
        ),
        C::NotValidYet | C::NotValidYetContext { .. } => (
            "the receiver's certificate is not valid yet".into(),
            "set this machine's clock if that is wrong, or replace the certificate",
        ),
        C::UnknownIssuer => (
            "the issuer of the receiver's certificate is not trusted by this machine".into(),
            "put its issuer's certificate into the file of delivery.ca_file or among the system's roots, or have the receiver \
             send the whole chain",
        ),
        C::NotValidForName => names(""),
        C::NotValidForNameContext { expected, presented } if presented.is_empty() => names(&format!(
            " {} (it names none as subjectAltName, and its common name does not count)",
            expected.to_str()
        )),
        C::NotValidForNameContext { expected, presented } => {
            names(&format!(" {}, but for {}", expected.to_str(), presented.join(", ")))
        }
        C::Revoked => ("the receiver's certificate has been revoked".into(), "replace it there"),
        C::BadEncoding => ("the receiver's certificate is not well-formed".into(), "issue it anew"),
        C::BadSignature => (
            "the receiver's certificate is not signed by the issuer that it names".into(),
            "if the issuer was made anew under the same name, put its new certificate into the file of delivery.ca_file",
        ),
        C::UnsupportedSignatureAlgorithmContext { .. } | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            (
                "the receiver's certificate is signed in a way that is not supported, such as with SHA-1".into(),
                "issue it anew with ECDSA (P-256, P-384), Ed25519, or RSA of 2048 bits or more, and SHA-256 or better",
            )
        }
        C::UnhandledCriticalExtension => (
            "the receiver's certificate has a critical extension that is not known here".into(),
            "issue it anew without that",
        ),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => (
            "the receiver's certificate is not one for servers".into(),
            "issue it anew with extendedKeyUsage = serverAuth",
        ),
        // This error is recognised by its text, because its type belongs to a crate that is not a dependency of this
        // crate.
        C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "the receiver shows the certificate of an authority (CA:TRUE) as its own".into(),
            "make the self-signed certificate anew with basicConstraints = CA:FALSE, or have one issued, and name it or its \
             issuer in the file of delivery.ca_file",
        ),
        C::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            ("the receiver's certificate is not of version 3".into(), "issue it anew, with a subjectAltName")
        }
        other => (
            format!("the receiver's certificate is not accepted ({other})"),
            "issue it anew, or name its issuer in the file of delivery.ca_file",
        ),
    }
}

fn names(which: &str) -> (String, &'static str) {
    (
        format!("the receiver's certificate is not for the host{which}"),
        "name the host as the certificate does, or issue that anew for this host",
    )
}

/// Describes a TLS alert. A receiver sends a TLS alert when it rejects the connection.
fn alerted(alert: AlertDescription) -> (String, &'static str) {
    use AlertDescription as A;
    match alert {
        A::HandshakeFailure | A::InsufficientSecurity | A::ProtocolVersion => (
            format!("the receiver and this program have no version or cipher of TLS in common ({alert:?})"),
            "have the receiver speak TLS 1.2 or 1.3, with AES-GCM or ChaCha20-Poly1305",
        ),
        A::CertificateRequired
        | A::NoCertificate
        | A::BadCertificate
        | A::UnknownCA
        | A::AccessDenied
        | A::CertificateUnknown
        | A::UnsupportedCertificate => (
            format!("the receiver wants a certificate of its clients ({alert:?}), and none is sent"),
            "have it tell its callers by the webhook's signature instead, or put a proxy before it that has one",
        ),
        A::UnrecognisedName => (
            "the receiver knows no site of this host name (UnrecognisedName)".into(),
            "check the host in the webhook's URL",
        ),
        A::NoApplicationProtocol => (
            "the receiver speaks neither HTTP/1.1 nor HTTP/2 on this port".into(),
            "check the port in the webhook's URL",
        ),
        A::InternalError => ("the receiver has a fault of its own (InternalError)".into(), "see its log"),
        other => (
            format!("the receiver broke off ({other:?})"),
            "see its log, or what `openssl s_client -connect HOST:PORT` says",
        ),
    }
}

fn incompatible(why: &PeerIncompatible) -> (String, &'static str) {
    (
        format!("the receiver and this program have no way of TLS in common ({why:?})"),
        "have the receiver speak TLS 1.2 or 1.3, with AES-GCM or ChaCha20-Poly1305",
    )
}

#[cfg(test)]
mod tests;
