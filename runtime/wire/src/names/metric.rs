//! The metrics: the name, the kind, the unit, the labels and the description of each. They are emitted through the
//! crate `metrics`.
//!
//! A workload server shows them at `/metrics`. Another program gets them if it installs a recorder of the crate
//! `metrics`.

/// What a metric counts or measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// The distribution of many values. The numbers are the upper bounds of the buckets in which they are counted.
    Histogram(&'static [f64]),
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// The description of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// Whether the metric counts, or what it measures.
    pub kind: Kind,
    /// The unit of the values.
    pub unit: Unit,
    /// The names of the labels. The number of values of each label has a bound: `route` has the routes of the program
    /// and those of requests in the store, and every other label has a fixed list of words.
    pub labels: &'static [&'static str],
    /// What is counted or measured.
    pub help: &'static str,
}

// The buckets of the histograms. A run or a wait may take hours, and a delivery as long as `delivery.schedule`.
const WAIT: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0];
const RUN: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];
const ATTEMPT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
const DELIVERY: &[f64] =
    &[0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0, 86_400.0, 259_200.0];
const OPERATIONS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0];
const COMMIT: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Defines the names of the metrics, and the table [`ALL`] with their descriptions.
macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])+
        $constant:ident = $name:literal, $kind:ident $(($buckets:ident))?, $unit:ident, [$($label:literal),*];
    )+) => {
        $(
            $(#[doc = $help])+
            #[doc = concat!("\n\n", stringify!($kind), ", unit: ", stringify!($unit), $(", label: `", $label, "`",)* ".")]
            pub const $constant: &str = $name;
        )+
        /// All metrics.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind $(($buckets))?,
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: concat!($($help),+),
        }),+];
    };
}

metrics! {
    /// Accepted requests. A request is counted when the server has told the caller that the request is accepted.
    REQUESTS_ACCEPTED = "postback_requests_accepted_total", Counter, Count, ["route"];
    /// Calls that repeated an earlier request, by its idempotency key or its id, and got the id of the earlier
    /// request.
    REQUESTS_REPEATED = "postback_requests_repeated_total", Counter, Count, ["route"];
    /// What transactions of the program handed in and the store took: `request` or `reports`. `set_aside`: what cannot be
    /// taken.
    HANDED_IN = "postback_handed_in_total", Counter, Count, ["kind"];
    /// What transactions of the program handed in and the store has not taken yet, counted up to 10,000.
    HANDED_IN_WAITING = "postback_handed_in_waiting", Gauge, Count, [];
    /// What transactions of the program handed in and cannot be taken, counted up to 10,000.
    HANDED_IN_SET_ASIDE = "postback_handed_in_set_aside", Gauge, Count, [];
    /// Requests that the server refused. `max_queued`: too many requests wait to be run. `max_queued_bytes`: the
    /// waiting requests have too many bytes. `max_queued_of_route` and `max_queued_bytes_of_route`: the same for one
    /// route. `disk_reserve`: too little space is free on the disk. `token_max_queued` and `token_max_queued_bytes`:
    /// too many requests of one token wait.
    REQUESTS_REFUSED = "postback_requests_refused_total", Counter, Count, ["reason"];
    /// Requests that wait to be run.
    REQUESTS_QUEUED = "postback_requests_queued", Gauge, Count, ["route"];
    /// The size of the headers and bodies of all requests that wait to be run.
    REQUESTS_QUEUED_BYTES = "postback_requests_queued_bytes", Gauge, Bytes, ["route"];
    /// Requests that run.
    REQUESTS_RUNNING = "postback_requests_running", Gauge, Count, ["route"];
    /// For how long the request has been due that has waited longest for a run. It is 0 if no request is due.
    REQUESTS_OLDEST = "postback_requests_oldest_waiting_seconds", Gauge, Seconds, ["route"];
    /// How many requests of all routes may wait to be run: the setting `worker.max_queued`.
    REQUESTS_QUEUED_LIMIT = "postback_requests_queued_limit", Gauge, Count, [];
    /// How large the waiting requests of all routes may be together: the setting `worker.max_queued_bytes`.
    REQUESTS_QUEUED_LIMIT_BYTES = "postback_requests_queued_limit_bytes", Gauge, Bytes, [];
    /// Calls that were answered with a problem document. The guide about problems has the list of the codes.
    ERROR_ANSWERS = "postback_error_answers_total", Counter, Count, ["code"];
    /// When this process started, in seconds since 1970.
    START_TIME = "postback_start_time_seconds", Gauge, Seconds, [];
    /// Whether something is wrong with the store, 0 or 1. `fails`: it cannot write. `hangs`: one write does not end.
    /// `ended`: its writer has ended. `disk_reserve`: too little space is free on the disk. `unreadable`: it did not
    /// answer when these gauges were read.
    STORE_TROUBLE = "postback_store_trouble", Gauge, Count, ["kind"];
    /// The free space on the store's file system. The gauge exists only if the setting `store.disk_reserve` is
    /// greater than 0.
    STORE_FREE_BYTES = "postback_store_free_bytes", Gauge, Bytes, [];
    /// Requests that ended. `status` says how, and `reason` says why.
    REQUESTS_FINISHED = "postback_requests_finished_total", Counter, Count, ["route", "status", "reason"];
    /// Times at which a schedule was due. `submitted`: this process has made the request. `known`: the request existed,
    /// because another process has made it. `missed`: no server ran in time, and not every time is made up for.
    SCHEDULE_TICKS = "postback_schedule_ticks_total", Counter, Count, ["route", "outcome"];
    /// How long a request waited for its first run.
    WAIT_SECONDS = "postback_request_wait_duration_seconds", Histogram(WAIT), Seconds, ["route"];
    /// Results that were kept outside the store.
    RESULTS_KEPT = "postback_results_kept_total", Counter, Count, ["route"];
    /// The bytes of these results.
    RESULTS_KEPT_BYTES = "postback_results_kept_bytes_total", Counter, Bytes, ["route"];
    /// How often the place of the results did not take one. It is tried again.
    RESULTS_REFUSED = "postback_results_refused_total", Counter, Count, ["route"];
    /// Results that were deleted, because their requests are no longer stored.
    RESULTS_DELETED = "postback_results_deleted_total", Counter, Count, [];
    /// How long a run took.
    RUN_SECONDS = "postback_run_duration_seconds", Histogram(RUN), Seconds, ["route"];
    /// Request bodies that the server did not read to their end. `slow`: the client sent too slowly. `gave_way`: the
    /// client was slower than required, and other clients needed the memory. `no_room`: no memory became free in
    /// time.
    BODIES_CUT_OFF = "postback_request_bodies_cut_off_total", Counter, Count, ["reason"];
    /// Answers that the server did not write to their end, or did not begin. `slow`: the client did not read.
    /// `gave_way`: the client was slower than required, and other clients needed the memory. `no_room`: no memory
    /// became free in time.
    ANSWERS_CUT_OFF = "postback_answers_cut_off_total", Counter, Count, ["reason"];
    /// Event streams that the server refused, because too many were open.
    EVENT_STREAMS_REFUSED = "postback_event_streams_refused_total", Counter, Count, [];
    /// Connections from clients that the server did not serve. `full`: the server already had the largest allowed
    /// number of connections. `accept`: the operating system returned an error.
    CONNECTIONS_REFUSED = "postback_connections_refused_total", Counter, Count, ["reason"];
    /// Calls of the API without a valid token. `missing`: no token. `malformed`: a header that holds no token.
    /// `mistyped`: a token with a wrong checksum. `unknown`, `revoked`, `expired`: a token that the server does not
    /// accept.
    AUTHENTICATION_FAILURES = "postback_authentication_failures_total", Counter, Count, ["reason"];
    /// Calls that the server refused, because their token had used up its rate.
    CALLS_OVER_RATE = "postback_calls_over_rate_total", Counter, Count, [];
    /// Reports that the store accepted for delivery.
    REPORTS_POSTED = "postback_reports_posted_total", Counter, Count, [];
    /// Reports that were lost, so that no receiver will get them.
    REPORTS_LOST = "postback_reports_lost_total", Counter, Count, ["reason"];
    /// Reports that are never sent, because reporting is turned off.
    REPORTS_DISCARDED = "postback_reports_discarded_total", Counter, Count, [];
    /// Reports of a progress. `sent`: the receiver has taken it. `failed`: it was not taken, or could not be sent, and is
    /// not sent again. `replaced`: a newer one came before it was sent.
    PROGRESS_REPORTS = "postback_progress_reports_total", Counter, Count, ["result"];
    /// Attempts to deliver a report. Each attempt is one HTTP request.
    ATTEMPTS = "postback_delivery_attempts_total", Counter, Count, ["result"];
    /// HTTP requests to receivers that do not count as attempts. `lookups`, `files`, `memory` or `connections`: the
    /// server's machine had too few of these. `not_processed`: the receiver refused the HTTP request before
    /// processing any part of it.
    ATTEMPTS_PUT_OFF = "postback_delivery_attempts_put_off_total", Counter, Count, ["reason"];
    /// Open connections to receivers, including idle connections.
    CONNECTIONS_OPEN = "postback_delivery_connections", Gauge, Count, [];
    /// How long one attempt to deliver a report took.
    ATTEMPT_SECONDS = "postback_delivery_attempt_duration_seconds", Histogram(ATTEMPT), Seconds, [];
    /// Deliveries that ended. The label says how they ended.
    DELIVERIES_FINISHED = "postback_deliveries_finished_total", Counter, Count, ["state"];
    /// The time between the creation of a report and its delivery.
    DELIVERY_SECONDS = "postback_delivery_duration_seconds", Histogram(DELIVERY), Seconds, [];
    /// Attempts that have begun and not ended.
    DELIVERIES_IN_FLIGHT = "postback_deliveries_in_flight", Gauge, Count, [];
    /// Reports that wait in memory until it is the turn of their origin.
    DELIVERIES_WAITING = "postback_deliveries_waiting", Gauge, Count, [];
    /// Reports that were parked in the store. `breaker`: the circuit of the report's origin is open. `share`: the
    /// origin already has the largest allowed number of reports in memory.
    DELIVERIES_PARKED = "postback_deliveries_parked_total", Counter, Count, ["reason"];
    /// Parked reports that the delivery has taken from the store into memory again.
    DELIVERIES_UNPARKED = "postback_deliveries_unparked_total", Counter, Count, [];
    /// For how long the delivery has been due that has waited longest. Parked and held reports do not count. It is 0 if
    /// no delivery is due.
    DELIVERIES_OLDEST = "postback_deliveries_oldest_due_seconds", Gauge, Seconds, [];
    /// Reports that are parked: they wait in the store until it is the turn of their origin.
    REPORTS_PARKED = "postback_reports_parked", Gauge, Count, [];
    /// Reports that are held: they wait until their URL is enabled.
    REPORTS_HELD = "postback_reports_held", Gauge, Count, [];
    /// The number of disabled URLs and origins. `by` says who disabled them: `receiver` or `operator`.
    WEBHOOKS_DISABLED = "postback_webhooks_disabled", Gauge, Count, ["by"];
    /// How many times the circuit of an origin opened. All origins are counted together.
    BREAKER_OPENED = "postback_delivery_breaker_opened_total", Counter, Count, [];
    /// The number of origins whose circuit is open.
    BREAKERS_OPEN = "postback_delivery_breakers_open", Gauge, Count, [];
    /// Updates of claimed requests and reports that the store refused, because the claim was no longer current.
    STALE_SETTLES = "postback_stale_settles_total", Counter, Count, ["kind"];
    /// The nodes that use the database at the moment, with this one. Only a store in PostgreSQL has it.
    NODES = "postback_nodes", Gauge, Count, [];
    /// Nodes that have ended, and whose requests and reports this node has taken over.
    NODE_TAKEOVERS = "postback_node_takeovers_total", Counter, Count, [];
    /// Spans that the collector of traces did not get: the queue was full, the collector was down for long, or it refused
    /// them. The feature `otlp` counts them.
    SPANS_LOST = "postback_spans_lost_total", Counter, Count, ["reason"];
    /// The number of operations in one commit of the store.
    COMMIT_OPERATIONS = "postback_store_commit_operations", Histogram(OPERATIONS), Count, [];
    /// The size of the entries in the database's write-ahead log that are not yet copied into the database, or that a
    /// reader of the database still needs.
    STORE_LOG_BYTES = "postback_store_log_bytes", Gauge, Bytes, [];
    /// How many times the store could not copy the write-ahead log into the database, because another program held a
    /// lock.
    STORE_BUSY_CHECKPOINTS = "postback_store_busy_checkpoints_total", Counter, Count, [];
    /// How long one commit of the store took.
    COMMIT_SECONDS = "postback_store_commit_duration_seconds", Histogram(COMMIT), Seconds, [];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_there_once_and_says_the_kind_and_the_unit() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, unit, help, .. } in ALL {
            assert!(name.starts_with("postback_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.trim_end_matches("_total").ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
            assert!(help.trim().len() > 10 && help.trim().ends_with('.'), "{name}: {help}");
        }
    }

    #[test]
    fn the_bounds_of_buckets_rise() {
        for metric in ALL {
            let Kind::Histogram(buckets) = metric.kind else { continue };
            assert!(buckets.len() <= 16 && buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
        }
    }
}
