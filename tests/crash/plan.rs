//! All random decisions of the harness. One seed decides them all.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The moment at which the program is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// This time after the start, whether the program is ready or not.
    Starting(Duration),
    /// This time after the program said that it is ready.
    Working(Duration),
    /// At this write or sync of the database, counted from the start. If `torn` is true, half of that write is done.
    Call { number: u64, torn: bool },
}

/// What happens to one of several nodes, or to their database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGTERM, and a new start.
    Terminate,
    /// SIGSTOP for longer than a lease, and then SIGCONT.
    Stop,
    /// The database ends all connections, in the middle of their transactions.
    EndConnections,
    /// The database crashes and starts again.
    RestartDatabase,
}

/// How the receiver answers a webhook that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// 204: the webhook is taken.
    Take,
    /// 200, and half of the announced body. The webhook is taken, because the status arrived.
    TakeAndBreakOff,
    Fail,
    Busy,
    /// No answer. The connection stays open until the sender closes it.
    Hang,
    Reset,
    /// Half a status line, and the end of the connection.
    BreakOff,
    /// 500, and half of the announced body.
    FailAndBreakOff,
}

impl Answer {
    /// Whether the sender may take the webhook as delivered.
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Self::Take | Self::TakeAndBreakOff)
    }
}

/// An endless source of decisions. The same seed gives the same decisions.
pub(crate) struct Plan {
    random: StdRng,
    pub(crate) kills: usize,
    is_new: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64, kills: usize) -> Self {
        Self { random: StdRng::seed_from_u64(seed), kills, is_new: true }
    }

    /// Another source of decisions, for a task that decides at the same time.
    pub(crate) fn branch(&mut self) -> Self {
        Self::new(self.random.random(), 0)
    }

    /// The moment of the next kill. The first kill comes after at least 500 ms of work, so that some requests are
    /// accepted.
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

    /// The answer to the next attempt. About a third of all attempts fail.
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

    /// Returns true once in `times` calls, on average.
    pub(crate) fn is_one_in(&mut self, times: u32) -> bool {
        self.random.random_range(0..times) == 0
    }

    /// A random number below this one.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    /// What happens next to one of several nodes, or to their database.
    pub(crate) fn event(&mut self) -> Event {
        match self.random.random_range(0..100) {
            0..55 => Event::Kill,
            55..70 => Event::Terminate,
            70..80 => Event::Stop,
            80..92 => Event::EndConnections,
            _ => Event::RestartDatabase,
        }
    }

    /// A random pause of at most this many milliseconds.
    pub(crate) fn pause(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=ms))
    }
}
