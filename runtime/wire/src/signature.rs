//! Makes and checks signatures as the Standard Webhooks specification 1.0.0 defines them. Reads no clock and does no
//! I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use crate::line::hex;
use crate::secret::{Secret, Signer, Verifier};

/// The version of an HMAC-SHA256 signature, which precedes the signature in the header `webhook-signature`.
const SYMMETRIC: &str = "v1";
/// The version of an Ed25519 signature, which precedes the signature in the header `webhook-signature`.
const ASYMMETRIC: &str = "v1a";
/// The largest number of signatures in the header `webhook-signature`. A sender sends one signature per secret. A
/// header with more signatures is refused, because the verification of each signature reads the whole body.
pub const MAX_SIGNATURES: usize = 16;

/// Signs a webhook, and returns the value of the header `webhook-signature`: one entry per secret (`v1,…` or `v1a,…`),
/// separated by single spaces.
///
/// Returns `None` if there is no secret. The signed text is `{id}.{timestamp}.{body}`, with the body byte for byte as
/// it is sent, and the timestamp in Unix seconds.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let timestamp = timestamp.to_string();
    let content = Content { id, timestamp: &timestamp, body };
    let mut whole = None;
    let entries: Vec<_> = secrets.iter().filter_map(|secret| entry(secret, &content, &mut whole)).collect();
    (!entries.is_empty()).then(|| entries.join(" "))
}

/// Signs a webhook as fal does, with the first Ed25519 key: the hex digits of the signature of request id, user id,
/// timestamp and the hex digits of the SHA-256 of the body, one per line. `None`: there is no such key.
pub fn sign_as_fal(secrets: &[Secret], request: &str, user: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let pair = secrets.iter().find_map(|secret| match secret.signer() {
        Signer::Ed25519(pair) => Some(pair),
        Signer::Hmac(_) => None,
    })?;
    let text = format!("{request}\n{user}\n{timestamp}\n{}", hex(&Sha256::digest(body)));
    Some(hex(pair.sign(text.as_bytes()).as_ref()))
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

/// The parts of the text that a webhook's signature signs: id, timestamp and body.
pub struct Content<'a> {
    pub id: &'a str,
    /// The timestamp, exactly as the text in the header `webhook-timestamp`.
    pub timestamp: &'a str,
    pub body: &'a [u8],
}

impl Content<'_> {
    /// Computes the HMAC-SHA256 of the signed text. Invariant: the result is never `None`, because HMAC accepts keys of
    /// every length.
    fn mac(&self, key: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        self.pieces().into_iter().for_each(|piece| mac.update(piece));
        Some(mac)
    }

    /// Returns the signed text as one sequence of bytes. Ed25519 needs this, because the algorithm reads the text
    /// twice.
    fn whole(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    fn pieces(&self) -> [&[u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", self.body]
    }
}

/// The parsed value of the header `webhook-signature`.
///
/// Entries of unknown versions are skipped, because a sender may add signatures of newer versions.
pub struct Signatures {
    macs: Vec<Vec<u8>>,
    ed25519: Vec<Vec<u8>>,
}

impl Signatures {
    /// Parses the value of the header. Returns `None` if the value has more than [`MAX_SIGNATURES`] entries.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut macs, mut ed25519, mut count) = (Vec::new(), Vec::new(), 0);
        for entry in text.split(' ').filter(|entry| !entry.is_empty()) {
            count += 1;
            if count > MAX_SIGNATURES {
                return None;
            }
            // An entry that is not base64 becomes an empty signature of the entry's version. An empty signature matches
            // no key.
            let decoded = |encoded| STANDARD.decode(encoded).unwrap_or_default();
            match entry.split_once(',') {
                Some((SYMMETRIC, encoded)) => macs.push(decoded(encoded)),
                Some((ASYMMETRIC, encoded)) => ed25519.push(decoded(encoded)),
                _ => {}
            }
        }
        Some(Self { macs, ed25519 })
    }

    /// Whether one of the signatures has the version that the given key verifies.
    pub fn has_for(&self, key: Verifier<'_>) -> bool {
        match key {
            Verifier::Hmac(_) => !self.macs.is_empty(),
            Verifier::Ed25519(_) => !self.ed25519.is_empty(),
        }
    }

    /// Whether one of the signatures was made with one of the given keys for the given content.
    pub fn hold<'k>(&self, mut keys: impl Iterator<Item = Verifier<'k>>, content: &Content<'_>) -> bool {
        let mut whole = None;
        keys.any(|key| match key {
            Verifier::Hmac(key) => {
                // The signatures are compared in constant time. Otherwise a sender of forged signatures could measure
                // how many bytes are right.
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
