//! Sets the gauges that no event sets: what waits and for how long, the limits of the queue, and the state of the store.
//! Also makes counters with the value 0, because an alert on the growth of a counter does not see a counter that is
//! missing at first.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use postback_store::Store;
use postback_store::overview::Waits;
use postback_store::shutdown::Shutdown;
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// The time between two looks at what is in memory.
const TICK: Duration = Duration::from_secs(5);
/// The shortest time between two reads of the store. Prometheus usually asks as often.
const READ: Duration = Duration::from_secs(15);
/// The read looks at the index entries of all rows that wait. So if it takes long, the next one comes later: the reads
/// take at most one part in this number of the time.
const SHARE: u32 = 200;
/// The longest time that a read may take.
const MAX_READ: Duration = Duration::from_secs(10);
/// All values of the label `kind` of the trouble of the store that a writer can have.
const TROUBLES: [&str; 4] = ["ended", "hangs", "fails", "disk_reserve"];

/// Sets the gauges again and again until `stop`. `limits` returns the limits of the queue, in rows and in bytes.
pub(super) async fn keep(
    store: Store,
    routes: Vec<String>,
    limits: impl Fn() -> (u64, u64),
    started: Timestamp,
    stop: Shutdown,
) {
    zeros();
    metrics::gauge!(metric::START_TIME).set(as_f64(started.micros().unsigned_abs()) / 1e6);
    let mut routes: BTreeSet<_> = routes.into_iter().collect();
    let mut next_read = Instant::now();
    loop {
        from_memory(&store, limits());
        let begun = Instant::now();
        if begun >= next_read {
            let waits = timeout(MAX_READ, store.waits()).await.ok().and_then(Result::ok);
            metrics::gauge!(metric::STORE_TROUBLE, "kind" => "unreadable").set(f64::from(u8::from(waits.is_none())));
            if let Some(waits) = waits {
                from_store(&waits, &mut routes);
            }
            if let Some(counts) = timeout(MAX_READ, store.hand_in_counts()).await.ok().and_then(Result::ok) {
                metrics::gauge!(metric::HANDED_IN_WAITING).set(as_f64(counts.waiting));
                metrics::gauge!(metric::HANDED_IN_SET_ASIDE).set(as_f64(counts.set_aside));
            }
            next_read = begun + READ.max(begun.elapsed() * SHARE);
        }
        if timeout(TICK, stop.stopping()).await.is_ok() {
            return;
        }
    }
}

fn from_memory(store: &Store, (rows, bytes): (u64, u64)) {
    metrics::gauge!(metric::REQUESTS_QUEUED_LIMIT).set(as_f64(rows));
    metrics::gauge!(metric::REQUESTS_QUEUED_LIMIT_BYTES).set(as_f64(bytes));
    let (by_receiver, by_operator) = store.disabled_counts();
    metrics::gauge!(metric::WEBHOOKS_DISABLED, "by" => "receiver").set(as_f64(by_receiver as u64));
    metrics::gauge!(metric::WEBHOOKS_DISABLED, "by" => "operator").set(as_f64(by_operator as u64));
    let trouble = store.trouble().map(|trouble| trouble.kind());
    for kind in TROUBLES {
        metrics::gauge!(metric::STORE_TROUBLE, "kind" => kind).set(f64::from(u8::from(trouble == Some(kind))));
    }
}

/// Sets the gauges of what waits. A route that had a gauge before, and of which nothing waits now, is set to 0.
fn from_store(waits: &Waits, routes: &mut BTreeSet<String>) {
    routes.extend(waits.requests.keys().cloned());
    for route in routes.iter() {
        let age = waits.requests.get(route).map_or(0.0, Duration::as_secs_f64);
        metrics::gauge!(metric::REQUESTS_OLDEST, "route" => route.clone()).set(age);
    }
    metrics::gauge!(metric::DELIVERIES_OLDEST).set(waits.delivery.map_or(0.0, |age| age.as_secs_f64()));
    metrics::gauge!(metric::REPORTS_PARKED).set(as_f64(waits.parked));
    metrics::gauge!(metric::REPORTS_HELD).set(as_f64(waits.held));
}

/// Makes the counters that an alert watches.
fn zeros() {
    for state in ["delivered", "dead", "refused", "gone"] {
        metrics::counter!(metric::DELIVERIES_FINISHED, "state" => state).increment(0);
    }
    for reason in [
        "bad_url",
        "unserializable",
        "panicked",
        "queue_full",
        "store",
        "second_outcome",
        "forked",
        "no_poster",
        "store_full",
        "dropped",
    ] {
        metrics::counter!(metric::REPORTS_LOST, "reason" => reason).increment(0);
    }
    for reason in [
        "max_queued",
        "max_queued_bytes",
        "max_queued_of_route",
        "max_queued_bytes_of_route",
        "token_max_queued",
        "token_max_queued_bytes",
        "disk_reserve",
    ] {
        metrics::counter!(metric::REQUESTS_REFUSED, "reason" => reason).increment(0);
    }
    for kind in ["request", "reports", "set_aside"] {
        metrics::counter!(metric::HANDED_IN, "kind" => kind).increment(0);
    }
    for result in ["delivered", "failed", "refused"] {
        metrics::counter!(metric::ATTEMPTS, "result" => result).increment(0);
    }
    for reason in ["lookups", "files", "memory", "connections", "not_processed"] {
        metrics::counter!(metric::ATTEMPTS_PUT_OFF, "reason" => reason).increment(0);
    }
    for reason in ["full", "accept"] {
        metrics::counter!(metric::CONNECTIONS_REFUSED, "reason" => reason).increment(0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a floating-point number, and a rounded one is good enough")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
