//! Tests of the steps in which a signature is checked.

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"a": 1}"#;

fn headers(time: i64, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WEBHOOK_ID, "r-1".parse().unwrap());
    headers.insert(WEBHOOK_TIMESTAMP, time.into());
    headers.insert(WEBHOOK_SIGNATURE, signature.parse().unwrap());
    headers
}

fn key() -> Key {
    SECRET.parse().unwrap()
}

fn check_at(time: i64, signature: &str, body: &[u8]) -> Checked {
    check(&[key()], &headers(time, signature), body, Timestamp::from_micros(NOW * 1_000_000))
}

fn signed(time: i64, body: &[u8]) -> String {
    sign(&[SECRET.parse().unwrap()], "r-1", time, body).unwrap()
}

#[test]
fn a_good_signature_passes_each_step() {
    let checked = check_at(NOW - 3, &signed(NOW - 3, BODY), BODY);
    assert_eq!((checked.verdict, checked.wrong()), (Verdict::Valid, None));
    assert!(checked.steps.iter().all(|step| step.good == Some(true)), "{checked:?}");
    assert_eq!((checked.prefix.as_deref(), &checked.expected), (Some("r-1.1699999997."), &checked.given));
}

#[test]
fn a_wrong_clock_is_told_apart_from_a_wrong_signature() {
    let checked = check_at(NOW + 400, &signed(NOW + 400, BODY), BODY);
    assert_eq!(checked.verdict, Verdict::Invalid);
    assert!(checked.wrong().unwrap().contains("400 s in the future"), "{checked:?}");
    assert_eq!(checked.steps.last().unwrap().good, Some(true));
}

#[test]
fn usual_mistakes_are_named() {
    use ring::hmac;
    let told = |signature: &str, body: &[u8]| check_at(NOW, signature, body).wrong().unwrap().to_owned();
    for (signed_body, sent, why) in [
        (&br#"{"a":1}"#[..], BODY, "without blanks"),
        (BODY, &br#"{"a":1}"#[..], "with blanks"),
        (b"x\n", b"x", "with a line break"),
        (b"x", b"x\n", "without the line break"),
        (b"", b"x", "an empty body"),
        (b"y", b"x", "made with another secret"),
    ] {
        let told = told(&signed(NOW, signed_body), sent);
        assert!(told.contains(why), "{told}");
    }
    let made = |key: &[u8], content: &str| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), content.as_bytes());
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag)
    };
    let content = format!("r-1.{NOW}.x");
    let base64 = SECRET.strip_prefix("whsec_").unwrap();
    assert!(told(&format!("v1,{}", made(SECRET.as_bytes(), &content)), b"x").contains("whole text of the secret"));
    assert!(told(&format!("v1,{}", made(base64.as_bytes(), &content)), b"x").contains("base64 text of the secret"));
    assert!(told("v2,abc", b"x").contains("no signature has a version"));
    assert!(told("v1,abc", &vec![b'x'; 2 << 20]).contains("too large"));
}

#[test]
fn without_a_key_or_a_signature_nothing_is_claimed() {
    let unchecked = check(&[], &headers(NOW, "v1,x"), BODY, Timestamp::from_micros(NOW * 1_000_000));
    assert_eq!((unchecked.verdict, unchecked.wrong()), (Verdict::Unchecked, None));
    let unsigned = check(&[key()], &HeaderMap::new(), BODY, Timestamp::default());
    assert_eq!((unsigned.verdict, unsigned.wrong()), (Verdict::Unsigned, None));
}

#[test]
fn hostile_headers_are_told_and_bounded() {
    let mut twice = headers(NOW, "v1,x");
    twice.append(WEBHOOK_ID, "r-2".parse().unwrap());
    let checked = check(&[key()], &twice, BODY, Timestamp::default());
    assert!(checked.wrong().unwrap().contains("more than once"), "{checked:?}");
    for (time, signature) in [(i64::MIN, "v1,x"), (i64::MAX, ""), (NOW, "é"), (NOW, &"v1,x ".repeat(10_000))] {
        let checked = check_at(time, signature, BODY);
        assert_ne!(checked.verdict, Verdict::Valid);
        assert!(checked.shown().to_string().len() < 10_000);
    }
}
