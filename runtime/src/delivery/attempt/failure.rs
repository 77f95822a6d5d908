//! What went wrong with a try, in words for the operator. They hold no URL, no secret and nothing unescaped.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use super::{Refusal, log};
use crate::delivery::shortage::Shortage;
use crate::delivery::{connect, dial, tls};

pub(super) enum Failure {
    /// The guard refused an address.
    Refused(Refusal),
    /// This machine was short of something.
    Short(Shortage, String),
    /// The receiver has processed nothing of the request, as it says.
    Unprocessed(String),
    Other(String),
}

/// Where TLS came in place of an answer to plain HTTP.
pub(super) const TLS_EXPECTED: &str = "the receiver speaks TLS on this port: begin the webhook's URL with https://";

/// Whether the receiver says that nothing of the request was processed, so that it can be sent again at once (RFC 9113,
/// 8.7).
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    matches!(Failure::of(error), Failure::Unprocessed(_))
}

impl Failure {
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let known = successors(Some(error), |&error| error.source()).find_map(known);
        known.unwrap_or_else(|| Self::Other(innermost(error)))
    }
}

/// One link of the chain, if it is the one that tells.
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
    // An I/O error shows what is inside of it by `get_ref` alone: its `source` is that of its content.
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(shortage) = Shortage::of(error) {
        return Some(Failure::Short(shortage, log::with_sources(error)));
    }
    let inner = error.get_ref().and_then(|inner| known(inner));
    inner.or_else(|| io_words(error).map(|words| Failure::Other(words.into())))
}

/// What the receiver said in HTTP/2 in place of an answer. Of what has another cause the innermost error tells.
///
/// A GOAWAY ends the streams alone that are later than the last one which it names: these were not processed. What
/// becomes of earlier ones is told otherwise.
fn http2(error: &h2::Error) -> Option<Failure> {
    let reason = error.reason().filter(|_| error.is_remote())?;
    Some(match reason {
        _ if error.is_go_away() => Failure::Unprocessed(format!(
            "connection closed by the receiver before it processed the request (HTTP/2 GOAWAY, {reason:?})"
        )),
        h2::Reason::REFUSED_STREAM => {
            Failure::Unprocessed(format!("refused by the receiver before it was processed (HTTP/2 {reason:?})"))
        }
        _ => Failure::Other(format!("broken off by the receiver (HTTP/2 {reason:?})")),
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

/// The end of the chain: what lies above it says where it happened.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let last = successors(Some(error), |&error| error.source()).last();
    last.map_or_else(|| "the request could not be sent".into(), |error| log::escaped(&error.to_string()).into_owned())
}
