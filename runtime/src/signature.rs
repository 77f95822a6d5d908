//! Signing, as the Standard Webhooks specification 1.0.0 defines it. No clock, no I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// The value of `webhook-signature`: one `v1,…` entry per secret, separated by single spaces; `None` without a secret.
///
/// Signed is `{id}.{timestamp}.{body}`, the body byte for byte as it is sent, the timestamp in Unix seconds.
pub(crate) fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let entries: Vec<_> = secrets.iter().filter_map(|secret| entry(secret, id, timestamp, body)).collect();
    (!entries.is_empty()).then(|| entries.join(" "))
}

fn entry(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    // Invariant: HMAC takes a key of any length, so there is always an entry.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.key()).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.parse().unwrap()
    }

    #[test]
    fn the_published_vectors_are_met() {
        // The first is in the reference libraries for JavaScript, Go and Python, the second in the one for Rust.
        let signed = sign(
            &[secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let signed = sign(
            &[secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")],
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            br#"{"email":"test@example.com","username":"test_user"}"#,
        );
        assert_eq!(signed.unwrap(), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn while_rotating_every_secret_signs_and_without_one_nobody_does() {
        let (a, b) =
            (secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
        let signed = sign(&[a, b], "id", 1, b"{}").unwrap();
        assert_eq!(signed.split(' ').count(), 2);
        assert!(signed.split(' ').all(|entry| entry.starts_with("v1,")));
        assert_eq!(sign(&[], "id", 1, b"{}"), None);
    }
}
