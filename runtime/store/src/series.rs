//! How much work there was, minute by minute, so that charts survive a restart.
//!
//! While a server runs, this process counts in memory what happens: see [`Tally`]. Once a minute, one operation adds the
//! figures of the minute to the store: those of everything together, and those of single routes and origins. Nothing is
//! written for a single request. A process that ends without a stop loses the minute that had begun.
//!
//! Each figure is stored in two resolutions: in rows of one minute, which stay a day, and in rows of ten minutes, which
//! stay a week. So the number of rows has a bound, and a chart of a week reads few of them. Each node has rows of its
//! own, and a read adds them up.

mod figures;
mod keep;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::figures::{Figures, Latency, Waiting};
pub use self::keep::keep;
pub use self::tally::Tally;
use crate::Store;
use crate::error::Error;
use crate::overview::Cause;
use postback_wire::time::Timestamp;

/// The largest number of routes, and of origins, that have figures of their own in ten minutes. What is beyond is counted
/// under [`OTHER`].
pub(crate) const MOST_NAMES: usize = 50;
/// The longest name of a route or an origin that has figures of its own, in bytes.
const MAX_NAME: usize = 300;
/// The name under which the routes, or the origins, beyond [`MOST_NAMES`] are counted.
pub const OTHER: &str = "other";
/// The largest number of names that [`Store::series_names`] returns.
pub const MOST_LISTED: usize = 200;
/// The largest number of rows that one read adds up: those of a week, of seven nodes.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) const MOST_READ: i64 = 7 * 7 * 24 * 6;

const MINUTE: Duration = Duration::from_mins(1);

/// The resolutions in which figures are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Minute,
    TenMinutes,
}

impl Step {
    pub(crate) const ALL: [Self; 2] = [Self::Minute, Self::TenMinutes];

    pub(crate) fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::TenMinutes => 10,
        }
    }

    pub(crate) fn length(self) -> Duration {
        MINUTE * self.minutes()
    }

    /// How long rows of this resolution stay in the store.
    pub(crate) fn kept(self) -> Duration {
        match self {
            Self::Minute => Duration::from_hours(24),
            Self::TenMinutes => Duration::from_hours(7 * 24),
        }
    }
}

/// Returns the beginning of the stretch of this length that contains the time `at`.
pub(crate) fn begin_of(at: Timestamp, length: Duration) -> Timestamp {
    let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_micros(at.micros() - at.micros().rem_euclid(length))
}

/// What figures are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything together.
    All,
    /// The requests of one route.
    Route(Arc<str>),
    /// The deliveries to one origin.
    Origin(Arc<str>),
}

impl Scope {
    /// Returns the number of the kind, and the name, as a backend stores them.
    pub(crate) fn key(&self) -> (i64, &str) {
        match self {
            Self::All => (0, ""),
            Self::Route(name) => (1, name),
            Self::Origin(name) => (2, name),
        }
    }
}

/// The figures of one minute about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub scope: Scope,
    pub figures: Figures,
}

/// The half of a reader that reads figures.
pub(crate) trait SeriesRows: Send + Sync {
    /// Returns the figures about `scope` in rows of this resolution that begin at `from` or later and before `until`. There
    /// may be several rows with the same beginning: one of each node.
    fn series<'a>(
        &'a self,
        scope: &'a Scope,
        step: Step,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Timestamp, Figures)>, Cause>>;
    /// Returns the names of this kind of scope, in alphabetical order, at most [`MOST_LISTED`].
    fn series_names(&self, kind: i64) -> BoxFuture<'_, Result<Vec<String>, Cause>>;
}

/// The names of the routes and of the origins that have figures, each in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub routes: Vec<String>,
    pub origins: Vec<String>,
}

impl Store {
    /// Returns what this process counts in memory.
    pub fn tally(&self) -> &Tally {
        &self.0.shared.local.tally
    }

    /// Returns the figures about `scope`, from the time `from` until now, in stretches of the length `stretch`, which is a
    /// whole number of minutes. The key of each stretch is its beginning. A stretch without figures is not in the map.
    ///
    /// What this process has counted since its last write is added to the last stretch. Stretches of ten minutes or more
    /// are added up from rows of ten minutes.
    pub async fn series(
        &self,
        scope: &Scope,
        from: Timestamp,
        stretch: Duration,
    ) -> Result<BTreeMap<Timestamp, Figures>, Error> {
        let (now, step) =
            (self.wall(), if stretch < Step::TenMinutes.length() { Step::Minute } else { Step::TenMinutes });
        // The figures in memory are read first: a write in between is then missing for a moment, and nothing counts twice.
        let latest = self.tally().peek(scope);
        let until = now.saturating_add(Duration::from_micros(1));
        let rows = self.reader()?.series(scope, step, begin_of(from, stretch), until).await.map_err(Error::Backend)?;
        let mut series: BTreeMap<Timestamp, Figures> = BTreeMap::new();
        for (at, figures) in rows.into_iter().chain(latest.map(|figures| (now, figures))) {
            series.entry(begin_of(at, stretch)).or_default().add(&figures);
        }
        Ok(series)
    }

    /// Returns the names of the routes and the origins that have figures. [`OTHER`] stands for those beyond the bound.
    pub async fn series_names(&self) -> Result<Names, Error> {
        let reader = self.reader()?;
        let (routes, origins) =
            tokio::try_join!(reader.series_names(1), reader.series_names(2)).map_err(Error::Backend)?;
        let mut names = Names { routes, origins };
        self.tally().add_names(&mut names);
        Ok(names)
    }

    /// Returns the time of the wall clock.
    pub(crate) fn wall(&self) -> Timestamp {
        self.0.shared.local.clock.now().wall
    }
}
