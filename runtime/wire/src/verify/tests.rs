//! Which webhooks pass verification, and which do not.

use http::HeaderValue;

use super::*;
use crate::secret::{PublicKey, Secret, Signer, Verifier, VerifyingKey};
use crate::signature;

const BODY: &[u8] = br#"{"id":"a","status":"completed"}"#;
const ID: &str = "0193a4c2-7b1e-7c3a-9c1d-0123456789ab";
const NOW: i64 = 1_795_420_800;

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000 + 999_999)
}

fn signed_with(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> HeaderMap {
    let signature = signature::sign(secrets, id, timestamp, body).unwrap();
    let text = |value: &str| HeaderValue::try_from(value).unwrap();
    HeaderMap::from_iter([
        (http::HeaderName::from_static(WEBHOOK_ID), text(id)),
        (http::HeaderName::from_static(WEBHOOK_TIMESTAMP), text(&timestamp.to_string())),
        (http::HeaderName::from_static(WEBHOOK_SIGNATURE), text(&signature)),
    ])
}

fn signed() -> HeaderMap {
    signed_with(&[secret()], ID, NOW, BODY)
}

fn refused(headers: &HeaderMap) -> VerifyError {
    verify_at(&[secret()], headers, BODY, now()).unwrap_err()
}

#[test]
fn a_verified_webhook_has_its_body_id_and_time() {
    let headers = signed();
    let webhook = verify_at(&[secret()], &headers, BODY, now()).unwrap();
    assert_eq!((webhook.id(), *webhook, webhook.len()), (ID, BODY, BODY.len()));
    assert_eq!(webhook.timestamp().duration_since(UNIX_EPOCH).unwrap().as_secs(), NOW.unsigned_abs());
    assert_eq!(webhook.into_inner(), BODY);
}

#[test]
fn every_kind_of_key_verifies_and_one_that_matches_is_enough() {
    let (old, new) = (Secret::generate(), Secret::generate_ed25519());
    let headers = signed_with(&[old.clone(), new.clone()], ID, NOW, BODY);
    let public = new.public_key().unwrap();
    let keys: Vec<VerifyingKey> = vec![Secret::generate().into(), old.clone().into()];
    verify_at(&keys, &headers, BODY, now()).unwrap();
    verify_at(&[&old], &headers, BODY, now()).unwrap();
    verify_at(&[new], &headers, BODY, now()).unwrap();
    verify_at::<PublicKey>(&[public], &headers, BODY, now()).unwrap();
    let others = [VerifyingKey::from(Secret::generate()), Secret::generate_ed25519().into()];
    assert_eq!(verify_at(&others, &headers, BODY, now()), Err(VerifyError::Mismatch));
    assert_eq!(verify_at::<Secret>(&[], &headers, BODY, now()), Err(VerifyError::NoKey));
}

#[test]
fn the_clock_of_the_machine_is_asked() {
    let secrets = [secret()];
    let seconds = Clock::system().now().unix_seconds();
    let headers = signed_with(&secrets, ID, seconds, BODY);
    verify(&secrets, &headers, BODY).unwrap();
    verify(&Vec::from([secret()]), &headers, &bytes::Bytes::from_static(BODY)).unwrap();
    verify(&secrets, &headers, std::str::from_utf8(BODY).unwrap()).unwrap();
    let old = signed_with(&secrets, ID, seconds - 400, BODY);
    assert!(matches!(verify(&secrets, &old, BODY), Err(VerifyError::TooOld { seconds: 400.. })));
}

#[test]
fn five_minutes_either_way_are_allowed_and_no_second_more() {
    let at = |seconds| {
        let headers = signed_with(&[secret()], ID, NOW + seconds, BODY);
        verify_at(&[secret()], &headers, BODY, now()).map(drop)
    };
    assert_eq!((at(-300), at(300)), (Ok(()), Ok(())));
    assert_eq!(at(-301), Err(VerifyError::TooOld { seconds: 301 }));
    assert_eq!(at(301), Err(VerifyError::TooNew { seconds: 301 }));
    // The difference between two times must not overflow, even if one of the times is extreme.
    for wild in [i64::MIN, -1, 0, i64::MAX] {
        let verified = verify_at(&[secret()], &signed(), BODY, Timestamp::from_micros(wild));
        assert!(matches!(verified, Err(VerifyError::TooOld { .. } | VerifyError::TooNew { .. })));
    }
}

#[test]
fn another_secret_or_body_or_header_does_not_match() {
    let headers = signed();
    assert_eq!(verify_at(&[Secret::generate()], &headers, BODY, now()), Err(VerifyError::Mismatch));
    assert_eq!(verify_at(&[secret()], &headers, b"{}", now()), Err(VerifyError::Mismatch));
    let key = Secret::generate_ed25519();
    assert_eq!(verify_at(&[key], &headers, BODY, now()), Err(VerifyError::OtherVersion));
    for (header, value) in
        [(WEBHOOK_ID, "0193a4c2"), (WEBHOOK_TIMESTAMP, "1795420799"), (WEBHOOK_TIMESTAMP, "01795420800")]
    {
        let mut headers = signed();
        headers.insert(header, HeaderValue::from_static(value));
        assert_eq!(refused(&headers), VerifyError::Mismatch, "{header}: {value}");
    }
}

#[test]
fn headers_that_are_missing_or_repeated_are_named() {
    for header in [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE] {
        let mut headers = signed();
        let value = headers.get(header).unwrap().clone();
        headers.append(header, value);
        assert_eq!(refused(&headers), VerifyError::Repeated { header });
        headers.remove(header);
        assert_eq!(refused(&headers), VerifyError::Missing { header });
        assert!(refused(&headers).is_malformed());
        assert!(refused(&headers).to_string().starts_with(&format!("the header `{header}` is missing; ")));
    }
}

#[test]
fn headers_out_of_form_are_named_with_their_form() {
    let many = "v1,x ".repeat(MAX_SIGNATURES + 1);
    let long = "x".repeat(MAX_SIGNATURE_HEADER + 1);
    let long_id = "x".repeat(MAX_ID + 1);
    let cases: [(&str, &[&str]); 3] = [
        (WEBHOOK_ID, &["", "a b", "a.b", "ü", &long_id]),
        (WEBHOOK_TIMESTAMP, &["", "soon", "+1795420800", "-1", "1795420800.5", " 1795420800", "1795420800000000000"]),
        (WEBHOOK_SIGNATURE, &[&many, &long, "ü"]),
    ];
    for (header, values) in cases {
        for value in values {
            let mut headers = signed();
            headers.insert(header, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let error = refused(&headers);
            assert!(matches!(error, VerifyError::Malformed { header: named } if named == header), "{header}: {value}");
            assert!(error.is_malformed() && error.to_string().starts_with(&format!("the header `{header}` must be ")));
        }
    }
}

#[test]
fn a_part_of_one_webhook_is_not_taken_for_another() {
    // The signed text is `id.time.body`. The body in this test begins with a text that could be the time of another
    // webhook.
    let body = format!("{NOW}.25");
    let old = NOW - 86_400;
    let genuine = signed_with(&[secret()], ID, old, body.as_bytes());
    let mut shifted = genuine.clone();
    shifted.insert(WEBHOOK_ID, HeaderValue::try_from(format!("{ID}.{old}")).unwrap());
    shifted.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(NOW));
    // This id, time and body have the same signed text as the webhook above. If ids could have full stops, the
    // signature of the webhook above would be valid for them.
    let content = Content { id: &format!("{ID}.{old}"), timestamp: &NOW.to_string(), body: b"25" };
    let signatures = genuine[WEBHOOK_SIGNATURE].to_str().unwrap();
    let secret = secret();
    let Signer::Hmac(key) = secret.signer() else { panic!("a shared secret") };
    assert!(Signatures::parse(signatures).unwrap().hold([Verifier::Hmac(key)].into_iter(), &content));
    let verified = verify_at(&[secret], &shifted, b"25", now());
    assert_eq!(verified, Err(VerifyError::Malformed { header: WEBHOOK_ID }));
}

#[test]
fn what_the_sender_is_told_names_no_key() {
    let errors = [
        VerifyError::TooOld { seconds: 301 },
        VerifyError::TooNew { seconds: 301 },
        VerifyError::OtherVersion,
        VerifyError::Mismatch,
    ];
    for error in errors {
        assert!(!error.is_malformed());
        assert!(error.to_string().starts_with(|c: char| c.is_lowercase()));
    }
    assert!(VerifyError::TooOld { seconds: 301 }.to_string().contains("301 s ago; the limit is 300 s"));
}
