//! What the targets in `tests/fuzz` reach, and nobody else: it is built with `--cfg fuzzing` alone.

use std::time::Duration;

use http::HeaderMap;

use crate::policy::retry_after;
use crate::secret::{Secret, VerifyingKey};
use crate::time::Timestamp;
use crate::verify::{Verified, VerifyError};
use crate::{settings, signature, verify};

/// All keys of the settings.
pub const SETTINGS: &[&str] = settings::KEYS;

/// As a delivery signs.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    signature::sign(secrets, id, timestamp, body)
}

/// [`verify`](crate::verify()) at this time, in Unix seconds.
pub fn verify_at<'b>(
    keys: &[VerifyingKey],
    headers: &HeaderMap,
    body: &'b [u8],
    now: i64,
) -> Result<Verified<&'b [u8]>, VerifyError> {
    verify::verify_at(keys, headers, body, Timestamp::from_micros(now.saturating_mul(1_000_000)))
}

/// What a receiver asks for with this `Retry-After`, at this time in Unix seconds.
pub fn retry_after(value: &str, now: i64) -> Option<Duration> {
    retry_after::parse(value, Timestamp::from_micros(now.saturating_mul(1_000_000)))
}

/// Reads this file, and variables that set these keys. `Err` is what an operator would be told.
pub fn settings(file: &str, variables: Vec<(String, String)>) -> Result<(), String> {
    settings::load_text(file, variables).map(drop).map_err(|errors| errors.to_string())
}
