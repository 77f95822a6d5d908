//! Rates, medians and quantiles.

use std::fmt;
use std::time::Duration;

use crate::rounds::Round;

/// A number of events a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(pub(crate) f64);

impl Rate {
    pub(crate) fn of(round: &Round) -> Self {
        let n = u32::try_from(round.in_time).expect("bounded by the rounds");
        Self(f64::from(n) / round.time.as_secs_f64())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s", self.0)
    }
}

/// The median rate of the rounds. If their number is even, the slower one of the two middle rounds counts.
pub(crate) fn median(rounds: &[Round]) -> Rate {
    Rate(Spread::of(rounds.iter().map(|round| Rate::of(round).0)).median)
}

/// The median of some figures, the least figure and the greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    /// If the number of figures is even, this is the lesser one of the two in the middle.
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// The spread of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        Self { least: figures[0], median: figures[(figures.len() - 1) / 2], most: figures[figures.len() - 1] }
    }
}

/// A quantile of sorted times. `part` is from 0 to 1.
pub(crate) fn quantile(times: &[Duration], part: f64) -> Duration {
    let below = times.partition_point(|time| rank(times, *time) < part);
    times.get(below).or(times.last()).copied().unwrap_or_default()
}

/// The part of the times that are not longer than `time`, from 0 to 1.
fn rank(times: &[Duration], time: Duration) -> f64 {
    let count = |n: usize| f64::from(u32::try_from(n).expect("bounded by the rounds"));
    count(times.partition_point(|other| *other <= time)) / count(times.len())
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
