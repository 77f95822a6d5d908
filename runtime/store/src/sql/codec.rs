//! How values are converted to columns and back, in every database.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::record::Registration;
use crate::sizes;
use crate::terms::Extras;
use postback_wire::report::{Ends, Outcome, Reason};
use postback_wire::secret::Secret;
use postback_wire::trace;
use postback_wire::webhook::{Own, Provenance, Webhook};

/// A value cannot be converted to a column or back. Each backend makes an error of its driver of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unconverted(pub(crate) Box<dyn std::error::Error + Send + Sync>);

/// Converts headers to lines of `name: value`. The bytes of the values are not changed. A header value cannot contain a
/// line break.
pub(crate) fn headers_to_bytes(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.push(b'\n');
    }
    lines
}

/// Reads the headers from the lines that [`headers_to_bytes`] wrote. Skips a line that is not a valid header.
pub(crate) fn headers_from_bytes(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(at) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let (name, value) = line.split_at(at);
        let name = HeaderName::from_bytes(name).ok();
        let value = value.get(2..).and_then(|value| HeaderValue::from_bytes(value).ok());
        if let Some((name, value)) = name.zip(value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Returns the three columns of a webhook: its headers, its secret, and whether the operator chose the webhook.
pub(crate) fn own_to_columns(own: &Own) -> (Vec<u8>, Option<String>, bool) {
    let by_operator = own.chosen_by == Some(Provenance::Operator);
    (headers_to_bytes(&own.headers), own.secret.as_ref().map(Secret::reveal), by_operator)
}

pub(crate) fn own_from_columns(headers: &[u8], secret: Option<&str>, by_operator: bool) -> Own {
    let mut headers = headers_from_bytes(headers);
    headers.values_mut().for_each(|value| value.set_sensitive(true));
    let secret = secret.and_then(|text| {
        text.parse().inspect_err(|error| tracing::error!(%error, "a stored signing secret cannot be read")).ok()
    });
    Own { headers, secret, chosen_by: Some(if by_operator { Provenance::Operator } else { Provenance::Caller }) }
}

/// The prefix of a stored reason that the API and the webhook may show. The information is not in a column of its own:
/// such a column would come after the large result, and SQLite would have to read the result before the column.
const TOLD: &str = "told ";

/// Returns the text that the database stores: the reason of the outcome, and whether the API and the webhook may show
/// the reason.
pub(crate) fn reason_to_text(outcome: &Outcome) -> Cow<'static, str> {
    let reason = outcome.reason.as_str();
    if outcome.tells_reason { format!("{TOLD}{reason}").into() } else { reason.into() }
}

/// Reads the text that [`reason_to_text`] wrote. Returns the reason, and whether the API and the webhook may show the
/// reason.
pub(crate) fn reason_from_text(text: &str) -> Result<(Reason, bool), Unconverted> {
    let told = text.strip_prefix(TOLD);
    let reason = Reason::from_name(told.unwrap_or(text)).ok_or_else(|| misread("an outcome has an unknown reason"))?;
    Ok((reason, told.is_some()))
}

/// A [`Registration`] as the database stores it in JSON.
#[derive(Serialize, Deserialize)]
struct StoredRegistration {
    on: u8,
    webhooks: Vec<StoredWebhook>,
    /// If the field is missing, an earlier version of this program wrote the text. That version never showed reasons.
    #[serde(default)]
    tells_reason: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredWebhook {
    url: String,
    /// The headers, encoded in Base64, because a header value need not be UTF-8.
    headers: String,
    secret: Option<String>,
    /// If the field is missing, an earlier version of this program wrote the text. Then the webhook counts
    /// as not chosen by the operator.
    #[serde(default)]
    by_operator: bool,
}

pub(crate) fn registration_to_text(registration: &Registration) -> Result<String, Unconverted> {
    let webhooks = registration.webhooks.iter().map(|webhook| {
        let (headers, secret, by_operator) = own_to_columns(webhook.own());
        StoredWebhook { url: webhook.url().to_string(), headers: STANDARD.encode(headers), secret, by_operator }
    });
    let Registration { on, tells_reason, .. } = registration;
    json(&StoredRegistration { on: on.bits(), webhooks: webhooks.collect(), tells_reason: *tells_reason })
}

/// Reads the text that [`registration_to_text`] wrote. If the text cannot be read, logs an error and returns `None`, so
/// that the request is run without its registration.
pub(crate) fn registration_from_text(text: &str) -> Option<Registration> {
    let read = || -> Result<Registration, Box<dyn std::error::Error>> {
        let stored: StoredRegistration = serde_json::from_str(text)?;
        let webhooks = stored.webhooks.into_iter().map(|stored| {
            let headers = STANDARD.decode(stored.headers)?;
            let own = own_from_columns(&headers, stored.secret.as_deref(), stored.by_operator);
            Ok(Webhook::new(stored.url)?.with_own(own))
        });
        let webhooks = webhooks.collect::<Result<_, Box<dyn std::error::Error>>>()?;
        Ok(Registration { webhooks, on: Ends::from_bits(stored.on), tells_reason: stored.tells_reason })
    };
    read().inspect_err(|error| tracing::error!(%error, "a stored registration cannot be read")).ok()
}

/// Converts extras to JSON, without the trace, which is in the headers of the request. Returns `None` if nothing else is
/// in the extras.
pub(crate) fn extras_to_text(extras: &Extras) -> Result<Option<String>, Unconverted> {
    let Extras { webhook, metadata, .. } = extras;
    let stored = StoredExtras { webhook: webhook.as_deref(), metadata: metadata.as_deref() };
    (webhook.is_some() || metadata.is_some()).then(|| json(&stored)).transpose()
}

/// The extras that are not in the headers of the request.
#[derive(Serialize)]
struct StoredExtras<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
}

/// Reads the text that [`extras_to_text`] wrote. If the text cannot be read, logs an error and returns `None`. Earlier
/// versions of this program wrote the trace into the text, too.
pub(crate) fn extras_from_text(text: Option<&str>) -> Option<Arc<Extras>> {
    let read = |text| serde_json::from_str::<Extras>(text);
    read(text?).inspect_err(|error| tracing::error!(%error, "the stored extras cannot be read")).ok().map(Arc::new)
}

/// Reads the extras of a request: what [`extras_to_text`] wrote, and the trace in the request's headers.
pub(crate) fn extras_with_trace(text: Option<&str>, headers: &HeaderMap) -> Option<Arc<Extras>> {
    let stored = extras_from_text(text);
    let (traceparent, tracestate) = trace::of(headers);
    if traceparent.is_none() {
        return stored;
    }
    let stored = stored.map(Arc::unwrap_or_clone).unwrap_or_default();
    Some(Arc::new(Extras { traceparent, tracestate, ..stored }))
}

#[expect(clippy::cast_possible_wrap, reason = "it is a few MiB")]
pub(crate) const CLAIM_BYTES: i64 = sizes::CLAIM_BYTES as i64;

/// Converts a value to a JSON text.
fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Unconverted> {
    serde_json::to_string(value).map_err(|error| Unconverted(error.into()))
}

/// Makes the error for a row that no version of this program can have written. `what` is the text of the error.
pub(crate) fn misread(what: &'static str) -> Unconverted {
    Unconverted(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back_byte_for_byte() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("one: two"));
        headers.append("x-a", HeaderValue::from_static(""));
        headers.append("x-b", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(headers_from_bytes(&headers_to_bytes(&headers)), headers);
    }

    #[test]
    fn a_registration_is_read_back() {
        let webhook = Webhook::new("https://example.com/hooks?token=1").unwrap();
        let webhook = webhook.header("authorization", "Bearer ü").unwrap();
        let webhook = webhook.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap());
        let webhooks = [Provenance::Operator, Provenance::Caller].map(|by| webhook.clone().chosen_by(Some(by)));
        let registration =
            Registration { webhooks: webhooks.into(), on: Ends::FAILED.with(Ends::DROPPED), tells_reason: true };
        let text = registration_to_text(&registration).unwrap();
        assert_eq!(registration_from_text(&text), Some(registration));
        // Earlier versions of this program wrote the text without these two fields.
        let earlier = text.replace(",\"by_operator\":true", "").replace(",\"tells_reason\":true", "");
        assert!(!earlier.contains("true"), "{earlier}");
        let read = registration_from_text(&earlier).unwrap();
        assert!(!read.tells_reason);
        assert!(read.webhooks.iter().all(|webhook| !webhook.is_operator()));
        assert_eq!(registration_from_text("{}"), None);
    }
}
