//! Deletes requests and reports that ended long ago.

use crate::Store;
use crate::clock::Trust;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::Operation;
use crate::retention::Retention;
use crate::series::Step;
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// The operation that deletes up to `limit` requests and reports that were finished before the time `before`, and gives
/// up held reports that were due before that time.
#[derive(Debug)]
pub(crate) struct Purge {
    /// A wall-clock time. The operation deletes requests and reports that were finished before this time.
    pub before: Timestamp,
    /// The routes whose requests are deleted if they were finished before another time.
    pub of_routes: Vec<(String, Timestamp)>,
    pub limit: usize,
    /// The figures of each resolution that begin before this time are deleted.
    pub figures: [(Step, Timestamp); 2],
    /// How far the store now trusts the wall clock. The operation writes this value to the backend. `None`: the value
    /// in the backend is not changed.
    pub trust: Option<Trust>,
}

/// The result of a [`Purge`] operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of rows that were deleted.
    pub deleted: usize,
    /// The number of held reports that were given up, because their URL was not enabled in time.
    pub given_up: usize,
    /// Whether more rows are old enough to be deleted. One commit deletes only a limited number of rows and a limited
    /// number of bytes.
    pub more: bool,
}

impl Purge {
    /// Returns the time before which requests of this route must have been finished.
    pub(crate) fn before(&self, route: &str) -> Timestamp {
        self.of_routes.iter().find(|(of, _)| of == route).map_or(self.before, |(_, before)| *before)
    }
}

impl Operation for Purge {
    type Answer = Purged;

    fn committed(&self, answer: &Purged, _: &Local) {
        if answer.given_up > 0 {
            metrics::counter!(metric::DELIVERIES_FINISHED, "state" => "gone").increment(answer.given_up as u64);
        }
    }

    fn changes(&self, answer: &Purged, changes: &mut Vec<Change>) {
        if answer.given_up > 0 {
            changes.push(Change::Many);
        }
    }
}

impl Store {
    /// Deletes up to `limit` rows (requests and reports together) that ended longer than their retention ago. Gives up
    /// at most `limit` held reports that were due longer than the retention of all ago. One call deletes at most
    /// [`PURGE_BYTES`](crate::sizes::PURGE_BYTES) of requests, and as many bytes of reports, unless the first row of a
    /// route, or the first report, alone has more.
    pub async fn purge_ended(&self, retention: &Retention, limit: usize) -> Result<Purged, Error> {
        let clock = &self.0.shared.local.clock;
        let longest = retention.longest();
        let (before, trust) = clock.ended_before(longest);
        let before = |time| before.saturating_add(longest).saturating_sub(time);
        let of_routes = retention.of_routes.iter().map(|(route, time)| (route.clone(), before(*time))).collect();
        let figures = Step::ALL.map(|step| (step, before(step.kept())));
        let purge = Purge { before: before(retention.of_all), of_routes, limit, figures, trust };
        let purged = self.ask(purge).await?;
        if let Some(trust) = trust {
            clock.keep(trust);
        }
        Ok(purged)
    }

    /// Deletes requests and reports that were finished before this time, and gives up held reports. Returns the number
    /// of deleted rows plus the number of reports that were given up.
    #[cfg(any(test, feature = "testing"))]
    pub async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, Error> {
        let (of_routes, figures) = (Vec::new(), Step::ALL.map(|step| (step, before.saturating_sub(step.kept()))));
        self.ask(Purge { before, of_routes, limit, figures, trust: None })
            .await
            .map(|purged| purged.deleted + purged.given_up)
    }
}
