//! Retries that use up no attempt. They are for requests that the receiver says it has not processed.
//!
//! In HTTP/2, a receiver can say that it has not processed a request and that the request can be sent again (RFC 9113,
//! 8.7). If a receiver always says so, its report would never end. So each attempt has at most [`MAX_FREE`] free
//! retries. The numbers of used free retries are in memory only, and begin at 0 after a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postback_store::backoff::doubled;
use postback_wire::id::ReportId;

/// The largest number of free retries of one attempt. A free retry sends the report again without using up an attempt
/// of the schedule. The pauses before these retries are 811 s together, about 14 minutes.
pub(super) const MAX_FREE: u32 = 10;
/// The largest number of reports whose free retries are counted at the same time. A free retry sends a report again
/// without using up an attempt. While this many reports are counted, other reports get no free retry.
const MAX_KNOWN: usize = 16_384;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Counts the free retries of each report. A free retry sends the report again without using up an attempt.
#[derive(Debug, Default)]
pub(super) struct FreeRetries(Mutex<HashMap<ReportId, Used>>);

/// How many free retries one attempt of a report has used. A free retry sends the report again without using up an
/// attempt.
#[derive(Debug)]
struct Used {
    attempt: u32,
    retries: u32,
}

impl FreeRetries {
    /// Returns the pause before the report is sent again without using up an attempt (a free retry). `None` if all free
    /// retries of the attempt are used. In this case, the attempt counts in the schedule.
    pub(super) fn pause(&self, report: ReportId, attempt: u32) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN && !known.contains_key(&report) {
            return None;
        }
        let used = known.entry(report).or_insert_with(|| Used { attempt, retries: 0 });
        if used.attempt != attempt {
            *used = Used { attempt, retries: 0 };
        }
        if used.retries >= MAX_FREE {
            known.remove(&report);
            return None;
        }
        let pause = doubled(FIRST_PAUSE, LONGEST_PAUSE, used.retries);
        used.retries += 1;
        Some(pause)
    }

    /// Forgets the free retries of a report, because the receiver has processed the last request of the report.
    pub(super) fn forget(&self, report: ReportId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refusals_of_an_attempt_are_free_with_longer_and_longer_pauses() {
        let (retries, report) = (FreeRetries::default(), ReportId::generate());
        let pauses = |attempt| -> Vec<_> {
            std::iter::from_fn(|| retries.pause(report, attempt)).map(|pause| pause.as_secs()).collect()
        };
        assert_eq!(pauses(1), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(pauses(2).len(), 10, "the next attempt has its own free retries");
        retries.pause(report, 3).unwrap();
        retries.forget(report);
        assert_eq!(retries.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let retries = FreeRetries::default();
        let free = (0..2 * MAX_KNOWN).filter(|_| retries.pause(ReportId::generate(), 1).is_some()).count();
        assert_eq!(free, MAX_KNOWN);
    }
}
