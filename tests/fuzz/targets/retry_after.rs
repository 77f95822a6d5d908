//! Fuzzes `Retry-After`: a number of seconds is read as that number, and a date is never after the year 9999.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postback::__fuzz::retry_after;

/// The time from 1970 to the end of the year 9999, which is the last year that a date in HTTP can have.
const CALENDAR: Duration = Duration::from_secs(253_402_300_800);

fuzz_target!(|input: (&str, u32)| {
    let (value, now) = input;
    let asked = retry_after(value, now.into());
    let value = value.trim_matches([' ', '\t']);
    if (1..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit()) {
        assert_eq!(asked, Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX))));
    } else {
        assert!(asked.is_none_or(|asked| asked <= CALENDAR));
    }
});
