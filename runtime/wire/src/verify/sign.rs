//! Signs a webhook, for tests of a receiver.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{TOLERANCE_SECONDS, malformed, valid_id};
use crate::names::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::secret::Secret;
use crate::signature;

/// Signs a webhook with this body, and returns its three headers: `webhook-id`, `webhook-timestamp` and
/// `webhook-signature`.
///
/// [Standard Webhooks](https://www.standardwebhooks.com) defines these headers. Use this function to test a receiver:
/// send the headers and the body, and check the answer. The `Poster` and the workload server sign their webhooks
/// themselves.
///
/// The header `webhook-signature` has one signature per secret. Give the old and the new secret to test a receiver
/// while a secret is being replaced. `at` is the time of the signature. If `at` differs from the current time by more
/// than 5 minutes, [`verify`] returns an error. So you can test that your receiver refuses old webhooks.
///
/// [`verify`]: crate::verify()
///
/// # Errors
///
/// Returns an error if there is no secret; if the id is not 1 to 256 visible ASCII characters without a full stop; or
/// if the time is before 1970.
///
/// ```
/// use std::time::SystemTime;
///
/// use postback::{Secret, VerifyingKey, sign, verify};
///
/// let secret = Secret::generate();
/// let body = br#"{"id":"job-7","status":"failed"}"#;
/// let headers = sign(&[secret.clone()], "test-1", SystemTime::now(), body)?;
/// assert_eq!(verify(&[VerifyingKey::from(secret)], &headers, body)?.id(), "test-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign(
    secrets: &[Secret],
    webhook_id: &str,
    at: SystemTime,
    body: impl AsRef<[u8]>,
) -> Result<HeaderMap, SignError> {
    let id = valid_id(webhook_id).ok_or(SignError::Id)?;
    let seconds = at.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    let seconds = seconds.ok_or(SignError::Time)?;
    let signatures = signature::sign(secrets, id, seconds, body.as_ref()).ok_or(SignError::NoSecret)?;
    let mut headers = HeaderMap::with_capacity(3);
    for (name, value) in [(WEBHOOK_ID, id), (WEBHOOK_TIMESTAMP, &seconds.to_string()), (WEBHOOK_SIGNATURE, &signatures)]
    {
        // Invariant: making the header value does not fail, because the three values have only visible ASCII characters
        // and spaces.
        let value = HeaderValue::from_str(value).map_err(|_| SignError::Id)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// The reason why [`sign`] returned an error.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The caller gave no secret.
    #[error("there is no secret to sign with; give at least one, such as `Secret::generate()`")]
    NoSecret,
    /// The id is not valid as a `webhook-id`.
    #[error("{}", malformed(WEBHOOK_ID))]
    Id,
    /// The time is not valid as a `webhook-timestamp`.
    #[error("the time of the signature is before 1970; give a time within {TOLERANCE_SECONDS} s of now")]
    Time,
}

crate::line::debug_as_message!(SignError);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secret::VerifyingKey;
    use crate::time::Clock;
    use crate::verify::{VerifyError, verify};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(Clock::system().now().unix_seconds()).unwrap())
    }

    #[test]
    fn what_is_signed_is_verified_with_each_secret_and_for_this_body_alone() {
        let secrets = [Secret::generate(), Secret::generate()];
        let headers = sign(&secrets, "id-1", now(), "{}").unwrap();
        for secret in secrets {
            let keys = [VerifyingKey::from(secret)];
            assert_eq!(verify(&keys, &headers, b"{}").unwrap().id(), "id-1");
            assert_eq!(verify(&keys, &headers, b"{ }").unwrap_err(), VerifyError::Mismatch);
        }
    }

    #[test]
    fn an_old_one_is_refused_by_the_receiver() {
        let secret = Secret::generate();
        let headers = sign(std::slice::from_ref(&secret), "id-1", now() - Duration::from_hours(1), "{}").unwrap();
        let refused = verify(&[VerifyingKey::from(secret)], &headers, b"{}").unwrap_err();
        assert!(matches!(refused, VerifyError::TooOld { .. }), "{refused}");
    }

    #[test]
    fn what_could_not_be_sent_is_not_signed() {
        let secrets = [Secret::generate()];
        assert_eq!(sign(&[], "id-1", now(), "{}").unwrap_err(), SignError::NoSecret);
        for id in ["", "a.b", "a b", "ä", &"x".repeat(257)] {
            assert_eq!(sign(&secrets, id, now(), "{}").unwrap_err(), SignError::Id, "{id}");
        }
        assert_eq!(sign(&secrets, "a", UNIX_EPOCH - Duration::from_secs(1), "{}").unwrap_err(), SignError::Time);
        assert!(SignError::Id.to_string().contains("webhook-id"));
    }
}
