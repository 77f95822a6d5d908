//! Reads the header `Retry-After`, with which a receiver asks for a pause before the next attempt (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postback_wire::time::Timestamp;

/// The length of the longest header value that is parsed, in bytes. The longest date has 33 bytes.
const MAX_VALUE: usize = 64;

/// Returns how long the receiver asks to wait, counted from `now`. The value is a number of seconds, or a date in one
/// of the three date formats of HTTP. A date in the past means no wait. If the value is neither a number nor a date,
/// the result is `None`, and the header is ignored.
pub(crate) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if value.is_empty() || value.len() > MAX_VALUE {
        return None;
    }
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // If the number does not fit into 64 bits, the result is the longest possible wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    let date = Timestamp::from_micros(0).saturating_add(date.duration_since(UNIX_EPOCH).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The date Sun, 06 Nov 1994 08:49:37 GMT from the RFC's examples, in seconds since 1970.
    const THEN: i64 = 784_111_777;

    fn parsed(value: &str, seconds_before_then: i64) -> Option<Duration> {
        parse(value, Timestamp::from_micros((THEN - seconds_before_then) * 1_000_000))
    }

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_understood() {
        assert_eq!(parsed("100", 0), Some(Duration::from_secs(100)));
        assert_eq!(parsed(" 0\t", 0), Some(Duration::ZERO));
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parsed(date, 90), Some(Duration::from_secs(90)), "{date}");
            assert_eq!(parsed(date, 0), Some(Duration::ZERO), "{date}");
            assert_eq!(parsed(date, -90), Some(Duration::ZERO), "{date} is past");
        }
    }

    #[test]
    fn what_is_neither_is_ignored() {
        for value in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "0x10",
            "12 34",
            "soon",
            "١٢٠",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 2027 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "1994-11-06T08:49:37Z",
            "Thu, 01 Jan 1601 00:00:00 GMT",
        ] {
            assert_eq!(parsed(value, 0), None, "{value:?}");
        }
        assert_eq!(parsed(&"1".repeat(MAX_VALUE + 1), 0), None);
    }

    #[test]
    fn more_seconds_than_can_be_counted_are_as_many_as_can() {
        assert_eq!(parsed("99999999999999999999999999", 0), Some(Duration::from_secs(u64::MAX)));
    }

    proptest! {
        #[test]
        fn nothing_that_a_receiver_sends_panics(value in ".*", now: i64) {
            let _ = parse(&value, Timestamp::from_micros(now));
        }

        #[test]
        fn a_date_is_waited_for_to_the_second(now in 0..4_000_000_000_i64, wait in 0..100_000_000_u64) {
            let date = UNIX_EPOCH + Duration::from_secs(now.unsigned_abs() + wait);
            let parsed = parse(&httpdate::fmt_http_date(date), Timestamp::from_micros(now * 1_000_000));
            prop_assert_eq!(parsed, Some(Duration::from_secs(wait)));
        }
    }
}
