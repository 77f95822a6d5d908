//! Signatures, as the Standard Webhooks specification 1.0.0 defines them. No clock, no I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::Sha256;

use crate::secret::{Secret, Signer, Verifier};

/// Version of an HMAC-SHA256 in `webhook-signature`.
const SYMMETRIC: &str = "v1";
/// Version of an Ed25519 signature.
const ASYMMETRIC: &str = "v1a";
/// The most signatures that are looked at: a sender has as many as secrets, and each costs a pass over the body.
pub(crate) const MAX_SIGNATURES: usize = 16;

/// The value of `webhook-signature`: one entry per secret (`v1,…` or `v1a,…`), separated by single spaces; `None` without a
/// secret.
///
/// Signed is `{id}.{timestamp}.{body}`, the body byte for byte as it is sent, the timestamp in Unix seconds.
pub(crate) fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let timestamp = timestamp.to_string();
    let content = Content { id, timestamp: &timestamp, body };
    let mut whole = None;
    let entries: Vec<_> = secrets.iter().filter_map(|secret| entry(secret, &content, &mut whole)).collect();
    (!entries.is_empty()).then(|| entries.join(" "))
}

fn entry(secret: &Secret, content: &Content<'_>, whole: &mut Option<Vec<u8>>) -> Option<String> {
    Some(match secret.signer() {
        Signer::Hmac(key) => format!("{SYMMETRIC},{}", STANDARD.encode(content.mac(key)?.finalize().into_bytes())),
        Signer::Ed25519(pair) => {
            let whole = whole.get_or_insert_with(|| content.whole());
            format!("{ASYMMETRIC},{}", STANDARD.encode(pair.sign(whole)))
        }
    })
}

/// What is signed.
pub(crate) struct Content<'a> {
    pub(crate) id: &'a str,
    /// As it is written in the header.
    pub(crate) timestamp: &'a str,
    pub(crate) body: &'a [u8],
}

impl Content<'_> {
    /// Invariant: HMAC takes a key of any length, so there always is one.
    fn mac(&self, key: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        self.pieces().into_iter().for_each(|piece| mac.update(piece));
        Some(mac)
    }

    /// In one piece: Ed25519 goes over it twice.
    fn whole(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    fn pieces(&self) -> [&[u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", self.body]
    }
}

/// The value of `webhook-signature`, taken apart. Entries of versions that are not known are passed over, for a sender may have
/// more of them than a receiver knows.
pub(crate) struct Signatures {
    macs: Vec<Vec<u8>>,
    ed25519: Vec<Vec<u8>>,
}

impl Signatures {
    /// `None` if there are more than [`MAX_SIGNATURES`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut macs, mut ed25519, mut count) = (Vec::new(), Vec::new(), 0);
        for entry in text.split(' ').filter(|entry| !entry.is_empty()) {
            count += 1;
            if count > MAX_SIGNATURES {
                return None;
            }
            // One that cannot be decoded is of its version, and holds for no key.
            let decoded = |encoded| STANDARD.decode(encoded).unwrap_or_default();
            match entry.split_once(',') {
                Some((SYMMETRIC, encoded)) => macs.push(decoded(encoded)),
                Some((ASYMMETRIC, encoded)) => ed25519.push(decoded(encoded)),
                _ => {}
            }
        }
        Some(Self { macs, ed25519 })
    }

    /// Whether one of them is of the version that this key verifies.
    pub(crate) fn has_for(&self, key: Verifier<'_>) -> bool {
        match key {
            Verifier::Hmac(_) => !self.macs.is_empty(),
            Verifier::Ed25519(_) => !self.ed25519.is_empty(),
        }
    }

    /// Whether one of them was made with one of these keys for this content.
    pub(crate) fn hold<'k>(&self, mut keys: impl Iterator<Item = Verifier<'k>>, content: &Content<'_>) -> bool {
        let mut whole = None;
        keys.any(|key| match key {
            Verifier::Hmac(key) => {
                // In constant time: how long it takes does not tell how much of a guess was right.
                let holds = |mac: Hmac<Sha256>| self.macs.iter().any(|given| mac.clone().verify_slice(given).is_ok());
                !self.macs.is_empty() && content.mac(key).is_some_and(holds)
            }
            Verifier::Ed25519(key) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                let mut holds =
                    |given: &Vec<u8>| key.verify(whole.get_or_insert_with(|| content.whole()), given).is_ok();
                self.ed25519.iter().any(&mut holds)
            }
        })
    }
}

#[cfg(test)]
mod tests;
