//! What happens when, all of it decided by one seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A moment to be killed at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// So long after it was started, ready or not.
    Starting(Duration),
    /// So long after it said that it is ready.
    Working(Duration),
    /// At the so-many-th write or sync of its database, counted from its start; `torn`: half of that write is done.
    Call { number: u64, torn: bool },
}

/// What a receiver does with a webhook that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// 204.
    Take,
    /// 200, and half the body that it announced: taken, for the status came through.
    TakeAndBreakOff,
    Fail,
    Busy,
    /// Nothing, until the sender has gone.
    Hang,
    Reset,
    /// Half a status line.
    BreakOff,
    /// 500, and half the body.
    FailAndBreakOff,
}

impl Answer {
    /// Whether the sender may think that it was taken.
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Self::Take | Self::TakeAndBreakOff)
    }
}

/// An endless source of decisions, the same for the same seed.
pub(crate) struct Plan {
    random: StdRng,
    pub(crate) kills: usize,
    is_new: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64, kills: usize) -> Self {
        Self { random: StdRng::seed_from_u64(seed), kills, is_new: true }
    }

    /// Another source, for somebody who decides at the same time.
    pub(crate) fn branch(&mut self) -> Self {
        Self::new(self.random.random(), 0)
    }

    /// When to kill the next time. The first time it has worked for a while: so that something was accepted at all.
    pub(crate) fn moment(&mut self) -> Moment {
        if std::mem::take(&mut self.is_new) {
            return Moment::Working(Duration::from_millis(500) + self.pause(500));
        }
        match self.random.random_range(0..10) {
            0..2 => Moment::Starting(self.pause(250)),
            2..4 => Moment::Call { number: self.random.random_range(1..=60), torn: self.random.random() },
            4..6 => Moment::Call { number: self.random.random_range(1..=1_500), torn: self.random.random() },
            _ => Moment::Working(self.pause(900)),
        }
    }

    /// A third of all tries fail.
    pub(crate) fn answer(&mut self) -> Answer {
        match self.random.random_range(0..100) {
            0..8 => Answer::Fail,
            8..12 => Answer::Busy,
            12..15 => Answer::Hang,
            15..22 => Answer::Reset,
            22..27 => Answer::BreakOff,
            27..32 => Answer::FailAndBreakOff,
            32..37 => Answer::TakeAndBreakOff,
            _ => Answer::Take,
        }
    }

    /// True once in so many times.
    pub(crate) fn is_one_in(&mut self, times: u32) -> bool {
        self.random.random_range(0..times) == 0
    }

    /// Up to so long.
    pub(crate) fn pause(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=ms))
    }
}
