//! Decides what happens to a report after an attempt.

use std::time::Duration;

use rand::Rng;

use super::schedule::Schedule;
use postback_store::Next;
use postback_wire::time::Timestamp;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// The receiver answered.
    Answered(Answer),
    /// There was no answer: the look-up, the connection, TLS or HTTP failed, or the attempt timed out.
    Failed,
    /// The report may not be sent, because its URL is not valid or its host is a forbidden address.
    Refused,
    /// The resolver returned a forbidden address for the host name in the URL.
    ForbiddenAddress,
    /// Nothing was sent, because this machine lacked a resource.
    NotMade,
}

/// The parts of an answer that decide what happens to the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long the receiver asked to wait before the next attempt.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) directive: Option<ReceiverDirective>,
}

impl Answer {
    /// Whether the status means that the report is delivered.
    pub(crate) fn is_success(self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Whether the answer means that the receiver wants no further report at this URL. This does not depend on whether
    /// the current report is delivered.
    pub(crate) fn disables(self) -> bool {
        self.directive == Some(ReceiverDirective::Disable) || self.status == 410
    }
}

/// What a receiver asks for in the header `webhook-delivery`. The header is proposed for Standard Webhooks in its pull
/// request 291.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiverDirective {
    /// The receiver wants no further report at this URL.
    Disable,
    /// The receiver wants no further attempt of this report.
    AbortMessage,
}

impl ReceiverDirective {
    /// Reads the values of the header `webhook-delivery`, and returns the directive that they contain. If they contain
    /// both directives, the result is `Disable`, because it stops more reports.
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

/// Decides what happens to a report after the attempt with this number. The first attempt has number 1.
///
/// A report is delivered only by an answer with a 2xx status. After every other answer, or without an answer, the
/// report is retried on the schedule, because receivers answer 404 or 401 in the middle of a deployment. If the
/// receiver says that it will never accept the report, the report is not retried.
///
/// If the resolver returned a forbidden address for the host name, the report is retried, as if the name had no
/// address. There are two reasons. A failing resolver may answer 0.0.0.0 for a while. And the caller who chose the name
/// must not learn whether the name is in the operator's network.
///
/// The caller must not pass [`AttemptEnd::NotMade`], because such an attempt does not count in the schedule.
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

/// Describes what is wrong with an answer, or says that the receiver wants no more reports. `None` if there is nothing
/// to say.
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

/// Returns what the operator can do about a 3xx answer. Each 3xx status has another meaning (RFC 9110, 15.4).
fn redirect_hint(status: u16) -> Option<&'static str> {
    Some(match status {
        301 | 302 | 307 | 308 => "redirects are not followed, so use the final URL",
        303 => {
            "it points to another resource, to be read with GET; redirects are not followed, so the receiver must answer 2xx if \
             it took the report"
        }
        300 => "it offers several URLs, and none is chosen; use the URL that takes webhooks",
        304 => {
            "Not Modified is an answer to a conditional request, which a webhook is not; the receiver must answer 2xx"
        }
        305 | 306 => "it asks for a proxy, and none is used; use a URL that takes webhooks itself",
        309..=399 => "this status is not valid for a webhook; the receiver must answer 2xx",
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
            (301, "use the final URL"),
            (302, "use the final URL"),
            (303, "to be read with GET"),
            (304, "conditional request"),
            (305, "proxy"),
            (306, "proxy"),
            (307, "use the final URL"),
            (308, "use the final URL"),
            (399, "must answer 2xx"),
        ] {
            let text = problem(plain(status)).unwrap();
            assert!(text.starts_with(&format!("answered {status}; ")) && text.contains(words), "{text}");
            assert!([301, 302, 303, 307, 308].contains(&status) || !text.contains("redirects"), "{text}");
        }
    }

    #[test]
    fn a_failure_is_retried_on_the_schedule_and_then_given_up() {
        let Next::RetryAt(at) = judged(AttemptEnd::Failed, 1) else { panic!("no retry") };
        assert!(at.since(NOW) >= Duration::from_secs(10) && at.since(NOW) <= Duration::from_secs(12));
        assert_eq!(judged(AttemptEnd::Failed, 2), Next::Dead);
        // The number of the attempt is larger than the number of attempts in the schedule. This happens if the operator
        // shortens the schedule while the report waits.
        assert_eq!(judged(AttemptEnd::Failed, 7), Next::Dead);
    }

    #[test]
    fn a_receiver_that_asks_for_a_wait_on_any_failure_gets_it() {
        for status in [301, 404, 429, 500, 503] {
            let asking = Answer { retry_after: Some(Duration::from_secs(1_000)), ..plain(status) };
            let Next::RetryAt(at) = answered(asking, 1) else { panic!("no retry") };
            let wait = at.since(NOW);
            assert!(wait >= Duration::from_secs(1_000) && wait <= Duration::from_secs(1_100), "{status}: {wait:?}");
            assert_eq!(answered(asking, 2), Next::Dead, "Retry-After adds no attempt");
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
        // This report is delivered, and the URL gets no further report.
        let last = Answer { directive: Some(ReceiverDirective::Disable), ..plain(204) };
        assert_eq!(answered(last, 1), Next::DeliveredLast);
        assert!(problem(last).unwrap().contains("wants no more"));
        assert_eq!(
            answered(Answer { directive: Some(ReceiverDirective::AbortMessage), ..plain(200) }, 1),
            Next::Delivered
        );
    }

    #[test]
    fn a_directive_is_read_out_of_whatever_the_header_holds() {
        let directive = |values: &[&str]| ReceiverDirective::of(values.iter().copied());
        assert_eq!(directive(&["disable"]), Some(ReceiverDirective::Disable));
        assert_eq!(directive(&[" Abort-Message "]), Some(ReceiverDirective::AbortMessage));
        assert_eq!(directive(&["abort-message, disable"]), Some(ReceiverDirective::Disable));
        assert_eq!(directive(&["abort-message", "later"]), Some(ReceiverDirective::AbortMessage));
        assert_eq!(directive(&["disabled", "", "disable;x=1"]), None);
        assert_eq!(directive(&[]), None);
    }

    #[test]
    fn a_refusal_is_final_and_a_name_that_leads_to_a_forbidden_address_fares_like_one_that_leads_nowhere() {
        assert_eq!(judged(AttemptEnd::Refused, 1), Next::Refused);
        for attempt in 1..4 {
            assert_eq!(judged(AttemptEnd::ForbiddenAddress, attempt), judged(AttemptEnd::Failed, attempt));
        }
    }
}
