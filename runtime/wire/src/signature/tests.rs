//! The published test vectors, for signing and for verifying, and signatures that do not match.

use super::*;
use crate::secret::{Verifies, VerifyingKey};

/// A test vector: a secret, its verifying key, a webhook, and the webhook's signature.
struct Vector {
    secret: &'static str,
    verifier: &'static str,
    id: &'static str,
    timestamp: i64,
    body: &'static [u8],
    signature: &'static str,
}

const FIRST: Vector = Vector {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    verifier: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: br#"{"test": 2432232314}"#,
    signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};

/// Published test vectors. Sources: the first is in the reference libraries for JavaScript, Go and Python; the second
/// is in the reference library for Rust; the third is in the tests of the server from which the specification comes.
const VECTORS: [Vector; 3] = [
    FIRST,
    Vector {
        secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        verifier: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        timestamp: 1_649_367_553,
        body: br#"{"email":"test@example.com","username":"test_user"}"#,
        signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    },
    Vector {
        secret: "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        verifier: "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        id: FIRST.id,
        timestamp: FIRST.timestamp,
        body: FIRST.body,
        signature: "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    },
];

/// The reason why a test vector's signatures are not accepted.
#[derive(Debug, PartialEq, Eq)]
enum Mismatch {
    TooMany,
    OtherVersions,
    Differ,
}

impl Vector {
    fn check(&self, keys: &[&str], signatures: &str) -> Result<(), Mismatch> {
        self.check_body(keys, signatures, self.body)
    }

    fn check_body(&self, keys: &[&str], signatures: &str, body: &[u8]) -> Result<(), Mismatch> {
        let keys: Vec<VerifyingKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
        let timestamp = self.timestamp.to_string();
        let content = Content { id: self.id, timestamp: &timestamp, body };
        check_with(&keys, signatures, &content)
    }
}

fn check_with<K: Verifies>(keys: &[K], signatures: &str, content: &Content<'_>) -> Result<(), Mismatch> {
    let signatures = Signatures::parse(signatures).ok_or(Mismatch::TooMany)?;
    if !keys.iter().any(|key| signatures.has_for(key.verifier())) {
        return Err(Mismatch::OtherVersions);
    }
    if signatures.hold(keys.iter().map(K::verifier), content) { Ok(()) } else { Err(Mismatch::Differ) }
}

#[test]
fn the_published_vectors_are_met() {
    for vector in VECTORS {
        let secret = vector.secret.parse().unwrap();
        let signed = sign(&[secret], vector.id, vector.timestamp, vector.body);
        assert_eq!(signed.as_deref(), Some(vector.signature));
        assert_eq!(vector.check(&[vector.verifier], vector.signature), Ok(()));
    }
}

#[test]
fn while_rotating_every_secret_signs_and_without_one_nobody_does() {
    let secrets: Vec<Secret> = VECTORS.iter().map(|vector| vector.secret.parse().unwrap()).collect();
    let signed = sign(&secrets, FIRST.id, FIRST.timestamp, FIRST.body).unwrap();
    let entries: Vec<&str> = signed.split(' ').collect();
    assert_eq!(entries.iter().map(|entry| entry.split_once(',').unwrap().0).collect::<Vec<_>>(), ["v1", "v1", "v1a"]);
    assert_eq!((entries[0], entries[2]), (FIRST.signature, VECTORS[2].signature));
    assert_eq!(sign(&[], "id", 1, b"{}"), None);
    for vector in VECTORS {
        assert_eq!(FIRST.check(&[vector.verifier], &signed), Ok(()), "a receiver that has one of the keys");
    }
}

#[test]
fn one_right_signature_among_others_is_enough() {
    let right = FIRST.signature;
    let (_, text) = right.split_once(',').unwrap();
    let wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let key = [FIRST.verifier];
    assert_eq!(FIRST.check(&key, &format!("{wrong} v2,{text} nonsense v1, v1,% {right} {wrong}")), Ok(()));
    assert_eq!(FIRST.check(&key, &format!(" {right}  ")), Ok(()));
    assert_eq!(FIRST.check(&[VECTORS[1].verifier, FIRST.verifier], right), Ok(()), "the second key");
    assert_eq!(FIRST.check(&key, &format!("{wrong} v2,{text}")), Err(Mismatch::Differ), "another version");
    assert_eq!(FIRST.check(&key, &format!("V1,{text} v1a,{text}")), Err(Mismatch::OtherVersions));
    assert_eq!(FIRST.check(&key, ""), Err(Mismatch::OtherVersions));
    assert_eq!(FIRST.check(&[], right), Err(Mismatch::OtherVersions));
}

#[test]
fn what_was_changed_does_not_hold() {
    for vector in VECTORS {
        let key = [vector.verifier];
        for at in 0..vector.body.len() {
            let mut body = vector.body.to_vec();
            body[at] ^= 1;
            assert_eq!(vector.check_body(&key, vector.signature, &body), Err(Mismatch::Differ));
        }
        let mut longer = vector.body.to_vec();
        longer.push(b' ');
        assert_eq!(vector.check_body(&key, vector.signature, &longer), Err(Mismatch::Differ));
        let other = Vector { timestamp: vector.timestamp + 1, ..vector };
        assert_eq!(other.check(&key, vector.signature), Err(Mismatch::Differ));
        let other = Vector { id: "msg_other", ..vector };
        assert_eq!(other.check(&key, vector.signature), Err(Mismatch::Differ));
        // The test changes the signature in five ways: cut off, lengthened, without padding, with one more letter, and
        // empty.
        let signature = vector.signature;
        let (version, encoded) = signature.split_once(',').unwrap();
        let bytes = STANDARD.decode(encoded).unwrap();
        let short = format!("{version},{}", STANDARD.encode(&bytes[..bytes.len() - 1]));
        let long = format!("{version},{}", STANDARD.encode([&bytes[..], &[0]].concat()));
        let bare = signature.trim_end_matches('=').to_owned();
        for bad in [short, long, bare, format!("{signature}A"), format!("{version},")] {
            assert_eq!(vector.check(&key, &bad), Err(Mismatch::Differ), "{bad}");
        }
    }
}

#[test]
fn a_key_of_another_kind_verifies_nothing() {
    assert_eq!(FIRST.check(&[VECTORS[2].verifier], FIRST.signature), Err(Mismatch::OtherVersions));
    assert_eq!(VECTORS[2].check(&[FIRST.verifier], VECTORS[2].signature), Err(Mismatch::OtherVersions));
    // An HMAC whose key is the bytes of the public key must not be accepted, because everybody knows the public key.
    let public = format!("whsec_{}", VECTORS[2].verifier.strip_prefix("whpk_").unwrap()).parse().unwrap();
    let forged = sign(&[public], FIRST.id, FIRST.timestamp, FIRST.body).unwrap();
    assert_eq!(FIRST.check(&[VECTORS[2].verifier], &forged), Err(Mismatch::OtherVersions));
    let as_ed25519 = forged.replace("v1,", "v1a,");
    assert_eq!(FIRST.check(&[VECTORS[2].verifier], &as_ed25519), Err(Mismatch::Differ));
}

#[test]
fn no_more_signatures_are_looked_at_than_a_sender_has() {
    let filler = "v9,x ".repeat(MAX_SIGNATURES - 1);
    assert_eq!(FIRST.check(&[FIRST.verifier], &format!("{filler}{}", FIRST.signature)), Ok(()));
    let over = format!("{filler}v9,x {}", FIRST.signature);
    assert_eq!(FIRST.check(&[FIRST.verifier], &over), Err(Mismatch::TooMany));
}
