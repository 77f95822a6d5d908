//! The ids of requests, reports and nodes.

mod generator;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The id of one request.
///
/// If a handler has a parameter of this type, the handler gets the id of its request. Treat an id as opaque text. The
/// ids that the server makes are UUIDv7. Cloning an id is cheap: it only increments a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The largest length of an id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Makes a new id: a UUIDv7 (RFC 9562), 36 characters long. If ids are made by this function, their alphabetical
    /// order is the order in time.
    ///
    /// ```
    /// let id = postback::RequestId::generate();
    /// assert_eq!(id.as_str().len(), 36);
    /// ```
    pub fn generate() -> Self {
        let mut text = Uuid::encode_buffer();
        Self((&*generator::uuid_v7().hyphenated().encode_lower(&mut text)).into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trace of a request that came without one: the id itself, if it is a UUID. A UUIDv7 of this crate has
    /// 62 random bits. Of another id, the trace is a digest, so that all reports about one id share a trace.
    #[doc(hidden)]
    pub fn as_trace(text: &str) -> [u8; 16] {
        let uuid = Uuid::try_parse(text).ok().filter(|id| !id.is_nil()).map(Uuid::into_bytes);
        uuid.unwrap_or_else(|| {
            let mut trace = [0; 16];
            trace.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
            trace
        })
    }

    /// Makes an id from a text that was read from the store. The function does not check the text, because it was
    /// checked before it was stored.
    #[doc(hidden)]
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    /// Parses an id. A valid id has 1 to 128 characters: `A-Z`, `a-z`, `0-9`, `_`, `-` and `.`. The first and the last
    /// character must not be a dot.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is empty, is longer than 128 bytes, begins or ends with a dot, or has another
    /// character.
    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        let outer_dot = text.starts_with('.') || text.ends_with('.');
        if text.is_empty() || text.len() > Self::MAX_LEN || outer_dot || !text.bytes().all(allowed) {
            return Err(RequestIdError(()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.0)
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.as_str().to_owned()
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Deserializes an id from a string. Accepts the same strings as [`from_str`](RequestId::from_str).
impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The error for a text that is not a valid [`RequestId`].
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 128 of the characters A-Z, a-z, 0-9, `_`, `-`, and dots that are neither first nor last")]
pub struct RequestIdError(());

crate::line::debug_as_message!(RequestIdError);

/// The id of one report. Receivers get it in the header `webhook-id`, with the same value on each attempt.
///
/// The id has no dot, because Standard Webhooks signs the text `id.timestamp.body`, in which dots separate the parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportId(Uuid);

impl ReportId {
    pub fn generate() -> Self {
        Self(generator::uuid_v7())
    }

    /// Returns the id as the 16 bytes that are written to the store.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Returns the id of the span that the deliveries of this report are in a trace: the random half of the id.
    pub fn as_span(&self) -> [u8; 8] {
        // Invariant: the second half is never zero, because it begins with the variant of the UUID.
        self.0.as_u64_pair().1.to_be_bytes()
    }
}

impl FromStr for ReportId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReportId({})", self.0)
    }
}

/// The id of one process of the program. Each process makes a new id when it starts. Each claim in the store contains
/// the id of the process that made the claim. So a process recognises the claims of earlier processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(Uuid);

impl NodeId {
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reports_about_an_id_share_a_trace() {
        let uuid = "659938d2-2ef6-41f4-8983-4e0b7562a986";
        assert_eq!(RequestId::as_trace(uuid), uuid.parse::<Uuid>().unwrap().into_bytes());
        assert_eq!(RequestId::as_trace("job-7"), RequestId::as_trace("job-7"));
        assert_ne!(RequestId::as_trace("job-7"), RequestId::as_trace("job-8"));
        assert_ne!(RequestId::as_trace(&Uuid::nil().to_string()), [0; 16]);
    }

    #[test]
    fn ids_from_outside_are_checked() {
        for good in ["a", "A-b_9", "a.b", &"x".repeat(128), "659938d2-2ef6-41f4-8983-4e0b7562a986"] {
            assert_eq!(good.parse::<RequestId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", ".a", "a.", "a/b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_text_in_json_and_checked_on_the_way_in() {
        let id: RequestId = serde_json::from_str(r#""a.b""#).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""a.b""#);
        assert_eq!(String::from(id), "a.b");
        let error = serde_json::from_str::<RequestId>(r#""a/b""#).unwrap_err();
        assert!(error.to_string().starts_with("an id has 1 to 128"), "{error}");
    }

    #[test]
    fn a_report_id_has_no_dot() {
        assert!(!ReportId::generate().to_string().contains('.'));
    }
}
