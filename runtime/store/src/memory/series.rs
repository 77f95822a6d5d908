//! The figures of the memory backend. They have the same bounds as those of other backends: a day of minutes, and a week.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::Memory;
use crate::backend::Cause;
use crate::series::{Figures, MOST_LISTED, Row, Scope, SeriesRows, Step, begin_of};
use postback_wire::time::Timestamp;

/// The figures, by what they are about and by time.
#[derive(Default)]
pub(super) struct Series(BTreeMap<(Scope, Step, Timestamp), Figures>);

impl Series {
    pub(super) fn add(&mut self, minute: Timestamp, row: &Row) {
        for step in Step::ALL {
            let key = (row.scope.clone(), step, begin_of(minute, step.length()));
            self.0.entry(key).or_default().add(&row.figures);
        }
    }

    /// Deletes up to `limit` rows that begin before the time of their resolution. Returns whether that many were deleted.
    pub(super) fn purge(&mut self, before: &[(Step, Timestamp)], limit: usize) -> bool {
        let is_old = |(_, step, at): &(Scope, Step, Timestamp)| before.iter().any(|old| old.0 == *step && *at < old.1);
        let old: Vec<_> = self.0.keys().filter(|key| is_old(key)).take(limit).cloned().collect();
        for key in &old {
            self.0.remove(key);
        }
        old.len() >= limit
    }
}

impl SeriesRows for Memory {
    fn series<'a>(
        &'a self,
        scope: &'a Scope,
        step: Step,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Timestamp, Figures)>, Cause>> {
        let tables = self.lock();
        let rows = tables.series.0.range((scope.clone(), step, from)..(scope.clone(), step, until));
        ready(Ok(rows.map(|((_, _, at), figures)| (*at, figures.clone())).collect())).boxed()
    }

    fn series_names(&self, kind: i64) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        let tables = self.lock();
        let mut names: Vec<String> = Vec::new();
        for (scope, _, _) in tables.series.0.keys() {
            let (of, name) = scope.key();
            if of == kind && names.last().is_none_or(|last| last != name) && names.len() < MOST_LISTED {
                names.push(name.to_owned());
            }
        }
        ready(Ok(names)).boxed()
    }
}
