//! Writes reports that do not belong to a settlement.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Effect, Line, Operation, Outgoing, Untaken};
use crate::quota::Quotas;
use crate::record::NewReport;
use crate::sizes::report_bytes;

/// The operation that writes new reports, either all of them or none.
#[derive(Debug)]
pub(crate) struct Post {
    pub reports: Vec<Outgoing>,
    /// Whether the reports are a row of the table `handed_in`, which has the id of the first of them. Then the row is
    /// deleted with the same commit, and if it is not there any more, nothing is written: the reports were taken before.
    pub is_handed_in: bool,
}

/// Whether reports were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    Written,
    /// The reports were handed in, and were taken before.
    Before,
}

impl Post {
    pub(crate) fn new(reports: Vec<NewReport>) -> Self {
        Self { reports: Outgoing::all(reports), is_handed_in: false }
    }

    /// Makes the operation that takes reports that were handed in.
    pub(crate) fn handed_in(reports: Vec<NewReport>) -> Self {
        Self { is_handed_in: true, ..Self::new(reports) }
    }

    /// Returns the id of the row of `handed_in` that the reports are, if they are one.
    pub(crate) fn hand_in(&self) -> Option<String> {
        self.reports.first().filter(|_| self.is_handed_in).map(|first| first.report.id.to_string())
    }
}

impl Operation for Post {
    type Answer = Posted;

    fn reports(&self) -> &[Outgoing] {
        &self.reports
    }

    fn reports_mut(&mut self) -> &mut [Outgoing] {
        &mut self.reports
    }

    fn rows(&self) -> usize {
        self.reports.len().max(1)
    }

    /// Returns the queue in which the reports wait. The origin of the first report selects the queue.
    fn line(&self) -> Line<'_> {
        Line::Origin(origin(self.reports.first().map_or("", |outgoing| outgoing.report.to.url())))
    }

    /// Reports that were handed in stay in the table `handed_in` if they cannot be written, so they are not lost.
    fn posted(&self) -> usize {
        if self.is_handed_in { 0 } else { self.reports.len() }
    }

    fn reserve(&mut self, quotas: &Quotas) -> bool {
        let due = || self.reports.iter().filter(|outgoing| outgoing.report.refused.is_none());
        quotas.reports.try_reserve(due().count(), due().map(|outgoing| report_bytes(&outgoing.report)).sum())
    }

    fn effect(answer: &Posted) -> Effect {
        match answer {
            Posted::Written => Effect::Written,
            Posted::Before => Effect::Silent,
        }
    }

    fn announce(self, local: &Local, untaken: &mut Untaken) {
        Outgoing::announce(self.reports, local, untaken);
    }
}

/// Returns the part of a URL before the path: scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
}

impl Store {
    /// Queues new reports without waiting, either all of them or none. The reports are committed with the next batch.
    pub fn post(&self, reports: Vec<NewReport>) -> Result<(), Error> {
        self.inbox().try_push(Post::new(reports).into())
    }

    /// Queues new reports, and waits until they are committed. While the queue is full, the future also waits for space
    /// in the queue. If the caller drops the future during the wait for space, the reports are lost, and are counted as
    /// lost.
    pub async fn post_durably(&self, reports: Vec<NewReport>) -> Result<(), Error> {
        let lost = self.0.shared.local.counters.unless_taken_in(reports.len());
        let taken_in = self.inbox().push(Post::new(reports).into()).await;
        // After this line, no report can be lost without being counted: if the reports are in the queue, they stay
        // there even if the caller drops the future; otherwise the caller receives the error.
        lost.disarm();
        taken_in?.wait().await.map(drop)
    }
}
