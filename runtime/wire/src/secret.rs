//! Signing secrets and verifying keys. Only [`Secret::reveal`] shows a secret.

mod jwk;
mod verifying;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

pub use self::verifying::{PUBLIC_BYTES, Verifier};
pub use self::verifying::{PublicKey, Verifies, VerifyingKey};

/// The first characters of the text of a secret for HMAC-SHA256.
const SYMMETRIC: &str = "whsec_";
/// The first characters of the text of an Ed25519 secret.
const ASYMMETRIC: &str = "whsk_";
/// The first characters of the text of an Ed25519 public key.
const PUBLIC: &str = "whpk_";
/// The length of a `whsec_` secret that this crate generates, in bytes. A secret that the user gives may have 24 to 64
/// bytes.
const NEW_BYTES: usize = 32;
/// The length of an Ed25519 seed, in bytes. The seed is the private key. The public key is computed from the seed.
const SEED_BYTES: usize = 32;

/// A secret that signs webhooks. Standard Webhooks defines two kinds of secrets.
///
/// - A text that begins with `whsec_` is a shared secret: 24 to 64 bytes in base64. The sender signs with HMAC-SHA256,
///   and the signature begins with `v1`. The receiver verifies with the same secret.
/// - A text that begins with `whsk_` is an Ed25519 private key in base64. The key has 32 bytes (the seed) or 64 bytes
///   (the seed and the public key). The sender signs with Ed25519, and the signature begins with `v1a`. The receiver
///   verifies with the [`PublicKey`], which cannot sign.
///
/// Only the method [`reveal`](Self::reveal) shows the secret. `Debug` prints `Secret(…)`, and `Display` is not
/// implemented.
///
/// ```
/// let secret: postback::Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// # Ok::<(), postback::SecretError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Symmetric(Box<[u8]>),
    Asymmetric(Ed25519),
}

#[derive(Clone)]
struct Ed25519 {
    seed: [u8; SEED_BYTES],
    /// The key pair that was computed from the seed. The pair is stored here, because computing the pair takes as much
    /// time as signing.
    pair: Arc<Ed25519KeyPair>,
}

impl PartialEq for Ed25519 {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed
    }
}

impl Eq for Ed25519 {}

/// The algorithm and the key with which a secret signs.
pub enum Signer<'a> {
    Hmac(&'a [u8]),
    Ed25519(&'a Ed25519KeyPair),
}

impl Secret {
    /// Makes a new secret for HMAC-SHA256, `whsec_…`: 32 random bytes from the operating system.
    ///
    /// # Panics
    ///
    /// Panics if the operating system returns no random bytes.
    ///
    /// ```
    /// let secret = postback::Secret::generate();
    /// assert!(secret.reveal().starts_with("whsec_"));
    /// ```
    pub fn generate() -> Self {
        Self(Kind::Symmetric(random::<NEW_BYTES>().into()))
    }

    /// Makes a new secret for Ed25519, `whsk_…`. Give receivers its [`public_key`](Self::public_key).
    ///
    /// # Panics
    ///
    /// Panics if the operating system returns no random bytes.
    ///
    /// ```
    /// let secret = postback::Secret::generate_ed25519();
    /// assert!(secret.reveal().starts_with("whsk_"));
    /// assert!(secret.public_key().unwrap().to_string().starts_with("whpk_"));
    /// ```
    pub fn generate_ed25519() -> Self {
        Self(Kind::Asymmetric(Ed25519::from_seed(random())))
    }

    /// Returns the public key with which receivers verify what this secret signs. Returns `None` for a `whsec_` secret,
    /// because receivers verify with the secret itself.
    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.0 {
            Kind::Symmetric(_) => None,
            Kind::Asymmetric(key) => Some(PublicKey::new(key.public_half())),
        }
    }

    /// Returns the secret as text. The text can be parsed as a `Secret` again.
    ///
    /// Everybody who has this text can sign webhooks in your name. Store the text where you store other secrets, and
    /// never log it.
    pub fn reveal(&self) -> String {
        match &self.0 {
            Kind::Symmetric(key) => format!("{SYMMETRIC}{}", STANDARD.encode(key)),
            // The text contains the seed and the public key, because other implementations expect both.
            Kind::Asymmetric(key) => {
                format!("{ASYMMETRIC}{}", STANDARD.encode([key.seed, key.public_half()].as_flattened()))
            }
        }
    }

    pub(crate) fn signer(&self) -> Signer<'_> {
        match &self.0 {
            Kind::Symmetric(key) => Signer::Hmac(key),
            Kind::Asymmetric(key) => Signer::Ed25519(&key.pair),
        }
    }
}

impl Ed25519 {
    #[expect(clippy::expect_used, reason = "any 32 bytes are a valid seed; only another length is an error")]
    fn from_seed(seed: [u8; SEED_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
        Self { seed, pair: Arc::new(pair) }
    }

    fn public_half(&self) -> [u8; PUBLIC_BYTES] {
        let mut bytes = [0; PUBLIC_BYTES];
        // Invariant: both slices have the same length, because an Ed25519 public key has 32 bytes.
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }
}

/// Returns random bytes from the operating system. A random generator inside the process is not used, because it would
/// return the same bytes in a forked process.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "the public functions document the panic; a secret that can be guessed would be worse"
    )]
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system returns no random bytes");
    bytes
}

/// Decodes the base64 that follows the prefix of a secret or key. `prefix` is used only in the error message.
fn decode(encoded: &str, prefix: &'static str) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(encoded).map_err(|_| Fault::Encoding { prefix })
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if let Some(encoded) = text.strip_prefix(SYMMETRIC) {
            let key = decode(encoded, SYMMETRIC)?;
            return match key.len() {
                24..=64 => Ok(Self(Kind::Symmetric(key.into()))),
                length => Err(Fault::Symmetric { length }.into()),
            };
        }
        if let Some(encoded) = text.strip_prefix(ASYMMETRIC) {
            let bytes = decode(encoded, ASYMMETRIC)?;
            let wrong = || Fault::Asymmetric { length: bytes.len() };
            let (seed, public) = bytes.split_first_chunk::<SEED_BYTES>().ok_or_else(wrong)?;
            let key = Ed25519::from_seed(*seed);
            return match public.len() {
                0 => Ok(Self(Kind::Asymmetric(key))),
                PUBLIC_BYTES if public == key.public_half() => Ok(Self(Kind::Asymmetric(key))),
                PUBLIC_BYTES => Err(Fault::Halves.into()),
                _ => Err(wrong().into()),
            };
        }
        Err(if text.starts_with(PUBLIC) { Fault::CannotSign } else { Fault::NoSecret }.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The reason why a text is not a valid [`Secret`], [`PublicKey`] or [`VerifyingKey`]. The error message never contains
/// the text, because the text may be a secret.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct SecretError(#[from] Fault);

crate::line::debug_as_message!(SecretError);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("a signing secret starts with `whsec_` (HMAC-SHA256) or `whsk_` (Ed25519)")]
    NoSecret,
    #[error("a `whpk_` key verifies and cannot sign; give the `whsk_` secret that belongs to this public key")]
    CannotSign,
    #[error("a public key starts with `whpk_`")]
    NoPublicKey,
    #[error("a verifying key starts with `whsec_` (HMAC-SHA256) or `whpk_` (Ed25519)")]
    NoVerifyingKey,
    #[error("a `whsk_` secret stays with the sender; give its public key, `whpk_…`, which `secret public` prints")]
    StaysWithSender,
    #[error("what follows `{prefix}` is not padded standard base64 without spaces and line breaks")]
    Encoding { prefix: &'static str },
    #[error("a `whsec_` secret has 24 to 64 bytes, but this secret has {length}")]
    Symmetric { length: usize },
    #[error("a `whsk_` secret has 32 bytes, or 64 with its public key, but this secret has {length}")]
    Asymmetric { length: usize },
    #[error(
        "the second half of this `whsk_` secret is not the public key of the first half; one of the halves has a typing error"
    )]
    Halves,
    #[error("a `whpk_` key has 32 bytes, but this key has {length}")]
    Public { length: usize },
    #[error(
        "this `whpk_` key does not belong to a secret: anybody could sign for it; ask the sender for the right key"
    )]
    Weak,
}

#[cfg(test)]
mod tests;
