//! Requests that receivers refused before they processed anything of them, as HTTP/2 lets them say.
//!
//! Such a try uses up no attempt, as the receiver asks for another one (RFC 9113, 8.7). One that says nothing else would keep a
//! report for ever, so of each attempt only so many are free. The numbers are kept in memory: a restart begins them anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::id::ReportId;

/// Of each attempt. With the pauses between them they last for nine minutes.
pub(super) const FREE: u32 = 10;
/// Reports of which this is known at once; of others each try is an attempt.
const MOST_KNOWN: usize = 16_384;
/// It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<HashMap<ReportId, (u32, u32)>>);

impl Refused {
    /// This attempt was refused again. How long to wait for the next try that is free; `None`: this was an attempt.
    pub(super) fn pause(&self, report: ReportId, attempt: u32) -> Option<Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN && !known.contains_key(&report) {
            return None;
        }
        let (of, times) = known.entry(report).or_default();
        if *of != attempt {
            (*of, *times) = (attempt, 0);
        }
        *times += 1;
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(*times - 1));
        let pause = (*times <= FREE).then(|| doubled.min(LONGEST_PAUSE));
        if pause.is_none() {
            known.remove(&report);
        }
        pause
    }

    /// It is no longer refused, or has come to its end.
    pub(super) fn forget(&self, report: ReportId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refusals_of_an_attempt_are_free_with_longer_and_longer_pauses() {
        let (refused, report) = (Refused::default(), ReportId::generate());
        let pauses = |attempt| -> Vec<_> {
            std::iter::from_fn(|| refused.pause(report, attempt)).map(|pause| pause.as_secs()).collect()
        };
        assert_eq!(pauses(1), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(pauses(2).len(), 10, "the next attempt has its own");
        refused.pause(report, 3).unwrap();
        refused.forget(report);
        assert_eq!(refused.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let refused = Refused::default();
        let free = (0..2 * MOST_KNOWN).filter(|_| refused.pause(ReportId::generate(), 1).is_some()).count();
        assert_eq!(free, MOST_KNOWN);
    }
}
