//! Counts the numbered reports of each series that have arrived. The receiver counts, and sends the counts to the
//! program.
//!
//! The receiver sends changed counts a thousand times a second, not for each report, so that counting costs very
//! little.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// The reports of one series that have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// The number of different reports.
    pub(crate) distinct: u64,
    /// The number of arrivals, with repeats.
    pub(crate) arrivals: u64,
}

/// The receiver's side. It keeps one bit for each number of a report.
#[derive(Default)]
pub(crate) struct Seen {
    all: HashMap<u32, (Vec<u64>, Count)>,
}

impl Seen {
    pub(crate) fn arrived(&mut self, series: u32, number: u64) {
        let (bits, count) = self.all.entry(series).or_default();
        let (word, bit) = (usize::try_from(number / 64).expect("a small number"), 1 << (number % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        count.arrivals += 1;
        count.distinct += u64::from(bits[word] & bit == 0);
        bits[word] |= bit;
    }

    /// A line for each series whose count differs from the count in `sent`. The new count is stored in `sent`.
    pub(crate) fn changes(&self, sent: &mut HashMap<u32, Count>) -> String {
        let mut lines = String::new();
        for (series, (_, count)) in &self.all {
            if sent.insert(*series, *count) != Some(*count) {
                lines.push_str(&format!("{series} {} {}\n", count.distinct, count.arrivals));
            }
        }
        lines
    }
}

/// The program's side. It keeps the counts that the receiver has sent.
#[derive(Default)]
pub(crate) struct Counts {
    all: Mutex<HashMap<u32, Count>>,
    changed: Condvar,
}

impl Counts {
    /// Reads a line `SERIES DISTINCT ARRIVALS`. Returns false if the line has another form.
    pub(crate) fn read_line(&self, line: &str) -> bool {
        let mut words = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(series)), Some(Ok(distinct)), Some(Ok(arrivals))) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let series = u32::try_from(series).expect("the number of a series");
        self.all.lock().unwrap().insert(series, Count { distinct, arrivals });
        self.changed.notify_all();
        true
    }

    pub(crate) fn of(&self, series: u32) -> Count {
        self.all.lock().unwrap().get(&series).copied().unwrap_or_default()
    }

    /// Waits until this number of different reports of a series has arrived, or until the limit has passed. Returns the
    /// count.
    pub(crate) fn wait(&self, series: u32, distinct: u64, limit: Duration) -> Count {
        let end = Instant::now() + limit;
        let mut all = self.all.lock().unwrap();
        loop {
            let count = all.get(&series).copied().unwrap_or_default();
            let left = end.saturating_duration_since(Instant::now());
            if count.distinct >= distinct || left.is_zero() {
                return count;
            }
            all = self.changed.wait_timeout(all, left).unwrap().0;
        }
    }
}
