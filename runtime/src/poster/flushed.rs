//! How many reports of a poster are delivered, stored, waiting or lost after a flush.

use std::fmt;

/// The result of a flush: how many reports of the poster are delivered, stored, waiting or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// The number of reports delivered since the poster started.
    pub delivered: u64,
    /// The number of reports that are on disk and not delivered yet. The next process that opens the store delivers
    /// them.
    pub stored: u64,
    /// The number of reports that are neither delivered nor known to be on disk. If the process ends now, these reports
    /// are lost.
    pub waiting: u64,
    /// The number of reports that were never accepted, were refused, or were given up after their last attempt.
    pub lost: u64,
    /// The number of reports that were dropped because reporting is turned off.
    pub discarded: u64,
    /// Whether the flush succeeded before its timeout. If true, the numbers include every report that was posted before
    /// the flush.
    pub(super) known: bool,
}

impl Flushed {
    /// Whether the process may end now without losing a report that was accepted before the flush. Returns `false` if
    /// the flush could not find this out before its timeout.
    pub fn is_safe(&self) -> bool {
        self.known && self.waiting == 0
    }
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, stored, waiting, lost, discarded, known } = self;
        write!(f, "{delivered} delivered, {stored} stored for later, {waiting} waiting, {lost} lost")?;
        if *discarded > 0 {
            write!(f, ", {discarded} discarded: reporting is turned off")?;
        }
        if *known { Ok(()) } else { f.write_str(", and the flush did not come to its end") }
    }
}
