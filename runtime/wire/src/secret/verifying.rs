//! Keys that verify signatures.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ASYMMETRIC, Fault, Kind, PUBLIC, SYMMETRIC, Secret, SecretError, decode};

/// The length of an Ed25519 public key, in bytes.
pub const PUBLIC_BYTES: usize = 32;

/// The public key of an Ed25519 [`Secret`]: `whpk_` and the base64 of 32 bytes.
///
/// The public key verifies what the secret signs, and cannot sign. You may show the public key to everybody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    pub(super) const fn new(bytes: [u8; PUBLIC_BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &[u8; PUBLIC_BYTES] {
        &self.0
    }
}

/// The y coordinates of the eight points of small order. If a public key is such a point, everybody can make valid
/// signatures without a secret.
const SMALL_ORDER: [[u8; PUBLIC_BYTES]; 5] = [
    // The next three y coordinates are 0, 1 and -1. They belong to the points of order 4, 1 and 2.
    [0; PUBLIC_BYTES],
    little_endian(1, 0, 0),
    little_endian(0xec, 0xff, 0x7f),
    // The next two y coordinates belong to the points of order 8.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// The prime number of the field of Ed25519: 2^255 - 19.
const PRIME: [u8; PUBLIC_BYTES] = little_endian(0xed, 0xff, 0x7f);

const fn little_endian(first: u8, between: u8, last: u8) -> [u8; PUBLIC_BYTES] {
    let mut bytes = [between; PUBLIC_BYTES];
    bytes[0] = first;
    bytes[PUBLIC_BYTES - 1] = last;
    bytes
}

/// Whether a public key has small order, or is not encoded as RFC 8032 says.
///
/// A public key that is computed from a secret is never weak. The encoding is checked, because an unusual encoding
/// could hide a key of small order.
fn is_weak(mut key: [u8; PUBLIC_BYTES]) -> bool {
    // This line removes the highest bit, which is the sign of the x coordinate.
    key[PUBLIC_BYTES - 1] &= 0x7f;
    let is_reduced = key.iter().rev().lt(PRIME.iter().rev());
    !is_reduced || SMALL_ORDER.contains(&key)
}

impl FromStr for PublicKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = decode(text.strip_prefix(PUBLIC).ok_or(Fault::NoPublicKey)?, PUBLIC)?;
        let length = bytes.len();
        let key: [u8; PUBLIC_BYTES] = bytes.try_into().map_err(|_| Fault::Public { length })?;
        if is_weak(key) { Err(Fault::Weak.into()) } else { Ok(Self(key)) }
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

/// A key with which a receiver verifies webhooks: a `whsec_` secret that the receiver shares with the sender, or the
/// sender's `whpk_` key.
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

/// The verifying key that is made from a `whsec_` secret contains the whole secret. The verifying key that is made from
/// a `whsk_` secret contains only the public key.
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

/// A type of key that you can give to [`verify`](crate::verify()): [`VerifyingKey`], [`Secret`], [`PublicKey`], or a
/// reference to one of them.
///
/// The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key that verifies webhooks",
    note = "parse a text to get a key: `text.parse::<postback::VerifyingKey>()?`"
)]
pub trait Verifies: sealed::Verifies {}

impl<K: sealed::Verifies + ?Sized> Verifies for K {}

mod sealed {
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is not a key that verifies webhooks",
        note = "parse a text to get a key: `text.parse::<postback::VerifyingKey>()?`"
    )]
    pub trait Verifies {
        #[doc(hidden)]
        fn verifier(&self) -> super::Verifier<'_>;
    }
}

/// The algorithm and the key with which a signature is verified.
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
