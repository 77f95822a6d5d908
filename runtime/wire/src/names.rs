//! Names that other programs read, each defined once: metrics, HTTP headers, log targets, the user agent.

/// The value of the header `user-agent` of every webhook.
pub const USER_AGENT: &str = concat!("postback/", env!("CARGO_PKG_VERSION"));

/// The names of HTTP headers. The names that begin with `webhook-` come from the Standard Webhooks specification.
pub mod header {
    /// The header with the report's id, which is the same on every attempt.
    pub const WEBHOOK_ID: &str = "webhook-id";
    /// The header with the time of the attempt, in Unix seconds.
    pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
    /// The header with the signatures, one per secret, separated by spaces. A signature is `v1,` and the base64 of an
    /// HMAC-SHA256, or `v1a,` and the base64 of an Ed25519 signature.
    pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";
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
}

/// The log targets that the filter of the log treats differently from other targets.
pub mod target {
    /// The log target of the span that surrounds a run. No log event has this target.
    pub const RUN: &str = "postback::run";
    /// The log target of all panics.
    pub const PANIC: &str = "postback::panic";
}

/// The names of the metrics, which are emitted through the crate `metrics`. A program gets the metrics if it installs a
/// recorder of this crate.
pub mod metric {
    /// Counter, label `route`: accepted requests. A request is counted when the server has told the caller that the
    /// request is accepted.
    pub const REQUESTS_ACCEPTED: &str = "postback_requests_accepted_total";
    /// Counter, label `route`: calls that repeated an earlier request, by its idempotency key or its id, and got the id of
    /// the earlier request.
    pub const REQUESTS_REPEATED: &str = "postback_requests_repeated_total";
    /// Counter, label `reason`: requests that the server refused. `max_queued`: too many requests wait to be run.
    /// `max_queued_bytes`: the waiting requests have too many bytes. `disk_reserve`: too little space is free on the
    /// disk. `token_max_queued` and `token_max_queued_bytes`: too many requests of one token wait.
    pub const REQUESTS_REFUSED: &str = "postback_requests_refused_total";
    /// Gauge, label `route`: requests that wait to be run.
    pub const REQUESTS_QUEUED: &str = "postback_requests_queued";
    /// Gauge in bytes, label `route`: the size of the headers and bodies of all requests that wait to be run.
    pub const REQUESTS_QUEUED_BYTES: &str = "postback_requests_queued_bytes";
    /// Gauge in bytes: the free space on the store's file system. The gauge exists only if the setting
    /// `store.disk_reserve` is greater than 0.
    pub const STORE_FREE_BYTES: &str = "postback_store_free_bytes";
    /// Counter, labels `route`, `status`, `reason`: requests that ended.
    pub const REQUESTS_FINISHED: &str = "postback_requests_finished_total";
    /// Histogram in seconds, label `route`: how long a request waited for its first run.
    pub const WAIT_SECONDS: &str = "postback_request_wait_duration_seconds";
    /// Histogram in seconds, label `route`: how long a run took.
    pub const RUN_SECONDS: &str = "postback_run_duration_seconds";
    /// Counter, label `reason`: request bodies that the server did not read to their end. `slow`: the client sent too
    /// slowly. `gave_way`: the client was slower than required, and other clients needed the memory. `no_room`: no
    /// memory became free in time.
    pub const BODIES_CUT_OFF: &str = "postback_request_bodies_cut_off_total";
    /// Counter, label `reason`: answers that the server did not write to their end, or did not begin. `slow`: the
    /// client did not read. `gave_way`: the client was slower than required, and other clients needed the memory.
    /// `no_room`: no memory became free in time.
    pub const ANSWERS_CUT_OFF: &str = "postback_answers_cut_off_total";
    /// Counter: event streams that the server refused, because too many were open.
    pub const EVENT_STREAMS_REFUSED: &str = "postback_event_streams_refused_total";
    /// Counter, label `reason`: connections from clients that the server did not serve. `full`: the server already had
    /// the largest allowed number of connections. `accept`: the operating system returned an error.
    pub const CONNECTIONS_REFUSED: &str = "postback_connections_refused_total";
    /// Counter, label `reason`: calls of the API without a valid token. `missing`: no token. `malformed`: a header that
    /// holds no token. `mistyped`: a token with a wrong checksum. `unknown`, `revoked`, `expired`: a token that the
    /// server does not accept.
    pub const AUTHENTICATION_FAILURES: &str = "postback_authentication_failures_total";
    /// Counter: calls that the server refused, because their token had used up its rate.
    pub const CALLS_OVER_RATE: &str = "postback_calls_over_rate_total";
    /// Counter: reports that the store accepted for delivery.
    pub const REPORTS_POSTED: &str = "postback_reports_posted_total";
    /// Counter, label `reason`: reports that were lost, so that no receiver will get them.
    pub const REPORTS_LOST: &str = "postback_reports_lost_total";
    /// Counter: reports that are never sent, because reporting is turned off.
    pub const REPORTS_DISCARDED: &str = "postback_reports_discarded_total";
    /// Counter, label `result`: attempts to deliver a report. Each attempt is one HTTP request.
    pub const ATTEMPTS: &str = "postback_delivery_attempts_total";
    /// Counter, label `reason`: HTTP requests to receivers that do not count as attempts. `lookups`, `files`, `memory`
    /// or `connections`: the server's machine had too few of these. `not_processed`: the receiver refused the HTTP
    /// request before processing any part of it.
    pub const ATTEMPTS_PUT_OFF: &str = "postback_delivery_attempts_put_off_total";
    /// Gauge: open connections to receivers, including idle connections.
    pub const CONNECTIONS_OPEN: &str = "postback_delivery_connections";
    /// Histogram in seconds: how long one attempt to deliver a report took.
    pub const ATTEMPT_SECONDS: &str = "postback_delivery_attempt_duration_seconds";
    /// Counter, label `state`: deliveries that ended. The label says how they ended.
    pub const DELIVERIES_FINISHED: &str = "postback_deliveries_finished_total";
    /// Histogram in seconds: the time between the creation of a report and its delivery.
    pub const DELIVERY_SECONDS: &str = "postback_delivery_duration_seconds";
    /// Gauge: attempts that have begun and not ended.
    pub const DELIVERIES_IN_FLIGHT: &str = "postback_deliveries_in_flight";
    /// Gauge: reports that wait in memory until it is the turn of their origin.
    pub const DELIVERIES_WAITING: &str = "postback_deliveries_waiting";
    /// Counter, label `reason`: reports that were parked in the store. `breaker`: the circuit of the report's origin is
    /// open. `share`: the origin already has the largest allowed number of reports in memory.
    pub const DELIVERIES_PARKED: &str = "postback_deliveries_parked_total";
    /// Counter: parked reports that the delivery has taken from the store into memory again.
    pub const DELIVERIES_UNPARKED: &str = "postback_deliveries_unparked_total";
    /// Counter: how many times the circuit of an origin opened. All origins are counted together.
    pub const BREAKER_OPENED: &str = "postback_delivery_breaker_opened_total";
    /// Gauge: the number of origins whose circuit is open.
    pub const BREAKERS_OPEN: &str = "postback_delivery_breakers_open";
    /// Counter, label `kind`: updates of claimed requests and reports that the store refused, because the claim was no
    /// longer current.
    pub const STALE_SETTLES: &str = "postback_stale_settles_total";
    /// Histogram: the number of operations in one commit of the store.
    pub const COMMIT_OPERATIONS: &str = "postback_store_commit_operations";
    /// Gauge in bytes: the size of the entries in the database's write-ahead log that are not yet copied into the
    /// database, or that a reader of the database still needs.
    pub const STORE_LOG_BYTES: &str = "postback_store_log_bytes";
    /// Counter: how many times the store could not copy the write-ahead log into the database, because another program
    /// held a lock.
    pub const STORE_BUSY_CHECKPOINTS: &str = "postback_store_busy_checkpoints_total";
    /// Histogram in seconds: how long one commit of the store took.
    pub const COMMIT_SECONDS: &str = "postback_store_commit_duration_seconds";
}
