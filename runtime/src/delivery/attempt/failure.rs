//! Finds out why an attempt failed, and says it in words for the operator. The words contain no URL and no secret, and
//! all text from outside is escaped.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use super::{Refusal, log};
use crate::delivery::shortage::Shortage;
use crate::delivery::{connect, dial, tls};

/// Why an attempt failed without an answer.
pub(super) enum Failure {
    /// The address guard, which decides to which addresses a webhook is allowed to go, refused the receiver's address.
    Refused(Refusal),
    /// This machine lacked a resource that the attempt needs.
    Short(Shortage, String),
    /// The receiver says that it has not processed the request.
    Unprocessed(String),
    Other(String),
}

/// The error text if the URL begins with `http://` and the receiver answers with TLS.
pub(super) const TLS_EXPECTED: &str = "the receiver speaks TLS on this port: begin the webhook's URL with https://";

/// Whether the error means that the receiver has not processed the request. If so, the request can be sent again
/// without a pause (RFC 9113, 8.7).
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    matches!(Failure::of(error), Failure::Unprocessed(_))
}

impl Failure {
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let known = successors(Some(error), |&error| error.source()).find_map(known);
        known.unwrap_or_else(|| Self::Other(innermost(error)))
    }
}

/// Returns the failure that `error` describes. `None` if `error` is of no known type. `error` is one error of a chain
/// of sources.
fn known(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<dial::Error>() {
        return Some(match error {
            dial::Error::Refused(refusal) => Failure::Refused(*refusal),
            dial::Error::Unresolved { source, .. } if let Some(shortage) = Shortage::of(source) => {
                Failure::Short(shortage, log::with_sources(error))
            }
            other => Failure::Other(log::with_sources(other)),
        });
    }
    if let Some(error) = error.downcast_ref::<connect::TimedOut>() {
        return Some(Failure::Other(error.to_string()));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(Failure::Other(tls::words(error)));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return http2(error);
    }
    // Only `get_ref` returns the error inside an I/O error. `source` returns the source of that inner error.
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(shortage) = Shortage::of(error) {
        return Some(Failure::Short(shortage, log::with_sources(error)));
    }
    let inner = error.get_ref().and_then(|inner| known(inner));
    inner.or_else(|| io_words(error).map(|words| Failure::Other(words.into())))
}

/// Returns the failure that the receiver reported with an HTTP/2 frame instead of an answer. `None` if the error has
/// another cause. In this case, the caller finds the cause in the last error of the chain of sources.
///
/// A GOAWAY frame names the last stream that the receiver processes. Only the requests of later streams end with a
/// GOAWAY error, so a request that ends with this error was not processed.
fn http2(error: &h2::Error) -> Option<Failure> {
    let reason = error.reason().filter(|_| error.is_remote())?;
    Some(match reason {
        _ if error.is_go_away() => Failure::Unprocessed(format!(
            "connection closed by the receiver before it processed the request (HTTP/2 GOAWAY, {reason:?})"
        )),
        h2::Reason::REFUSED_STREAM => {
            Failure::Unprocessed(format!("refused by the receiver before it was processed (HTTP/2 {reason:?})"))
        }
        _ => Failure::Other(format!("aborted by the receiver (HTTP/2 {reason:?})")),
    })
}

fn io_words(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::UnexpectedEof if error.to_string().starts_with("tls handshake") => {
            "TLS: the receiver closed the connection during the handshake; check that it speaks TLS on this port, and that it \
             serves this host name"
        }
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::BrokenPipe => "connection closed while sending",
        ErrorKind::UnexpectedEof => "connection closed too early",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::AddrNotAvailable => "no local port or address is left to connect from",
        _ => return None,
    })
}

/// Returns the text of the last error in the chain of sources. The other errors of the chain only say in which
/// operation the failure happened.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map_or_else(|| "the request could not be sent".into(), |error| log::escaped(&error.to_string()).into_owned())
}
