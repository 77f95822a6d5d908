//! What is taken for a key, what is not, and what is shown of it.

use super::*;

const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Published by the maintainers of the specification.
const SECRET: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
/// The first half of it.
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
    // One character short.
    assert!(said::<Secret>(&SECRET[..SECRET.len() - 3]).contains("follows `whsk_` is not padded"));
    assert_eq!(said::<Secret>("whsec_c2hvcnQ="), "a `whsec_` secret has 24 to 64 bytes, this one has 5");
    let long = format!("whsec_{}", STANDARD.encode([0; 65]));
    assert!(said::<Secret>(&long).ends_with("this one has 65"));
    for length in [0, 31, 33, 63, 65] {
        let text = format!("whsk_{}", STANDARD.encode(vec![7; length]));
        let expected = format!("a `whsk_` secret has 32 bytes, or 64 with its public key, this one has {length}");
        assert_eq!(said::<Secret>(&text), expected);
    }
    assert!(said::<Secret>(&format!("whsk_{}", STANDARD.encode([7; 64]))).contains("is not the public key"));
}

#[test]
fn bad_verifying_keys_are_refused_with_what_to_do() {
    assert_eq!(said::<PublicKey>(SHARED), "a public key starts with `whpk_`");
    assert_eq!(said::<PublicKey>("whpk_AAAA"), "a `whpk_` key has 32 bytes, this one has 3");
    assert!(said::<VerifyingKey>("whpk_%").contains("follows `whpk_`"));
    assert!(said::<VerifyingKey>(SECRET).contains("stays with the sender"));
    assert_eq!(said::<VerifyingKey>("x"), "a verifying key starts with `whsec_` (HMAC-SHA256) or `whpk_` (Ed25519)");
}

#[test]
fn only_what_is_public_is_shown() {
    let (shared, secret): (Secret, Secret) = (SHARED.parse().unwrap(), SECRET.parse().unwrap());
    assert_eq!(format!("{shared:?} {secret:?}"), "Secret(…) Secret(…)");
    assert_eq!(format!("{:?}", VerifyingKey::from(shared)), "VerifyingKey(…)");
    // Of the secret, the verifying key has the public half only.
    assert_eq!(format!("{:?}", VerifyingKey::from(secret)), format!("VerifyingKey({PUBLIC_KEY})"));
    assert_eq!(format!("{:?}", PUBLIC_KEY.parse::<PublicKey>().unwrap()), format!("PublicKey({PUBLIC_KEY})"));
}
