//! How many of the numbered reports of each run have arrived: kept by the receiver, told to the program.
//!
//! Told a thousand times a second and not for each one, so that counting costs next to nothing.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// What arrived of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Different ones.
    pub(crate) distinct: u64,
    pub(crate) arrivals: u64,
}

/// The receiver's side: a bit for each number.
#[derive(Default)]
pub(crate) struct Seen {
    runs: HashMap<u32, (Vec<u64>, Count)>,
}

impl Seen {
    pub(crate) fn arrived(&mut self, run: u32, number: u64) {
        let (bits, count) = self.runs.entry(run).or_default();
        let (word, bit) = (usize::try_from(number / 64).expect("a small number"), 1 << (number % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        count.arrivals += 1;
        count.distinct += u64::from(bits[word] & bit == 0);
        bits[word] |= bit;
    }

    /// A line for each run that has another count than when it was told last.
    pub(crate) fn news(&self, told: &mut HashMap<u32, Count>) -> String {
        let mut news = String::new();
        for (run, (_, count)) in &self.runs {
            if told.insert(*run, *count) != Some(*count) {
                news.push_str(&format!("{run} {} {}\n", count.distinct, count.arrivals));
            }
        }
        news
    }
}

/// The program's side: what it was told.
#[derive(Default)]
pub(crate) struct Counts {
    runs: Mutex<HashMap<u32, Count>>,
    changed: Condvar,
}

impl Counts {
    /// Takes `RUN DISTINCT ARRIVALS`; whether it was that.
    pub(crate) fn told(&self, line: &str) -> bool {
        let mut words = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(run)), Some(Ok(distinct)), Some(Ok(arrivals))) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        let run = u32::try_from(run).expect("a run of ours");
        self.runs.lock().unwrap().insert(run, Count { distinct, arrivals });
        self.changed.notify_all();
        true
    }

    pub(crate) fn of(&self, run: u32) -> Count {
        self.runs.lock().unwrap().get(&run).copied().unwrap_or_default()
    }

    /// Waits until so many different ones of a run have arrived, at most this long.
    pub(crate) fn wait(&self, run: u32, distinct: u64, limit: Duration) -> Count {
        let end = Instant::now() + limit;
        let mut runs = self.runs.lock().unwrap();
        loop {
            let count = runs.get(&run).copied().unwrap_or_default();
            let left = end.saturating_duration_since(Instant::now());
            if count.distinct >= distinct || left.is_zero() {
                return count;
            }
            runs = self.changed.wait_timeout(runs, left).unwrap().0;
        }
    }
}
