//! What becomes of a report after a try.

use rand::Rng;

use super::schedule::Schedule;
use crate::time::Timestamp;

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The receiver answered with this status.
    Answered(u16),
    /// There was no answer: no address, no connection, no TLS, no HTTP, no patience.
    Failed,
    /// The report may not go there.
    Refused,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    RetryAt(Timestamp),
    /// The schedule is over.
    GiveUp,
    Refused,
}

/// Judges the try with this number; the first is 1.
///
/// Only 2xx is a delivery. Every other answer, and none, is tried again on the schedule, because receivers answer 404 or
/// 401 in the middle of their deployments.
pub(crate) fn judge(end: End, attempt: u32, schedule: &Schedule, now: Timestamp, rng: &mut impl Rng) -> Verdict {
    match end {
        End::Answered(200..=299) => Verdict::Delivered,
        End::Refused => Verdict::Refused,
        End::Answered(_) | End::Failed => match schedule.after(attempt, rng) {
            Some(delay) => Verdict::RetryAt(now.saturating_add(delay)),
            None => Verdict::GiveUp,
        },
    }
}

/// Says what is wrong with a status; `None` if nothing is.
pub(crate) fn complaint(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!("answered {status}; redirects are not followed, so name the final URL")),
        _ => Some(format!("answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn judged(end: End, attempt: u32) -> Verdict {
        let schedule = Schedule::new(vec![Duration::ZERO, Duration::from_secs(10)]).unwrap();
        judge(end, attempt, &schedule, NOW, &mut SmallRng::seed_from_u64(3))
    }

    #[test]
    fn only_2xx_is_a_delivery() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(End::Answered(status), 1), Verdict::Delivered, "{status}");
            assert_eq!(complaint(status), None);
        }
        for status in [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 410, 429, 500, 503, 999] {
            assert!(matches!(judged(End::Answered(status), 1), Verdict::RetryAt(_)), "{status}");
            assert_eq!(judged(End::Answered(status), 2), Verdict::GiveUp, "{status}");
            assert!(complaint(status).unwrap().contains(&status.to_string()));
        }
    }

    #[test]
    fn a_redirect_says_that_it_is_not_followed() {
        assert!(complaint(308).unwrap().contains("redirects are not followed"));
        assert!(!complaint(400).unwrap().contains("redirects"));
    }

    #[test]
    fn a_failure_is_tried_again_on_the_schedule_and_then_given_up() {
        let Verdict::RetryAt(at) = judged(End::Failed, 1) else { panic!("no retry") };
        assert!(at.since(NOW) >= Duration::from_secs(10) && at.since(NOW) <= Duration::from_secs(12));
        assert_eq!(judged(End::Failed, 2), Verdict::GiveUp);
        // The schedule was shortened while the report waited.
        assert_eq!(judged(End::Failed, 7), Verdict::GiveUp);
    }

    #[test]
    fn a_refusal_is_final() {
        assert_eq!(judged(End::Refused, 1), Verdict::Refused);
    }
}
