//! Signing secrets, which are never shown.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "whsec_";

/// A symmetric signing secret, in the form that Standard Webhooks gives it: `whsec_` and the base64 of 24 to 64 bytes.
///
/// It is never shown: `Debug` prints `Secret(…)`, and there is no `Display`.
///
/// ```
/// let secret: postback::Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// # Ok::<(), postback::SecretError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The key itself.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0
    }

    /// The text form, for the store alone.
    #[cfg(any(feature = "sqlite", feature = "server"))]
    pub(crate) fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = match text.strip_prefix(PREFIX) {
            Some(encoded) => encoded,
            None if text.starts_with("whsk_") => return Err(SecretError::Asymmetric),
            None => return Err(SecretError::Prefix),
        };
        let key = STANDARD.decode(encoded).map_err(|_| SecretError::Encoding)?;
        match key.len() {
            24..=64 => Ok(Self(key.into())),
            length => Err(SecretError::Length { length }),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A text is no [`Secret`]. The message never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The prefix is missing.
    #[error("a signing secret starts with `whsec_`")]
    Prefix,
    /// An Ed25519 key, which is not supported.
    #[error("a `whsk_` key signs with Ed25519, which this version does not do; use a `whsec_` secret")]
    Asymmetric,
    /// What follows the prefix cannot be decoded.
    #[error("what follows `whsec_` is not padded standard base64")]
    Encoding,
    /// The key is too short or too long.
    #[error("a signing secret has 24 to 64 bytes, this one has {length}")]
    Length {
        /// Bytes after decoding.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_secrets_are_refused_without_being_repeated() {
        let cases = [
            ("", SecretError::Prefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix),
            ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", SecretError::Prefix),
            ("whsk_abc", SecretError::Asymmetric),
            ("whsec_%", SecretError::Encoding),
            ("whsec_c2hvcnQ=", SecretError::Length { length: 5 }),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Secret>(), Err(expected), "{text}");
        }
    }

    #[test]
    #[cfg(any(feature = "sqlite", feature = "server"))]
    fn the_stored_form_is_read_back() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(text.parse::<Secret>().unwrap().reveal(), text);
    }
}
