//! Keys that verify.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ASYMMETRIC, Fault, Kind, PUBLIC, SYMMETRIC, Secret, SecretError, decode};

/// Bytes of an Ed25519 public key.
pub(crate) const PUBLIC_BYTES: usize = 32;

/// The public key of an Ed25519 [`Secret`]: `whpk_` and the base64 of 32 bytes. It verifies what that secret signs, cannot
/// sign, and may be shown to anybody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    pub(super) const fn new(bytes: [u8; PUBLIC_BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for PublicKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = decode(text.strip_prefix(PUBLIC).ok_or(Fault::NoPublicKey)?, PUBLIC)?;
        let length = bytes.len();
        Ok(Self(bytes.try_into().map_err(|_| Fault::Public { length })?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// What a receiver verifies with: the `whsec_` secret that it shares with the sender, or the sender's `whpk_` public key.
///
/// ```
/// use postback::{Secret, VerifyingKey};
///
/// let from_settings: VerifyingKey = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=".parse()?;
/// let of_a_secret = VerifyingKey::from(Secret::generate());
/// assert_eq!(format!("{of_a_secret:?}"), "VerifyingKey(…)");
/// # Ok::<(), postback::SecretError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(Either);

#[derive(Clone, PartialEq, Eq)]
enum Either {
    Shared(Box<[u8]>),
    Public(PublicKey),
}

/// Of an Ed25519 secret, only the public key is kept.
impl From<Secret> for VerifyingKey {
    fn from(secret: Secret) -> Self {
        match secret.0 {
            Kind::Symmetric(key) => Self(Either::Shared(key)),
            Kind::Asymmetric(key) => PublicKey::new(key.public_half()).into(),
        }
    }
}

impl From<PublicKey> for VerifyingKey {
    fn from(key: PublicKey) -> Self {
        Self(Either::Public(key))
    }
}

impl FromStr for VerifyingKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text {
            _ if text.starts_with(SYMMETRIC) => text.parse::<Secret>().map(Self::from),
            _ if text.starts_with(PUBLIC) => text.parse::<PublicKey>().map(Self::from),
            _ if text.starts_with(ASYMMETRIC) => Err(Fault::StaysWithSender.into()),
            _ => Err(Fault::NoVerifyingKey.into()),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Either::Shared(_) => f.write_str("VerifyingKey(…)"),
            Either::Public(key) => write!(f, "VerifyingKey({key})"),
        }
    }
}

/// Keys that [`verify`](crate::verify()) takes: [`VerifyingKey`], [`Secret`], [`PublicKey`], and references to them. Not to
/// be implemented outside.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key that a webhook is verified with",
    note = "keys are made of text by parsing: `text.parse::<postback::VerifyingKey>()?`"
)]
pub trait Verifies: sealed::Verifies {}

impl<K: sealed::Verifies + ?Sized> Verifies for K {}

mod sealed {
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is no key that a webhook is verified with",
        note = "keys are made of text by parsing: `text.parse::<postback::VerifyingKey>()?`"
    )]
    pub trait Verifies {
        #[doc(hidden)]
        fn verifier(&self) -> super::Verifier<'_>;
    }
}

/// What a signature is checked with.
#[derive(Clone, Copy)]
pub enum Verifier<'a> {
    Hmac(&'a [u8]),
    Ed25519([u8; PUBLIC_BYTES]),
}

impl sealed::Verifies for Secret {
    fn verifier(&self) -> Verifier<'_> {
        match &self.0 {
            Kind::Symmetric(key) => Verifier::Hmac(key),
            Kind::Asymmetric(key) => Verifier::Ed25519(key.public_half()),
        }
    }
}

impl sealed::Verifies for PublicKey {
    fn verifier(&self) -> Verifier<'_> {
        Verifier::Ed25519(self.0)
    }
}

impl sealed::Verifies for VerifyingKey {
    fn verifier(&self) -> Verifier<'_> {
        match &self.0 {
            Either::Shared(key) => Verifier::Hmac(key),
            Either::Public(key) => key.verifier(),
        }
    }
}

impl<K: sealed::Verifies + ?Sized> sealed::Verifies for &K {
    fn verifier(&self) -> Verifier<'_> {
        (**self).verifier()
    }
}
