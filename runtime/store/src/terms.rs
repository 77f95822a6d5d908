//! What a caller may ask for beside the payload of a request: when it runs, how long, before which others, and that a
//! repeated call is the same request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use postback_wire::time::Timestamp;

/// When and how a request runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Requests of a higher priority run first, among the waiting requests of one route and one owner.
    pub priority: i8,
    /// The time by the wall clock at which the request is due. `None`, or a time that is over: it is due immediately.
    pub run_at: Option<Timestamp>,
    /// The time by the wall clock until which the first run must begin. `None`: there is no such time.
    pub deadline: Option<Timestamp>,
    /// The longest time that a run may take, if it is shorter than the limit of the route.
    pub timeout: Option<Duration>,
}

/// The idempotency key of a request, as a digest of its owner, its route and the text that the caller brought. The store
/// keeps the key as long as the request. A second request with the same key is not written.
///
/// A digest makes the rows and the index of the keys small, whatever callers bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// Makes the key of a request of this owner and this route. `text` is what the caller brought.
    pub fn new(owner: &str, route: &str, text: &str) -> Self {
        // The parts are UTF-8, in which no byte is 0xff. So two different keys are never the same bytes here.
        let mut hasher = Sha256::new();
        for part in [owner, route] {
            hasher.update(part);
            hasher.update([0xff]);
        }
        hasher.update(text);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(digest.split_at(16).0);
        Self(key)
    }

    /// Returns the key that has these bytes. `None`: they are no key.
    #[cfg(feature = "sqlite")]
    pub(crate) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the caller of a request brought in headers, to be kept with the request.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// The URL of a webhook of the caller. It gets the report beside the webhooks of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Box<str>>,
    /// A JSON text, which the status and the report repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<str>>,
    /// The trace that the request is a part of, as the caller sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<Box<str>>,
}

impl Extras {
    /// Returns the extras, or `None` if the caller brought nothing.
    pub fn shared(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }

    pub(crate) fn bytes(&self) -> usize {
        let texts = [&self.webhook, &self.metadata, &self.traceparent, &self.tracestate];
        texts.into_iter().flatten().map(|text| text.len()).sum()
    }
}

/// Shows which extras there are. Their values are not shown, because a URL and metadata may contain a secret.
impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { webhook, metadata, traceparent, .. } = self;
        let has = (webhook.is_some(), metadata.is_some(), traceparent.is_some());
        write!(f, "Extras(webhook {}, metadata {}, trace {})", has.0, has.1, has.2)
    }
}
