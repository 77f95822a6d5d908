//! Names that other programs read, each defined once: metrics, HTTP headers, log targets, the user agent.

/// The `user-agent` of every webhook.
pub const USER_AGENT: &str = concat!("postback/", env!("CARGO_PKG_VERSION"));

/// Headers of a webhook, as the Standard Webhooks specification names them.
pub mod header {
    /// The report's id, which is the same on every attempt.
    pub const WEBHOOK_ID: &str = "webhook-id";
    /// The time of this attempt, in Unix seconds.
    pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
    /// Signatures separated by spaces, one per secret: `v1,` and the base64 of an HMAC-SHA256, or `v1a,` and the base64
    /// of an Ed25519 signature.
    pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";
    /// A header of a receiver's answer, with the value `disable` or `abort-message`. `policy::after_attempt` reads it.
    pub const WEBHOOK_DELIVERY: &str = "webhook-delivery";
    /// A header in which a caller sends its own id for a request. The id is stored and logged, and never trusted.
    pub const REQUEST_ID: &str = "x-request-id";
}

/// Log targets that the log's filter treats specially.
pub mod target {
    /// The log target of the span around a run. No event has this target.
    pub const RUN: &str = "postback::run";
    /// The log target of all panics.
    pub const PANIC: &str = "postback::panic";
}

/// Names of metrics, which are emitted through the crate `metrics`. A program sees them if it installs a recorder.
pub mod metric {
    /// Counter, label `route`: accepted requests. A request counts when the server has told its caller so.
    pub const REQUESTS_ACCEPTED: &str = "postback_requests_accepted_total";
    /// Counter, label `reason`: requests that were refused. `max_queued` and `max_queued_bytes`: too many requests
    /// wait. `disk_reserve`: too little space is free on the disk.
    pub const REQUESTS_REFUSED: &str = "postback_requests_refused_total";
    /// Gauge, label `route`: requests that wait to be run.
    pub const REQUESTS_QUEUED: &str = "postback_requests_queued";
    /// Gauge in bytes, label `route`: headers and bodies of the requests that wait to be run.
    pub const REQUESTS_QUEUED_BYTES: &str = "postback_requests_queued_bytes";
    /// Gauge in bytes: the free space on the store's file system. Set only while `store.disk_reserve` is greater than
    /// 0.
    pub const STORE_FREE_BYTES: &str = "postback_store_free_bytes";
    /// Counter, labels `route`, `status`, `reason`: requests that ended.
    pub const REQUESTS_FINISHED: &str = "postback_requests_finished_total";
    /// Histogram in seconds, label `route`: how long a request waited for its first run.
    pub const WAIT_SECONDS: &str = "postback_request_wait_duration_seconds";
    /// Histogram in seconds, label `route`: how long a run took.
    pub const RUN_SECONDS: &str = "postback_run_duration_seconds";
    /// Counter, label `reason`: request bodies that the server did not read to their end. `slow`: the client sent too
    /// slowly. `gave_way`: the client was slower than required, and other clients needed the memory. `no_room`: there
    /// was no free memory for too long.
    pub const BODIES_CUT_OFF: &str = "postback_request_bodies_cut_off_total";
    /// Counter, label `reason`: answers that the server did not write to their end, or did not begin. `slow`: the
    /// client did not read. `gave_way`: the client was slower than required, and other clients needed the memory.
    /// `no_room`: there was no free memory for too long.
    pub const ANSWERS_CUT_OFF: &str = "postback_answers_cut_off_total";
    /// Counter, label `reason`: connections that the server did not serve. `full`: the server had as many connections
    /// as it may have. `accept`: the operating system returned an error.
    pub const CONNECTIONS_REFUSED: &str = "postback_connections_refused_total";
    /// Counter: reports that the store accepted.
    pub const REPORTS_POSTED: &str = "postback_reports_posted_total";
    /// Counter, label `reason`: reports that were lost, so that no receiver will get them.
    pub const REPORTS_LOST: &str = "postback_reports_lost_total";
    /// Counter: reports dropped because reporting is turned off.
    pub const REPORTS_DISCARDED: &str = "postback_reports_discarded_total";
    /// Counter, label `result`: attempts, which are single HTTP requests.
    pub const ATTEMPTS: &str = "postback_delivery_attempts_total";
    /// Counter, label `reason`: HTTP requests that do not count as attempts. `lookups`, `files`, `memory` or
    /// `connections`: this machine had no more of them available. `not_processed`: the receiver refused the request
    /// before processing any of it.
    pub const ATTEMPTS_PUT_OFF: &str = "postback_delivery_attempts_put_off_total";
    /// Gauge: open connections to receivers, including idle connections.
    pub const CONNECTIONS_OPEN: &str = "postback_delivery_connections";
    /// Histogram in seconds: how long one attempt took.
    pub const ATTEMPT_SECONDS: &str = "postback_delivery_attempt_duration_seconds";
    /// Counter, label `state`: deliveries that ended.
    pub const DELIVERIES_FINISHED: &str = "postback_deliveries_finished_total";
    /// Histogram in seconds: the time from the making of a report to its delivery.
    pub const DELIVERY_SECONDS: &str = "postback_delivery_duration_seconds";
    /// Gauge: attempts that are under way.
    pub const DELIVERIES_IN_FLIGHT: &str = "postback_deliveries_in_flight";
    /// Gauge: reports that wait in memory for the turn of their origin.
    pub const DELIVERIES_WAITING: &str = "postback_deliveries_waiting";
    /// Counter, label `reason`: reports that were parked in the store. `breaker`: the circuit of their origin is open.
    /// `share`: their origin has as many reports in memory as it may.
    pub const DELIVERIES_PARKED: &str = "postback_deliveries_parked_total";
    /// Counter: parked reports that were claimed again.
    pub const DELIVERIES_UNPARKED: &str = "postback_deliveries_unparked_total";
    /// Counter: how many times a circuit opened, for all origins together.
    pub const BREAKER_OPENED: &str = "postback_delivery_breaker_opened_total";
    /// Gauge: circuits that are open.
    pub const BREAKERS_OPEN: &str = "postback_delivery_breakers_open";
    /// Counter, label `kind`: stale settlements, whose claim was no longer current. They wrote nothing.
    pub const STALE_SETTLES: &str = "postback_stale_settles_total";
    /// Histogram: the number of operations in one commit of the store.
    pub const COMMIT_OPERATIONS: &str = "postback_store_commit_operations";
    /// Gauge in bytes: the part of the database's write-ahead log that is not yet copied into the database, or that a
    /// reader pins.
    pub const STORE_LOG_BYTES: &str = "postback_store_log_bytes";
    /// Counter: how many times the write-ahead log could not be copied into the database, because another program held
    /// a lock.
    pub const STORE_BUSY_CHECKPOINTS: &str = "postback_store_busy_checkpoints_total";
    /// Histogram in seconds: how long one commit of the store took.
    pub const COMMIT_SECONDS: &str = "postback_store_commit_duration_seconds";
}
