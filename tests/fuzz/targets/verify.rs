//! Fuzzes the verification of signatures: an unsigned webhook never passes, and a signed one passes until one bit
//! changes.
#![no_main]

use arbitrary::Arbitrary;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use postback::{__fuzz, Secret, VerifyingKey};

const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const NOW: i64 = 1_795_420_800;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Numbers of headers, and their values.
    headers: Vec<(u8, &'a [u8])>,
    /// Whether to set the timestamp to now, so that the checks after that of the time are reached.
    in_time: bool,
    body: &'a [u8],
    /// The difference between the time of a genuine webhook and now, in seconds.
    seconds: i16,
    /// The number of the bit in the body that is changed.
    flipped: u16,
}

fn headers(values: [&str; 3]) -> HeaderMap {
    let pairs = NAMES.into_iter().zip(values);
    pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fuzz_target!(|input: Input<'_>| {
    let secrets: [Secret; 2] = [SHARED, PAIR].map(|text| text.parse().unwrap());
    let keys = secrets.clone().map(VerifyingKey::from);

    // A webhook with any headers, not signed by us, is refused.
    let mut strange = HeaderMap::new();
    for (which, value) in input.headers.iter().take(16) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            strange.append(NAMES[usize::from(*which) % NAMES.len()], value);
        }
    }
    if input.in_time {
        strange.insert("webhook-timestamp", HeaderValue::from(NOW));
    }
    let refused = __fuzz::verify_at(&keys, &strange, input.body, NOW).expect_err("a forged webhook was verified");
    assert!(!refused.to_string().is_empty());

    // A webhook that we signed passes if its time is right.
    let timestamp = NOW + i64::from(input.seconds);
    let signature = __fuzz::sign(&secrets, "0193a4c2", timestamp, input.body).unwrap();
    let genuine = headers(["0193a4c2", &timestamp.to_string(), &signature]);
    let verified = __fuzz::verify_at(&keys, &genuine, input.body, NOW);
    assert_eq!(verified.is_ok(), input.seconds.unsigned_abs() <= 300, "{verified:?}");
    let mut body = input.body.to_vec();
    match usize::from(input.flipped) % (body.len() * 8 + 1) {
        0 => body.push(0),
        bit => body[(bit - 1) / 8] ^= 1 << ((bit - 1) % 8),
    }
    assert!(__fuzz::verify_at(&keys, &genuine, &body, NOW).is_err(), "a changed body was verified");
});
