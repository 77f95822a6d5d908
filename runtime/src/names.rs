//! Every name that others read, once: metrics, headers, the product token.

/// The `user-agent` of every webhook.
pub(crate) const USER_AGENT: &str = concat!("postback/", env!("CARGO_PKG_VERSION"));

/// Headers of a webhook, as the Standard Webhooks specification names them.
pub(crate) mod header {
    /// One per report, the same on every attempt.
    pub(crate) const WEBHOOK_ID: &str = "webhook-id";
    /// Unix seconds of this attempt.
    pub(crate) const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
    /// `v1,` and the base64 of an HMAC-SHA256, or `v1a,` and that of an Ed25519 signature; one per secret, separated by spaces.
    pub(crate) const WEBHOOK_SIGNATURE: &str = "webhook-signature";
    /// In an answer: `disable` or `abort-message`; see `policy::after_attempt`.
    pub(crate) const WEBHOOK_DELIVERY: &str = "webhook-delivery";
    /// The caller's own mark on a request: kept, logged, never trusted.
    #[cfg(feature = "server")]
    pub(crate) const REQUEST_ID: &str = "x-request-id";
}

/// Targets of the log that are treated apart.
#[cfg(feature = "server")]
pub(crate) mod target {
    /// The span around the run of a handler. It has no events.
    pub(crate) const RUN: &str = "postback::run";
    /// Panics, wherever they happen.
    pub(crate) const PANIC: &str = "postback::panic";
}

/// Metrics, emitted through the `metrics` facade; a program that installs a recorder sees them.
pub(crate) mod metric {
    /// Counter, label `route`: requests whose acceptance was answered.
    #[cfg(feature = "server")]
    pub(crate) const REQUESTS_ACCEPTED: &str = "postback_requests_accepted_total";
    /// Counter, label `reason`: requests that were refused, by `max_queued` or `max_queued_bytes` because too many wait, by
    /// `disk_reserve` because too little room is left on the disk.
    pub(crate) const REQUESTS_REFUSED: &str = "postback_requests_refused_total";
    /// Gauge, label `route`: requests that wait to be run.
    pub(crate) const REQUESTS_QUEUED: &str = "postback_requests_queued";
    /// Gauge in bytes, label `route`: their headers and bodies.
    pub(crate) const REQUESTS_QUEUED_BYTES: &str = "postback_requests_queued_bytes";
    /// Gauge in bytes: what is free on the file system of the store, asked while `store.disk_reserve` is set.
    pub(crate) const STORE_FREE_BYTES: &str = "postback_store_free_bytes";
    /// Counter, labels `route`, `status`, `reason`: requests that came to their end.
    #[cfg(feature = "server")]
    pub(crate) const REQUESTS_FINISHED: &str = "postback_requests_finished_total";
    /// Histogram in seconds, label `route`: how long a request waited for its first run.
    #[cfg(feature = "server")]
    pub(crate) const WAIT_SECONDS: &str = "postback_request_wait_duration_seconds";
    /// Histogram in seconds, label `route`: how long a handler ran.
    #[cfg(feature = "server")]
    pub(crate) const RUN_SECONDS: &str = "postback_run_duration_seconds";
    /// Counter, label `reason`: bodies that were not read to their end, `slow` because too little came, `gave_way` because they
    /// were behind when others had no room, `no_room` because there was none for too long.
    #[cfg(feature = "server")]
    pub(crate) const BODIES_CUT_OFF: &str = "postback_request_bodies_cut_off_total";
    /// Counter, label `reason`: answers that were not written to their end, or not begun, `slow` because their client did not
    /// read, `gave_way` because it was behind when others had no room, `no_room` because there was none for too long.
    #[cfg(feature = "server")]
    pub(crate) const ANSWERS_CUT_OFF: &str = "postback_answers_cut_off_total";
    /// Counter, label `reason`: connections that were not served, `full` because there was no room, `accept` because the system
    /// said no.
    #[cfg(feature = "server")]
    pub(crate) const CONNECTIONS_REFUSED: &str = "postback_connections_refused_total";
    /// Counter: reports taken in.
    pub(crate) const REPORTS_POSTED: &str = "postback_reports_posted_total";
    /// Counter, label `reason`: reports that will reach nobody.
    pub(crate) const REPORTS_LOST: &str = "postback_reports_lost_total";
    /// Counter: reports dropped because reporting is turned off.
    pub(crate) const REPORTS_DISCARDED: &str = "postback_reports_discarded_total";
    /// Counter, label `result`: single HTTP tries.
    pub(crate) const ATTEMPTS: &str = "postback_delivery_attempts_total";
    /// Counter, label `reason`: tries that use up no attempt, because this machine was short of `lookups`, `files`, `memory` or
    /// `connections`, or because the receiver refused them before it processed anything (`not_processed`).
    pub(crate) const ATTEMPTS_PUT_OFF: &str = "postback_delivery_attempts_put_off_total";
    /// Gauge: connections to receivers, idle ones included.
    pub(crate) const CONNECTIONS_OPEN: &str = "postback_delivery_connections";
    /// Histogram in seconds: how long a single HTTP try took.
    pub(crate) const ATTEMPT_SECONDS: &str = "postback_delivery_attempt_duration_seconds";
    /// Counter, label `state`: deliveries that came to their end.
    pub(crate) const DELIVERIES_FINISHED: &str = "postback_deliveries_finished_total";
    /// Histogram in seconds: how long after it was made a report was delivered.
    pub(crate) const DELIVERY_SECONDS: &str = "postback_delivery_duration_seconds";
    /// Gauge: HTTP tries under way.
    pub(crate) const DELIVERIES_IN_FLIGHT: &str = "postback_deliveries_in_flight";
    /// Gauge: reports that wait in memory for their origin's turn.
    pub(crate) const DELIVERIES_WAITING: &str = "postback_deliveries_waiting";
    /// Counter, label `reason`: reports set aside in the store, by `breaker` because their origin fails, by `share` because it
    /// has as many in memory as it may.
    pub(crate) const DELIVERIES_PARKED: &str = "postback_deliveries_parked_total";
    /// Counter: of those, reports taken up again.
    pub(crate) const DELIVERIES_UNPARKED: &str = "postback_deliveries_unparked_total";
    /// Counter: origins that began to be spared.
    pub(crate) const BREAKER_OPENED: &str = "postback_delivery_breaker_opened_total";
    /// Gauge: origins that are being spared.
    pub(crate) const BREAKERS_OPEN: &str = "postback_delivery_breakers_open";
    /// Counter, label `kind`: settlements of a claim that was no longer current; they wrote nothing.
    pub(crate) const STALE_SETTLES: &str = "postback_stale_settles_total";
    /// Histogram: operations in one commit of the store.
    pub(crate) const COMMIT_OPERATIONS: &str = "postback_store_commit_operations";
    /// Gauge in bytes: what is in the log of the database and still has to be copied into it, or is kept by a reader.
    #[cfg(feature = "sqlite")]
    pub(crate) const STORE_LOG_BYTES: &str = "postback_store_log_bytes";
    /// Counter: times that the log could not be copied into the database because another program was in the way.
    #[cfg(feature = "sqlite")]
    pub(crate) const STORE_BUSY_CHECKPOINTS: &str = "postback_store_busy_checkpoints_total";
    /// Histogram in seconds: how long one commit of the store took.
    pub(crate) const COMMIT_SECONDS: &str = "postback_store_commit_duration_seconds";
}
