//! The receiver's side: checks that a webhook was signed with the right key, and not too long ago.

#[cfg(feature = "axum")]
mod extract;
mod received;
mod sign;

use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

#[cfg(feature = "axum")]
pub use self::extract::{VerifiedRejection, VerifyingKeys};
pub use self::received::{ReceivedProgress, ReceivedReport};
pub use self::sign::{SignError, sign};
use crate::names::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::secret::Verifies;
use crate::signature::{Content, MAX_SIGNATURES, Signatures};
use crate::time::{Clock, Timestamp};

/// The largest allowed difference between the webhook's time and the receiver's time, in seconds. The webhook's time
/// may be earlier or later by this difference.
const TOLERANCE_SECONDS: u64 = 300;
/// The largest allowed length of the header `webhook-id`, in bytes.
const MAX_ID: usize = 256;
/// The largest allowed length of the header `webhook-signature`, in bytes.
const MAX_SIGNATURE_HEADER: usize = 4_096;
/// The largest allowed number of digits in the header `webhook-timestamp`. 12 digits are enough until the year 33,658.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// Verifies a webhook. The webhook must be signed with one of the keys, and its time must differ from the current time
/// by at most 5 minutes.
///
/// The webhook's time may be in the future, because clocks differ. `body` must be the bytes exactly as they were
/// received: do not parse and serialise the JSON again. A key is a [`VerifyingKey`], a [`Secret`] or a [`PublicKey`].
///
/// If there are several keys or several signatures, one pair that matches is enough. So you can replace a secret while
/// webhooks are on their way. The versions `v1` (HMAC-SHA256) and `v1a` (Ed25519) are checked; signatures of other
/// versions are ignored. HMAC signatures are compared in constant time.
///
/// A genuine webhook may come more than once. The repeats have the same [`Verified::id`].
///
/// [`VerifyingKey`]: crate::VerifyingKey
/// [`Secret`]: crate::Secret
/// [`PublicKey`]: crate::PublicKey
///
/// # Errors
///
/// Returns a [`VerifyError`] if the webhook is not verified. Answer with status 400 if [`VerifyError::is_malformed`]
/// returns `true`, and with status 401 otherwise.
///
/// ```
/// use postback::{VerifyError, VerifyingKey, verify};
///
/// fn receive(keys: &[VerifyingKey], headers: &http::HeaderMap, body: &[u8]) -> Result<String, VerifyError> {
///     let webhook = verify(keys, headers, body)?;
///     Ok(format!("{} has {} bytes", webhook.id(), webhook.len()))
/// }
/// # let keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()];
/// # let error = receive(&keys, &http::HeaderMap::new(), b"{}").unwrap_err();
/// # assert_eq!(error, VerifyError::Missing { header: "webhook-id" });
/// ```
pub fn verify<'b, K: Verifies, B: AsRef<[u8]> + ?Sized>(
    keys: &[K],
    headers: &HeaderMap,
    body: &'b B,
) -> Result<Verified<&'b [u8]>, VerifyError> {
    verify_at(keys, headers, body.as_ref(), Clock::system().now())
}

/// Verifies a webhook as [`verify`] does, but compares the webhook's time with the given time.
pub fn verify_at<'b, K: Verifies>(
    keys: &[K],
    headers: &HeaderMap,
    body: &'b [u8],
    now: Timestamp,
) -> Result<Verified<&'b [u8]>, VerifyError> {
    head(keys, headers, now)?.verify(keys, body)
}

/// The headers of a webhook that have passed all checks for which the body is not needed. The signatures are verified
/// later, because verifying a signature needs the body.
struct Head<'h> {
    id: &'h str,
    timestamp: &'h str,
    seconds: u64,
    signatures: Signatures,
}

fn head<'h, K: Verifies>(keys: &[K], headers: &'h HeaderMap, now: Timestamp) -> Result<Head<'h>, VerifyError> {
    if keys.is_empty() {
        return Err(VerifyError::NoKey);
    }
    let id = only(headers, WEBHOOK_ID).and_then(|id| valid_id(id).ok_or(malformed(WEBHOOK_ID)))?;
    let timestamp = only(headers, WEBHOOK_TIMESTAMP)?;
    let seconds = seconds(timestamp).ok_or(malformed(WEBHOOK_TIMESTAMP))?;
    let signatures = only(headers, WEBHOOK_SIGNATURE)?;
    if signatures.len() > MAX_SIGNATURE_HEADER {
        return Err(malformed(WEBHOOK_SIGNATURE));
    }
    // The time is checked before the signatures are parsed, because checking the time is cheaper than parsing
    // signatures.
    let now = u64::try_from(now.unix_seconds()).unwrap_or(0);
    if now.abs_diff(seconds) > TOLERANCE_SECONDS {
        let by = now.abs_diff(seconds);
        return Err(if seconds < now {
            VerifyError::TooOld { seconds: by }
        } else {
            VerifyError::TooNew { seconds: by }
        });
    }
    let signatures = Signatures::parse(signatures).ok_or(malformed(WEBHOOK_SIGNATURE))?;
    if !keys.iter().any(|key| signatures.has_for(key.verifier())) {
        return Err(VerifyError::OtherVersion);
    }
    Ok(Head { id, timestamp, seconds, signatures })
}

impl Head<'_> {
    fn verify<'b, K: Verifies>(&self, keys: &[K], body: &'b [u8]) -> Result<Verified<&'b [u8]>, VerifyError> {
        let Self { id, timestamp, seconds, signatures } = self;
        let content = Content { id, timestamp, body };
        if !signatures.hold(keys.iter().map(K::verifier), &content) {
            return Err(VerifyError::Mismatch);
        }
        Ok(Verified { id: (*id).to_owned(), timestamp: UNIX_EPOCH + Duration::from_secs(*seconds), body })
    }
}

/// Returns the value of a header. Returns an error unless the header occurs exactly once. If a header had two values,
/// the signature could be checked with one value, and the receiver could use the other.
fn only<'h>(headers: &'h HeaderMap, header: &'static str) -> Result<&'h str, VerifyError> {
    let mut values = headers.get_all(header).iter();
    let value = values.next().ok_or(VerifyError::Missing { header })?;
    if values.next().is_some() {
        return Err(VerifyError::Repeated { header });
    }
    value.to_str().map_err(|_| malformed(header))
}

fn malformed(header: &'static str) -> VerifyError {
    VerifyError::Malformed { header }
}

/// Returns the id if it is valid as a `webhook-id`: 1 to 256 visible ASCII characters without a full stop. Otherwise
/// returns `None`.
///
/// Invariant: a valid id has no full stop, because full stops separate the parts of the signed text `id.time.body`. If
/// an id could have a full stop, webhooks with different ids, times and bodies could have the same signed text and the
/// same signature.
fn valid_id(id: &str) -> Option<&str> {
    let is_valid = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    is_valid.then_some(id)
}

fn seconds(text: &str) -> Option<u64> {
    let digits = (1..=MAX_TIMESTAMP_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A verified webhook: its body, its id and its time. A `Verified<T>` dereferences to the body, a `T`.
///
/// The function [`verify`] returns this type. With the feature `server`, this type is an axum extractor: `Verified<T>`
/// verifies the webhook, and then parses the body as JSON into a `T: DeserializeOwned`, such as [`ReceivedReport`].
/// `Verified<Bytes>` contains the body unchanged.
///
/// The extractor gets the keys from the router's state, as `VerifyingKeys`. The extractor reads the body only if the
/// headers are valid, and at most as many bytes as axum's `DefaultBodyLimit` allows.
///
/// ```
/// # #[cfg(feature = "axum")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, http::StatusCode, routing::post};
/// use postback::{ReceivedReport, Verified, VerifyingKey, VerifyingKeys};
///
/// #[derive(serde::Deserialize)]
/// struct Transcript {
///     text: String,
/// }
///
/// async fn receive(report: Verified<ReceivedReport<Transcript>>) -> StatusCode {
///     println!("{} ended as {} (webhook {})", report.id, report.status, report.id());
///     StatusCode::NO_CONTENT
/// }
///
/// let key: VerifyingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// let router: Router = Router::new().route("/hooks", post(receive)).with_state(VerifyingKeys::from(key));
/// # Ok(()) }
/// # #[cfg(not(feature = "axum"))] fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    id: String,
    timestamp: SystemTime,
    body: T,
}

impl<T> Verified<T> {
    /// Returns the value of the header `webhook-id`: the id of the report, which is the same on each attempt.
    ///
    /// A second webhook with the same `webhook-id` is a repeat. The member `id` in the body is another id: the id of
    /// the request.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the value of the header `webhook-timestamp`: the time at which this attempt was signed, in whole
    /// seconds.
    pub fn timestamp(&self) -> SystemTime {
        self.timestamp
    }

    /// Returns the body of the webhook, without the id and the time.
    pub fn into_inner(self) -> T {
        self.body
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.body
    }
}

/// The reason why a webhook was not verified. You can send the error message to the webhook's sender, because the
/// message says nothing about the keys.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The receiver has called [`verify`] without a key.
    #[error("there is no key to verify with; give at least one `whsec_` secret or `whpk_` public key")]
    NoKey,
    /// A header is missing. The webhook is unsigned, or its sender does not follow Standard Webhooks.
    #[error(
        "the header `{header}` is missing; a signed webhook has webhook-id, webhook-timestamp and webhook-signature"
    )]
    Missing {
        /// The name of the header.
        header: &'static str,
    },
    /// A header occurs more than once.
    #[error("the header `{header}` occurs more than once; send it once")]
    Repeated {
        /// The name of the header.
        header: &'static str,
    },
    /// The value of a header is malformed.
    #[error("the header `{header}` must be {}", form(header))]
    Malformed {
        /// The name of the header.
        header: &'static str,
    },
    /// The webhook was signed more than 5 minutes ago. The webhook was delayed, or somebody sent an old webhook again.
    #[error(
        "the webhook was signed {seconds} s ago; the limit is {TOLERANCE_SECONDS} s; sign each attempt anew, and set the clocks"
    )]
    TooOld {
        /// How many seconds ago the webhook was signed.
        seconds: u64,
    },
    /// The webhook's time is more than 5 minutes in the future. The clock of the sender or of the receiver is wrong.
    #[error("the webhook was signed {seconds} s in the future; the limit is {TOLERANCE_SECONDS} s; set the clocks")]
    TooNew {
        /// By how many seconds the webhook's time is in the future.
        seconds: u64,
    },
    /// No signature has a version that one of the given keys can verify.
    #[error(
        "no signature has a version that is verified here: `v1` needs a `whsec_` secret, `v1a` a `whpk_` public key"
    )]
    OtherVersion,
    /// The webhook has signatures, but none of them matches its id, time and body with one of the given keys.
    #[error("no signature matches: it was made with another secret, or the body is not the signed body byte for byte")]
    Mismatch,
}

crate::line::debug_as_message!(VerifyError);

impl VerifyError {
    /// Whether a header is missing, repeated or malformed. If so, the webhook is invalid with every key and at every
    /// time.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Repeated { .. } | Self::Malformed { .. })
    }
}

/// Returns a description of the valid values of a header, for error messages.
fn form(header: &str) -> String {
    match header {
        WEBHOOK_ID => format!("1 to {MAX_ID} visible ASCII characters without a full stop"),
        WEBHOOK_TIMESTAMP => "a time in whole Unix seconds, digits only".to_owned(),
        _ => format!("at most {MAX_SIGNATURES} signatures in at most {MAX_SIGNATURE_HEADER} ASCII characters"),
    }
}

#[cfg(test)]
mod tests;
