//! Keys as text: what is taken is read back as the same, and what is refused is not repeated.
#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use postback::{PublicKey, Secret, SecretError, VerifyingKey};

fn read<K: FromStr<Err = SecretError> + Debug>(text: &str) -> Option<K> {
    let read = text.parse::<K>();
    if let Err(error) = &read {
        // The words of the message have no underscore that a letter or digit follows.
        let is_key = text.split_once('_').is_some_and(|(_, key)| key.starts_with(|c: char| c.is_ascii_alphanumeric()));
        assert!(!is_key || !error.to_string().contains(text), "{error}");
    }
    read.ok()
}

fuzz_target!(|text: &str| {
    if let Some(secret) = read::<Secret>(text) {
        let revealed = secret.reveal();
        assert_eq!(revealed.parse::<Secret>().unwrap(), secret);
        assert!(revealed.starts_with(text.trim_end_matches('=')) || text.starts_with("whsk_"));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.public_key().is_some(), text.starts_with("whsk_"));
    }
    if let Some(key) = read::<PublicKey>(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Some(key) = read::<VerifyingKey>(text) {
        assert!(!text.starts_with("whsk_"));
        assert!(!format!("{key:?}").contains("whsec_"));
    }
});
