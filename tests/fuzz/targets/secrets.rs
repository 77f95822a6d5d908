//! Fuzzes keys as text: a valid key can be written and read again, and an error never repeats the text.
#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use postback::{PublicKey, Secret, SecretError, VerifyingKey};

fn read<K: FromStr<Err = SecretError> + Debug>(text: &str) -> Option<K> {
    let read = text.parse::<K>();
    if let Err(error) = &read {
        // In the message itself, no letter or digit follows an underscore, so the message does not contain a key by
        // chance.
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
