//! Which texts are keys, which are not, and what is shown of a key.

use super::*;

const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// An Ed25519 secret that the maintainers of Standard Webhooks have published as an example.
const SECRET: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
/// The same key as `SECRET`, but without the public key. So this text contains only the seed, which is the first half
/// of the bytes of `SECRET`.
const SEED: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";

fn said<T: FromStr<Err = SecretError> + fmt::Debug>(text: &str) -> String {
    let error = text.parse::<T>().unwrap_err();
    let said = error.to_string();
    assert!(text.len() < 6 || !said.contains(text), "{said}");
    said
}

#[test]
fn the_text_form_is_read_back() {
    for text in [SHARED, SECRET] {
        assert_eq!(text.parse::<Secret>().unwrap().reveal(), text);
    }
    assert_eq!(PUBLIC_KEY.parse::<PublicKey>().unwrap().to_string(), PUBLIC_KEY);
}

#[test]
fn a_seed_alone_is_the_same_secret() {
    let (seed, whole): (Secret, Secret) = (SEED.parse().unwrap(), SECRET.parse().unwrap());
    assert_eq!(seed, whole);
    assert_eq!(seed.reveal(), SECRET);
    assert_ne!(seed, Secret::generate_ed25519());
}

#[test]
fn an_ed25519_secret_knows_its_public_key_and_a_shared_one_has_none() {
    assert_eq!(SECRET.parse::<Secret>().unwrap().public_key(), Some(PUBLIC_KEY.parse().unwrap()));
    assert_eq!(SHARED.parse::<Secret>().unwrap().public_key(), None);
}

#[test]
fn new_secrets_differ_and_are_read_back() {
    for (a, b, bytes) in
        [(Secret::generate(), Secret::generate(), 32), (Secret::generate_ed25519(), Secret::generate_ed25519(), 64)]
    {
        assert_ne!(a, b);
        let text = a.reveal();
        assert_eq!(text.parse::<Secret>().unwrap(), a);
        let (_, encoded) = text.split_once('_').unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap().len(), bytes);
    }
}

#[test]
fn bad_secrets_are_refused_with_what_to_do() {
    let start = "a signing secret starts with `whsec_` (HMAC-SHA256) or `whsk_` (Ed25519)";
    assert_eq!(said::<Secret>(""), start);
    assert_eq!(said::<Secret>("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), start);
    assert!(said::<Secret>(PUBLIC_KEY).contains("cannot sign"));
    for text in ["whsec_%", "whsec_wronglength", &format!("{SHARED}\n"), &format!("whsec_ {}", &SHARED[6..])] {
        assert!(said::<Secret>(text).contains("follows `whsec_` is not padded standard base64"), "{text}");
    }
    // If the last three characters of the secret are removed, the rest is base64 without padding.
    assert!(said::<Secret>(&SECRET[..SECRET.len() - 3]).contains("follows `whsk_` is not padded"));
    assert_eq!(said::<Secret>("whsec_c2hvcnQ="), "a `whsec_` secret has 24 to 64 bytes, but this secret has 5");
    let long = format!("whsec_{}", STANDARD.encode([0; 65]));
    assert!(said::<Secret>(&long).ends_with("this secret has 65"));
    for length in [0, 31, 33, 63, 65] {
        let text = format!("whsk_{}", STANDARD.encode(vec![7; length]));
        let expected =
            format!("a `whsk_` secret has 32 bytes, or 64 with its public key, but this secret has {length}");
        assert_eq!(said::<Secret>(&text), expected);
    }
    assert!(said::<Secret>(&format!("whsk_{}", STANDARD.encode([7; 64]))).contains("is not the public key"));
}

#[test]
fn bad_verifying_keys_are_refused_with_what_to_do() {
    assert_eq!(said::<PublicKey>(SHARED), "a public key starts with `whpk_`");
    assert_eq!(said::<PublicKey>("whpk_AAAA"), "a `whpk_` key has 32 bytes, but this key has 3");
    assert!(said::<VerifyingKey>("whpk_%").contains("follows `whpk_`"));
    assert!(said::<VerifyingKey>(SECRET).contains("stays with the sender"));
    assert_eq!(said::<VerifyingKey>("x"), "a verifying key starts with `whsec_` (HMAC-SHA256) or `whpk_` (Ed25519)");
}

/// Tests every Ed25519 key of small order. The list in the test contains encoded y coordinates, and each is tested with
/// both signs of x. The last four are not below the prime of the field, so RFC 8032 does not allow these encodings.
#[test]
fn keys_for_which_anybody_could_sign_are_refused() {
    let hex = |text: &str| -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    };
    for y in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        for sign in [0, 0x80] {
            let mut key = hex(y);
            key[31] |= sign;
            let text = format!("whpk_{}", STANDARD.encode(key));
            assert!(said::<PublicKey>(&text).contains("anybody could sign"), "{y}");
            assert_eq!(said::<VerifyingKey>(&text), said::<PublicKey>(&text));
        }
    }
    for _ in 0..100 {
        let key = Secret::generate_ed25519().public_key().unwrap();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    }
}

#[test]
fn only_what_is_public_is_shown() {
    let (shared, secret): (Secret, Secret) = (SHARED.parse().unwrap(), SECRET.parse().unwrap());
    assert_eq!(format!("{shared:?} {secret:?}"), "Secret(…) Secret(…)");
    assert_eq!(format!("{:?}", VerifyingKey::from(shared)), "VerifyingKey(…)");
    // A verifying key that is made from an Ed25519 secret contains only the public key.
    assert_eq!(format!("{:?}", VerifyingKey::from(secret)), format!("VerifyingKey({PUBLIC_KEY})"));
    assert_eq!(format!("{:?}", PUBLIC_KEY.parse::<PublicKey>().unwrap()), format!("PublicKey({PUBLIC_KEY})"));
}
