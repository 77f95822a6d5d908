//! What the receiver of a test answers.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// The answer of a [`Receiver`](super::Receiver) to one hit. The default is the status 204.
#[derive(Clone)]
pub struct Answer {
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    Respond(Response<Bytes>),
    Hang,
    Reset,
}

impl Answer {
    /// Answers with this status. A number that is no status of HTTP counts as 500.
    pub fn status(status: u16) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { kind: Kind::Respond(response) }
    }

    /// Never answers, and keeps the connection open.
    pub fn hang() -> Self {
        Self { kind: Kind::Hang }
    }

    /// Closes the connection without an answer.
    pub fn reset() -> Self {
        Self { kind: Kind::Reset }
    }

    /// Adds a header to the answer, such as `("retry-after", "3600")`. One that is not valid is left out, and one without
    /// an answer has no effect.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let pair = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        if let (Kind::Respond(response), Some((name, value))) = (&mut self.kind, pair) {
            response.headers_mut().append(name, value);
        }
        self
    }

    /// Sets the body of the answer. Without an answer, this has no effect.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        if let Kind::Respond(response) = &mut self.kind {
            *response.body_mut() = body.into();
        }
        self
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self::status(204)
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::status(status)
    }
}

/// Says what the answer is in a word or two.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Respond(response) => write!(f, "{}", response.status().as_u16()),
            Kind::Hang => f.write_str("no answer"),
            Kind::Reset => f.write_str("a closed connection"),
        }
    }
}
