//! The receiver's side: whether a webhook comes from who has the secret, and is no old one sent again.

#[cfg(feature = "server")]
mod extract;
mod received;
mod sign;

use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

#[cfg(feature = "server")]
pub use self::extract::{VerifiedRejection, VerifyingKeys};
pub use self::received::ReceivedReport;
pub use self::sign::{SignError, sign};
use crate::names::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::secret::Verifies;
use crate::signature::{Content, MAX_SIGNATURES, Signatures};
use crate::time::{Clock, Timestamp};

/// How far the time of a webhook may be from the receiver's, either way.
const TOLERANCE_SECONDS: u64 = 300;
const MAX_ID: usize = 256;
const MAX_SIGNATURE_HEADER: usize = 4_096;
/// Digits that hold every time up to the year 33,658.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// Verifies a webhook that came with these headers and this body: that its signature was made with one of the keys, and
/// at most 5 minutes ago or, for clocks differ, ahead.
///
/// The body must be the bytes that came, not what a JSON parser made of them. A key is a [`VerifyingKey`], a [`Secret`] or a
/// [`PublicKey`]; with several, one that matches is enough, so that a secret can be replaced while webhooks are on their way.
/// Of several signatures likewise; those of versions other than `v1` (HMAC-SHA256) and `v1a` (Ed25519) are passed over.
/// Signatures are compared in constant time.
///
/// A webhook that is genuine may still come twice: tell repeats by [`Verified::id`].
///
/// [`VerifyingKey`]: crate::VerifyingKey
/// [`Secret`]: crate::Secret
/// [`PublicKey`]: crate::PublicKey
///
/// # Errors
///
/// [`VerifyError`] says what is wrong: answer 401, or 400 where it [is malformed](VerifyError::is_malformed).
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

/// The same at a time of the caller's.
pub(crate) fn verify_at<'b, K: Verifies>(
    keys: &[K],
    headers: &HeaderMap,
    body: &'b [u8],
    now: Timestamp,
) -> Result<Verified<&'b [u8]>, VerifyError> {
    head(keys, headers, now)?.verify(keys, body)
}

/// The headers of a webhook that may be genuine, as far as can be told without its body.
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
    // Before the signatures: it costs less.
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

/// The header's one value. Two would leave it to chance which of them counts here and which further on.
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

/// Invariant: no full stop. It separates what is signed, so that an id that took in the time, and a time that was the start
/// of the body, would have the signature of another webhook.
fn valid_id(id: &str) -> Option<&str> {
    let is_valid = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    is_valid.then_some(id)
}

fn seconds(text: &str) -> Option<u64> {
    let digits = (1..=MAX_TIMESTAMP_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A webhook whose signature holds: its body, its id and its time. Dereferences to the body.
///
/// Made by [`verify`], or, with the feature `server`, as an axum extractor: `Verified<T>` verifies the body and then reads
/// it as JSON into a `T: DeserializeOwned`, such as [`ReceivedReport`]; `Verified<Bytes>` leaves it as it came. The keys are
/// taken from the router's state, as `VerifyingKeys`. The body is read only if its headers can be those of a genuine webhook, and
/// no more of it than axum's `DefaultBodyLimit` says.
///
/// ```
/// # #[cfg(feature = "server")] fn main() -> Result<(), Box<dyn std::error::Error>> {
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
/// # #[cfg(not(feature = "server"))] fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    id: String,
    timestamp: SystemTime,
    body: T,
}

impl<T> Verified<T> {
    /// The header `webhook-id`: one per report and the same on every try, so a second webhook with it is a repeat.
    ///
    /// Not the `id` in a report's body, which is the request's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The header `webhook-timestamp`: when this try was signed, in whole seconds.
    pub fn timestamp(&self) -> SystemTime {
        self.timestamp
    }

    /// The body.
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

/// Why a webhook was not verified. The message is fit for the sender: it tells nothing about the keys.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The receiver has no key.
    #[error("there is no key to verify with; give at least one `whsec_` secret or `whpk_` public key")]
    NoKey,
    /// A header is not there: the webhook is unsigned, or no Standard Webhook.
    #[error(
        "the header `{header}` is missing; a signed webhook has webhook-id, webhook-timestamp and webhook-signature"
    )]
    Missing {
        /// Its name.
        header: &'static str,
    },
    /// A header is there more than once.
    #[error("the header `{header}` is there more than once; send it once")]
    Repeated {
        /// Its name.
        header: &'static str,
    },
    /// A header is not in its form.
    #[error("the header `{header}` must be {}", form(header))]
    Malformed {
        /// Its name.
        header: &'static str,
    },
    /// It was signed more than 5 minutes ago: held up on its way, or an old one sent again.
    #[error(
        "the webhook was signed {seconds} s ago, more than the {TOLERANCE_SECONDS} s that are allowed; sign each try anew, or set the clocks"
    )]
    TooOld {
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// It was signed more than 5 minutes ahead: one of the clocks is wrong.
    #[error(
        "the webhook was signed {seconds} s ahead, more than the {TOLERANCE_SECONDS} s that are allowed; set the clocks"
    )]
    TooNew {
        /// How far ahead, in seconds.
        seconds: u64,
    },
    /// No signature is of a kind that the keys verify.
    #[error(
        "no signature is of a kind that is verified here: `v1` takes a `whsec_` secret, `v1a` a `whpk_` public key"
    )]
    OtherVersion,
    /// No signature holds.
    #[error("no signature matches: it was made with another secret, or the body is not byte for byte what was signed")]
    Mismatch,
}

crate::line::debug_as_message!(VerifyError);

impl VerifyError {
    /// The headers are not those of a signed webhook, whatever the keys and the time are.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Repeated { .. } | Self::Malformed { .. })
    }
}

/// What a header has to be.
fn form(header: &str) -> String {
    match header {
        WEBHOOK_ID => format!("1 to {MAX_ID} visible ASCII characters without a full stop"),
        WEBHOOK_TIMESTAMP => "a time in whole Unix seconds, digits only".to_owned(),
        _ => format!("at most {MAX_SIGNATURES} signatures in at most {MAX_SIGNATURE_HEADER} ASCII characters"),
    }
}

#[cfg(test)]
mod tests;
