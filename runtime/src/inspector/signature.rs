//! Checks the signature of a webhook step by step, and looks for the usual mistakes if it does not match.

mod mistakes;

use http::HeaderMap;
use serde_json::{Value, json};

use postback_wire::names::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use postback_wire::secret::{Secret, VerifyingKey};
use postback_wire::signature::sign;
use postback_wire::time::Timestamp;
use postback_wire::verify::{VerifyError, verify_at};

/// The largest part of a header that is shown.
const MAX_SHOWN: usize = 4_096;

/// A key that checks signatures. A secret can also make them.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    Secret(Secret),
    Public(VerifyingKey),
}

impl Key {
    fn verifying(&self) -> VerifyingKey {
        match self {
            Self::Secret(secret) => secret.clone().into(),
            Self::Public(key) => key.clone(),
        }
    }
}

impl std::str::FromStr for Key {
    type Err = postback_wire::secret::SecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("whpk_") { text.parse().map(Self::Public) } else { text.parse().map(Self::Secret) }
    }
}

/// Returns the secrets among the keys.
pub(super) fn secrets(keys: &[Key]) -> Vec<Secret> {
    let secret = |key: &Key| match key {
        Key::Secret(secret) => Some(secret.clone()),
        Key::Public(_) => None,
    };
    keys.iter().filter_map(secret).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid,
    Invalid,
    /// There is no signature.
    Unsigned,
    /// There is a signature, but the inspector has no key.
    Unchecked,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unsigned => "unsigned",
            Self::Unchecked => "unchecked",
        }
    }
}

/// A step of the check. `good` is `None` if the step could not be taken.
#[derive(Debug)]
struct Step {
    what: &'static str,
    good: Option<bool>,
    told: String,
}

/// The checked signature of a webhook.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) verdict: Verdict,
    steps: Vec<Step>,
    /// The signed text before the body: `id.time.`.
    prefix: Option<String>,
    /// The signatures that the secrets make.
    expected: Vec<String>,
    given: Vec<String>,
}

impl Checked {
    /// The first thing that is wrong. `None` if nothing is.
    pub(super) fn wrong(&self) -> Option<&str> {
        self.steps.iter().find(|step| step.good == Some(false)).map(|step| step.told.as_str())
    }

    pub(super) fn shown(&self) -> Value {
        let steps: Vec<_> =
            self.steps.iter().map(|step| json!({"what": step.what, "good": step.good, "told": step.told})).collect();
        json!({
            "verdict": self.verdict.name(), "steps": steps, "prefix": self.prefix, "expected": self.expected,
            "given": self.given,
        })
    }
}

/// Checks the signature of a webhook that arrived at the time `now`.
pub(super) fn check(keys: &[Key], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Checked {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (id, time, given) = (text(WEBHOOK_ID), text(WEBHOOK_TIMESTAMP), text(WEBHOOK_SIGNATURE));
    let mut checked = Checked {
        verdict: Verdict::Unsigned,
        steps: Vec::new(),
        prefix: id.as_ref().zip(time.as_ref()).map(|(id, time)| cut(&format!("{id}.{time}."))),
        expected: Vec::new(),
        given: given.iter().flat_map(|given| given.split_ascii_whitespace()).take(16).map(cut).collect(),
    };
    if given.is_none() {
        let told = "there is no header webhook-signature".to_owned();
        checked.steps.push(Step { what: "headers", good: None, told });
        return checked;
    }
    if let (Some(id), Some(time)) = (&id, time.as_ref().and_then(|time| time.parse().ok())) {
        let made = sign(&secrets(keys), id, time, body);
        checked.expected = made.iter().flat_map(|made| made.split(' ')).map(str::to_owned).collect();
    }
    // Without a key, a fresh one shows whether the rest is well-formed.
    let verifying: Vec<VerifyingKey> = match keys {
        [] => vec![Secret::generate().into()],
        keys => keys.iter().map(Key::verifying).collect(),
    };
    let verified = verify_at(&verifying, headers, body, now).map(drop);
    checked.steps.push(match &verified {
        Err(error) if error.is_malformed() => Step { what: "headers", good: Some(false), told: error.to_string() },
        _ => Step { what: "headers", good: Some(true), told: "id, time and signature are there, once each".to_owned() },
    });
    let signed_at = time.as_ref().and_then(|time| time.parse::<i64>().ok());
    if let Some(signed_at) = signed_at {
        checked.steps.push(age(now.unix_seconds().saturating_sub(signed_at), verified.as_ref().err()));
    }
    if keys.is_empty() {
        let told =
            "no secret is given, so the signature is not checked; start with --secret-file or --secret".to_owned();
        checked.steps.push(Step { what: "signature", good: None, told });
        checked.verdict = Verdict::Unchecked;
        return checked;
    }
    checked.verdict = if verified.is_ok() { Verdict::Valid } else { Verdict::Invalid };
    // The signature may be right although the time is not.
    let when = signed_at.and_then(|seconds| seconds.checked_mul(1_000_000)).map_or(now, Timestamp::from_micros);
    checked.steps.push(match verify_at(&verifying, headers, body, when).map(drop) {
        Ok(()) => Step { what: "signature", good: Some(true), told: which(&verifying, headers, body, when) },
        Err(VerifyError::Mismatch) => {
            let told = mistakes::find(keys, id.as_deref(), time.as_deref(), &checked.given, body);
            Step { what: "signature", good: Some(false), told }
        }
        Err(error @ VerifyError::OtherVersion) => {
            Step { what: "signature", good: Some(false), told: error.to_string() }
        }
        Err(_) => Step { what: "signature", good: None, told: "not checked, because a step before failed".to_owned() },
    });
    checked
}

/// Says how old the signature is.
fn age(seconds: i64, error: Option<&VerifyError>) -> Step {
    let told = match seconds {
        0.. => format!("signed {seconds} s before it came; at most 300 s are allowed"),
        _ => format!("signed {} s after it came, by this machine's clock; at most 300 s are allowed", -seconds),
    };
    let good = match error {
        Some(error @ (VerifyError::TooOld { .. } | VerifyError::TooNew { .. })) => {
            return Step { what: "time", good: Some(false), told: error.to_string() };
        }
        Some(error) if error.is_malformed() => None,
        _ => Some(true),
    };
    Step { what: "time", good, told }
}

/// Says with which of the keys the signature matches.
fn which(keys: &[VerifyingKey], headers: &HeaderMap, body: &[u8], when: Timestamp) -> String {
    let matching = |key: &VerifyingKey| verify_at(std::slice::from_ref(key), headers, body, when).is_ok();
    match (keys.len(), keys.iter().position(matching)) {
        (1, _) | (_, None) => "matches the key".to_owned(),
        (count, Some(at)) => format!("matches key {} of {count}", at + 1),
    }
}

fn cut(text: &(impl AsRef<str> + ?Sized)) -> String {
    text.as_ref().chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests;
