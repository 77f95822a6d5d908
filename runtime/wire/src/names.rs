//! Names that other programs read, each defined once: metrics, HTTP headers, log targets, the user agent.

/// The value of the header `user-agent` of every webhook.
pub const USER_AGENT: &str = concat!("postback/", env!("CARGO_PKG_VERSION"));

/// The beginning of the ids of requests that a schedule has made. No caller may choose such an id.
pub const SCHEDULED_ID: &str = "postback-cron-";

/// The names of HTTP headers. The names that begin with `webhook-` come from the Standard Webhooks specification.
pub mod header {
    /// The header with the report's id, which is the same on every attempt.
    pub const WEBHOOK_ID: &str = "webhook-id";
    /// The header with the time of the attempt, in Unix seconds.
    pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
    /// The header with the signatures, one per secret, separated by spaces. A signature is `v1,` and the base64 of an
    /// HMAC-SHA256, or `v1a,` and the base64 of an Ed25519 signature.
    pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";
    /// Not sent: with this name, the store keeps the form of a report beside the headers of its webhook.
    pub const WEBHOOK_FORMAT: &str = "webhook-format";
    /// The headers of fal, which a report in its form has beside those of Standard Webhooks.
    pub const FAL_REQUEST_ID: &str = "x-fal-webhook-request-id";
    pub const FAL_USER_ID: &str = "x-fal-webhook-user-id";
    pub const FAL_TIMESTAMP: &str = "x-fal-webhook-timestamp";
    pub const FAL_SIGNATURE: &str = "x-fal-webhook-signature";
    /// The header with which a receiver stops deliveries in its answer. The value `abort-message` stops the delivery of
    /// this report. The value `disable` stops all deliveries to this URL. The function `policy::after_attempt`
    /// evaluates the header.
    pub const WEBHOOK_DELIVERY: &str = "webhook-delivery";
    /// The header in which a caller sends its own id for a request. The server stores and logs the caller's id. Only if
    /// the operator has set `server.accept_ids`, it is the id of the request.
    pub const REQUEST_ID: &str = "x-request-id";
    /// The header in which a caller marks repeated calls as the same call (draft-ietf-httpapi-idempotency-key-header).
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// The header with the URL of a webhook of the caller.
    pub const WEBHOOK: &str = "postback-webhook";
    /// The header with a JSON text that the status and the report of the request repeat.
    pub const METADATA: &str = "postback-metadata";
    /// The header with the time at which the request may run.
    pub const RUN_AT: &str = "postback-run-at";
    /// The header with the time until which the first run must begin.
    pub const DEADLINE: &str = "postback-deadline";
    /// The header with the longest time that a run may take.
    pub const TIMEOUT: &str = "postback-timeout";
    /// The header with the priority of the request.
    pub const PRIORITY: &str = "postback-priority";
    /// The name under which the server keeps the query of a call with the headers of its request. Callers cannot send it.
    pub const QUERY: &str = "postback-query";
}

/// The log targets that the filter of the log treats differently from other targets.
pub mod target {
    /// The log target of the span that surrounds a run. No log event has this target.
    pub const RUN: &str = "postback::run";
    /// The target of the spans for tracing systems. The log does not show them, because [`RUN`] says the same.
    pub const TRACE: &str = "postback::trace";
    /// The log target of all panics.
    pub const PANIC: &str = "postback::panic";
}

pub mod metric;
