//! What becomes of a report after a try.

use std::time::Duration;

use rand::Rng;

use super::schedule::Schedule;
use crate::time::Timestamp;

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// The receiver answered.
    Answered(Answer),
    /// There was no answer: no address, no connection, no TLS, no HTTP, no patience.
    Failed,
    /// The report may not go there: its URL is none, or names an address where it may not go.
    Refused,
    /// The name in its URL led, this time, to an address where it may not go.
    ForbiddenAddress,
    /// This machine was short of something, and nothing was attempted.
    NotMade,
}

/// What of an answer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The wait that the receiver asked for.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) directive: Option<ReceiverDirective>,
}

impl Answer {
    /// This is a delivery.
    pub(crate) fn is_success(self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The receiver wants no report any more, whatever becomes of this one.
    pub(crate) fn disables(self) -> bool {
        self.directive == Some(ReceiverDirective::Disable) || self.status == 410
    }
}

/// What a receiver may ask for in the header `webhook-delivery` (proposed for Standard Webhooks in its pull request
/// 291).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiverDirective {
    /// Nothing more to this URL.
    Disable,
    /// Not this report again.
    AbortMessage,
}

impl ReceiverDirective {
    /// The wish in the values of the header, if they hold one that is known; the one that goes further, of two.
    pub(crate) fn of<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut directive = None;
        for word in values.flat_map(|value| value.split(',')) {
            match word.trim() {
                word if word.eq_ignore_ascii_case("disable") => return Some(Self::Disable),
                word if word.eq_ignore_ascii_case("abort-message") => directive = Some(Self::AbortMessage),
                _ => {}
            }
        }
        directive
    }
}

/// What becomes of a report after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Delivered,
    /// Delivered, and the receiver wants nothing more at this URL.
    DeliveredLast,
    RetryAt(Timestamp),
    /// The schedule is over.
    Dead,
    /// It may not go there.
    Refused,
    /// The receiver wants it no more.
    Gone {
        /// Nor anything else at this URL.
        disable: bool,
    },
}

impl Next {
    /// Nothing more is to be sent to the URL.
    pub(crate) fn disables(self) -> bool {
        matches!(self, Self::DeliveredLast | Self::Gone { disable: true })
    }

    /// The same without that.
    pub(crate) fn without_disabling(self) -> Self {
        match self {
            Self::DeliveredLast => Self::Delivered,
            Self::Gone { .. } => Self::Gone { disable: false },
            other => other,
        }
    }
}

/// Judges the try with this number; the first is 1.
///
/// Only 2xx is a delivery. Every other answer, and none, is tried again on the schedule, because receivers answer 404
/// or 401 in the middle of their deployments; but for those that say that they will never take it. A name that led
/// astray is tried again like one that leads nowhere: resolvers fail into 0.0.0.0 and the like, and who chose the name
/// shall not learn from what becomes of the report whether it is one of the operator's network. What was not tried is
/// not judged: it is due again.
pub(crate) fn judge(end: AttemptEnd, attempt: u32, schedule: &Schedule, now: Timestamp, rng: &mut impl Rng) -> Next {
    let asked = match end {
        AttemptEnd::Answered(answer) if answer.is_success() => {
            return if answer.disables() { Next::DeliveredLast } else { Next::Delivered };
        }
        AttemptEnd::Answered(answer) if answer.disables() => return Next::Gone { disable: true },
        AttemptEnd::Answered(Answer { directive: Some(ReceiverDirective::AbortMessage), .. }) => {
            return Next::Gone { disable: false };
        }
        AttemptEnd::Answered(answer) => answer.retry_after,
        AttemptEnd::Failed | AttemptEnd::ForbiddenAddress | AttemptEnd::NotMade => None,
        AttemptEnd::Refused => return Next::Refused,
    };
    match schedule.after(attempt, asked, rng) {
        Some(delay) => Next::RetryAt(now.saturating_add(delay)),
        None => Next::Dead,
    }
}

/// Says what is wrong with an answer, or that it is the last; `None` if nothing is.
pub(crate) fn problem(answer: Answer) -> Option<String> {
    let Answer { status, directive, .. } = answer;
    match (status, directive) {
        (_, Some(ReceiverDirective::Disable)) => {
            Some(format!("answered {status} and wants no more reports (webhook-delivery: disable)"))
        }
        _ if answer.is_success() => None,
        (410, _) => Some("answered 410 Gone: it wants no more reports".to_owned()),
        (_, Some(ReceiverDirective::AbortMessage)) => {
            Some(format!("answered {status} and does not want this report again (webhook-delivery: abort-message)"))
        }
        (_, None) => Some(match redirect_hint(status) {
            Some(why) => format!("answered {status}; {why}"),
            None => format!("answered {status}"),
        }),
    }
}

/// What is to be done about an answer that speaks of another place, each of which means something else (RFC 9110,
/// 15.4).
fn redirect_hint(status: u16) -> Option<&'static str> {
    Some(match status {
        301 | 302 | 307 | 308 => "redirects are not followed, so name the final URL",
        303 => {
            "it points to another resource, to be read with GET; if the report was taken, the receiver must answer 2xx, for \
             redirects are not followed"
        }
        300 => "it offers several URLs, and none is chosen; name the one that takes webhooks",
        304 => {
            "Not Modified is an answer to a conditional request, which a webhook is not; the receiver must answer 2xx"
        }
        305 | 306 => "it asks for a proxy, and none is used; name a URL that takes webhooks itself",
        309..=399 => "this is no answer to a webhook; the receiver must answer 2xx",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const GONE: Next = Next::Gone { disable: true };

    fn plain(status: u16) -> Answer {
        Answer { status, retry_after: None, directive: None }
    }

    fn judged(end: AttemptEnd, attempt: u32) -> Next {
        let schedule = Schedule::new(vec![Duration::ZERO, Duration::from_secs(10)]).unwrap();
        judge(end, attempt, &schedule, NOW, &mut SmallRng::seed_from_u64(3))
    }

    fn answered(answer: Answer, attempt: u32) -> Next {
        judged(AttemptEnd::Answered(answer), attempt)
    }

    #[test]
    fn only_2xx_is_a_delivery() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answered(plain(status), 1), Next::Delivered, "{status}");
            assert_eq!(problem(plain(status)), None);
        }
        for status in [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 429, 500, 503, 999] {
            assert!(matches!(answered(plain(status), 1), Next::RetryAt(_)), "{status}");
            assert_eq!(answered(plain(status), 2), Next::Dead, "{status}");
            assert!(problem(plain(status)).unwrap().contains(&status.to_string()));
        }
    }

    #[test]
    fn a_redirect_says_that_it_is_not_followed() {
        assert!(problem(plain(308)).unwrap().contains("redirects are not followed"));
        assert!(!problem(plain(400)).unwrap().contains("redirects"));
    }

    #[test]
    fn each_3xx_says_what_is_wrong_with_it() {
        for (status, words) in [
            (300, "several URLs"),
            (301, "name the final URL"),
            (302, "name the final URL"),
            (303, "to be read with GET"),
            (304, "conditional request"),
            (305, "proxy"),
            (306, "proxy"),
            (307, "name the final URL"),
            (308, "name the final URL"),
            (399, "must answer 2xx"),
        ] {
            let told = problem(plain(status)).unwrap();
            assert!(told.starts_with(&format!("answered {status}; ")) && told.contains(words), "{told}");
            assert!([301, 302, 303, 307, 308].contains(&status) || !told.contains("redirects"), "{told}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_on_the_schedule_and_then_given_up() {
        let Next::RetryAt(at) = judged(AttemptEnd::Failed, 1) else { panic!("no retry") };
        assert!(at.since(NOW) >= Duration::from_secs(10) && at.since(NOW) <= Duration::from_secs(12));
        assert_eq!(judged(AttemptEnd::Failed, 2), Next::Dead);
        // The schedule was shortened while the report waited.
        assert_eq!(judged(AttemptEnd::Failed, 7), Next::Dead);
    }

    #[test]
    fn a_receiver_that_asks_for_a_wait_on_any_failure_gets_it() {
        for status in [301, 404, 429, 500, 503] {
            let asking = Answer { retry_after: Some(Duration::from_secs(1_000)), ..plain(status) };
            let Next::RetryAt(at) = answered(asking, 1) else { panic!("no retry") };
            let wait = at.since(NOW);
            assert!(wait >= Duration::from_secs(1_000) && wait <= Duration::from_secs(1_100), "{status}: {wait:?}");
            assert_eq!(answered(asking, 2), Next::Dead, "a wish makes the schedule no longer");
        }
    }

    #[test]
    fn a_receiver_may_end_one_report_or_all() {
        assert_eq!(answered(plain(410), 1), GONE);
        for status in [302, 400, 404, 500] {
            assert_eq!(answered(Answer { directive: Some(ReceiverDirective::Disable), ..plain(status) }, 1), GONE);
            let abort = Answer { directive: Some(ReceiverDirective::AbortMessage), ..plain(status) };
            assert_eq!(answered(abort, 1), Next::Gone { disable: false });
            assert!(problem(abort).unwrap().contains("abort-message"));
        }
        // Taken is taken; but nothing more is to come.
        let last = Answer { directive: Some(ReceiverDirective::Disable), ..plain(204) };
        assert_eq!(answered(last, 1), Next::DeliveredLast);
        assert!(problem(last).unwrap().contains("wants no more"));
        assert_eq!(
            answered(Answer { directive: Some(ReceiverDirective::AbortMessage), ..plain(200) }, 1),
            Next::Delivered
        );
    }

    #[test]
    fn a_wish_is_read_out_of_whatever_the_header_holds() {
        let directive = |values: &[&str]| ReceiverDirective::of(values.iter().copied());
        assert_eq!(directive(&["disable"]), Some(ReceiverDirective::Disable));
        assert_eq!(directive(&[" Abort-Message "]), Some(ReceiverDirective::AbortMessage));
        assert_eq!(directive(&["abort-message, disable"]), Some(ReceiverDirective::Disable));
        assert_eq!(directive(&["abort-message", "later"]), Some(ReceiverDirective::AbortMessage));
        assert_eq!(directive(&["disabled", "", "disable;x=1"]), None);
        assert_eq!(directive(&[]), None);
    }

    #[test]
    fn a_refusal_is_final_and_a_name_that_leads_astray_fares_like_one_that_leads_nowhere() {
        assert_eq!(judged(AttemptEnd::Refused, 1), Next::Refused);
        for attempt in 1..4 {
            assert_eq!(judged(AttemptEnd::ForbiddenAddress, attempt), judged(AttemptEnd::Failed, attempt));
        }
    }
}
