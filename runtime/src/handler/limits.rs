//! The limits of a route: what its requests may use, set by the program and by the operator. The operator wins.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use postback_wire::time::Spoken;

/// The allowed values of the limits. The settings of the whole server have the same ranges as those of a route.
pub(crate) mod allowed {
    use std::ops::RangeInclusive;
    use std::time::Duration;

    const DAY: Duration = Duration::from_hours(24);
    /// The length of a year: 365.25 days. The parser of durations uses the same length.
    const YEAR: Duration = Duration::from_hours(8_766);

    pub(crate) const CONCURRENCY: RangeInclusive<u64> = 1..=65_536;
    pub(crate) const RUN_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY.saturating_mul(30);
    pub(crate) const RUNS: RangeInclusive<u64> = 1..=1_000;
    pub(crate) const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=DAY.saturating_mul(7);
    pub(crate) const QUEUED: RangeInclusive<u64> = 1..=1_000_000_000;
    pub(crate) const QUEUED_BYTES: RangeInclusive<u64> = 1..=1 << 50;
    /// With a retention of less than a second, a finished request could be removed from the store before a client that
    /// polls asks for the request again.
    pub(crate) const RETENTION: RangeInclusive<Duration> = Duration::from_secs(1)..=YEAR.saturating_mul(10);
    pub(crate) const PRIORITY: RangeInclusive<i64> = -100..=100;
}

/// The limits of one route. A limit that is `None` is the one of the whole server, or there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The largest number of requests of the route that run at the same time on this node.
    pub(crate) concurrency: Option<usize>,
    /// The longest time that one run may take.
    pub(crate) timeout: Option<Duration>,
    /// The largest number of runs of one request that may end with an error, a panic or a timeout.
    pub(crate) max_attempts: Option<u32>,
    /// The time between the first failed run of a request and the next run. It doubles after each further failed run.
    pub(crate) retry_delay: Option<Duration>,
    /// The longest time between a failed run and the next run.
    pub(crate) max_retry_delay: Option<Duration>,
    /// The largest number of requests of the route that wait to be run.
    pub(crate) max_queued: Option<u64>,
    /// The largest number of bytes of the requests of the route that wait to be run.
    pub(crate) max_queued_bytes: Option<u64>,
    /// How long finished requests of the route stay in the store.
    pub(crate) retention: Option<Duration>,
    /// The priority of a request whose caller asks for none. `None`: 0.
    pub(crate) priority: Option<i8>,
    /// Whether a caller may choose the priority of its request. `None`: no.
    pub(crate) allow_priority: Option<bool>,
}

impl Limits {
    /// Returns these limits, and those of `others` where these have none.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(others.concurrency),
            timeout: self.timeout.or(others.timeout),
            max_attempts: self.max_attempts.or(others.max_attempts),
            retry_delay: self.retry_delay.or(others.retry_delay),
            max_retry_delay: self.max_retry_delay.or(others.max_retry_delay),
            max_queued: self.max_queued.or(others.max_queued),
            max_queued_bytes: self.max_queued_bytes.or(others.max_queued_bytes),
            retention: self.retention.or(others.retention),
            priority: self.priority.or(others.priority),
            allow_priority: self.allow_priority.or(others.allow_priority),
        }
    }

    /// Returns a text for each limit that is outside its range. The settings check their values themselves, so these
    /// are mistakes of the program.
    pub(super) fn mistakes(self) -> Vec<String> {
        let number = |name, value: Option<u64>, range: &RangeInclusive<u64>| {
            let (value, (least, most)) = (value?, (range.start(), range.end()));
            (!range.contains(&value)).then(|| format!("`{name}` is {value}, and must be from {least} to {most}"))
        };
        let duration = |name, value: Option<Duration>, range: &RangeInclusive<Duration>| {
            let (value, (least, most)) = (value?, (range.start(), range.end()));
            let shown = |duration: Duration| humantime::format_duration(duration).to_string();
            (!range.contains(&value)).then(|| {
                format!("`{name}` is {}, and must be from {} to {}", shown(value), shown(*least), shown(*most))
            })
        };
        let priority = self.priority.map(i64::from).filter(|priority| !allowed::PRIORITY.contains(priority));
        let mistakes = [
            number("concurrency", self.concurrency.map(|n| n as u64), &allowed::CONCURRENCY),
            duration("timeout", self.timeout, &allowed::RUN_TIMEOUT),
            number("max_attempts", self.max_attempts.map(u64::from), &allowed::RUNS),
            duration("retry_delay", self.retry_delay, &allowed::PAUSE),
            duration("max_retry_delay", self.max_retry_delay, &allowed::PAUSE),
            number("max_queued", self.max_queued, &allowed::QUEUED),
            number("max_queued_bytes", self.max_queued_bytes, &allowed::QUEUED_BYTES),
            duration("retention", self.retention, &allowed::RETENTION),
            priority.map(|priority| format!("`priority` is {priority}, and must be from -100 to 100")),
        ];
        mistakes.into_iter().flatten().collect()
    }
}

/// Writes the limits that are set, such as `concurrency 2, timeout 30 s`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.concurrency.map(|n| format!("concurrency {n}")),
            self.timeout.map(|time| format!("timeout {}", Spoken(time))),
            self.max_attempts.map(|n| format!("max_attempts {n}")),
            self.retry_delay.map(|time| format!("retry_delay {}", Spoken(time))),
            self.max_retry_delay.map(|time| format!("max_retry_delay {}", Spoken(time))),
            self.max_queued.map(|n| format!("max_queued {n}")),
            self.max_queued_bytes.map(|n| format!("max_queued_bytes {n}")),
            self.retention.map(|time| format!("retention {}", Spoken(time))),
            self.priority.map(|n| format!("priority {n}")),
            self.allow_priority.map(|yes| format!("allow_priority {yes}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_set_is_that_of_the_others() {
        let (operator, program) = (
            Limits { concurrency: Some(2), allow_priority: Some(false), ..Limits::default() },
            Limits { concurrency: Some(9), timeout: Some(Duration::from_secs(3)), ..Limits::default() },
        );
        assert_eq!(operator.or(program).to_string(), "concurrency 2, timeout 3.0 s, allow_priority false");
        assert_eq!(operator.or(program), Limits { timeout: program.timeout, ..operator });
        assert_eq!(Limits::default().or(program), program);
    }

    #[test]
    fn a_limit_out_of_its_range_is_told_with_its_value() {
        let limits = Limits {
            concurrency: Some(0),
            timeout: Some(Duration::ZERO),
            max_attempts: Some(1_001),
            retry_delay: Some(Duration::from_hours(24 * 8)),
            max_queued_bytes: Some(0),
            retention: Some(Duration::from_millis(999)),
            priority: Some(-101),
            ..Limits::default()
        };
        let mistakes = limits.mistakes();
        assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
        assert_eq!(mistakes[0], "`concurrency` is 0, and must be from 1 to 65536");
        assert_eq!(mistakes[1], "`timeout` is 0s, and must be from 1ms to 30days");
        assert_eq!(mistakes[6], "`priority` is -101, and must be from -100 to 100");
        assert_eq!(Limits { priority: Some(100), max_attempts: Some(1), ..Limits::default() }.mistakes(), [""; 0]);
    }
}
