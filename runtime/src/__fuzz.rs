//! Private functions for the fuzz targets in `tests/fuzz`. This module is built only with `--cfg fuzzing`.

use std::time::Duration;

use http::HeaderMap;

use crate::policy::retry_after;
use crate::settings;
use postback_wire::secret::{Secret, VerifyingKey};
use postback_wire::time::Timestamp;
use postback_wire::verify::{Verified, VerifyError};
use postback_wire::{signature, verify};

/// The dotted keys of all settings.
pub const SETTINGS: &[&str] = settings::KEYS;

/// Signs a webhook in the same way as a delivery does.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    signature::sign(secrets, id, timestamp, body)
}

/// Verifies a webhook as [`verify`](postback_wire::verify()) does, but at the time `now`, in Unix seconds.
pub fn verify_at<'b>(
    keys: &[VerifyingKey],
    headers: &HeaderMap,
    body: &'b [u8],
    now: i64,
) -> Result<Verified<&'b [u8]>, VerifyError> {
    verify::verify_at(keys, headers, body, Timestamp::from_micros(now.saturating_mul(1_000_000)))
}

/// Returns how long the header `Retry-After` with this value asks the sender to wait. `now` is the current time in Unix
/// seconds.
pub fn retry_after(value: &str, now: i64) -> Option<Duration> {
    retry_after::parse(value, Timestamp::from_micros(now.saturating_mul(1_000_000)))
}

/// Reads settings from the text of a file and from environment variables. If there is a mistake, returns the message
/// for the operator as `Err`.
pub fn settings(file: &str, variables: Vec<(String, String)>) -> Result<(), String> {
    settings::load_text(file, variables).map(drop).map_err(|errors| errors.to_string())
}
