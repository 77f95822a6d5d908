//! Counts attempts and the ends of deliveries: in the metrics, and for the figures of each minute.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::delivery::attempt::AttemptResult;
use crate::policy::after_attempt::AttemptEnd;
use postback_store::{Next, Store};
use postback_wire::names::metric;

pub(super) fn attempt(store: &Store, origin: &str, result: &AttemptResult) {
    let label = match result.end {
        AttemptEnd::Answered(answer) if answer.is_success() => "delivered",
        AttemptEnd::Answered(_) | AttemptEnd::Failed => "failed",
        AttemptEnd::Refused | AttemptEnd::ForbiddenAddress | AttemptEnd::NotMade => "refused",
    };
    counter!(metric::ATTEMPTS, "result" => label).increment(1);
    if label != "delivered" {
        store.tally().attempt_failed(origin);
    }
    if label != "refused" {
        histogram!(metric::ATTEMPT_SECONDS).record(result.attempt.took.as_secs_f64());
    }
}

/// Counts the end of a delivery, if `next` is one. `age` is the time since the report was made.
pub(super) fn end(store: &Store, origin: &str, next: Next, age: Duration) {
    let state = match next {
        Next::Delivered | Next::DeliveredLast => "delivered",
        Next::Gone { .. } => "gone",
        Next::Dead => "dead",
        Next::Refused => "refused",
        Next::RetryAt(_) => return,
    };
    counter!(metric::DELIVERIES_FINISHED, "state" => state).increment(1);
    match state {
        "delivered" => {
            histogram!(metric::DELIVERY_SECONDS).record(age.as_secs_f64());
            store.tally().delivered(origin, age);
        }
        "dead" => store.tally().dead(origin),
        _ => {}
    }
}
