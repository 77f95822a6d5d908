//! Counts in memory what happens, until the figures are written once a minute.
//!
//! A count costs one short lock and no allocation, unless it is the first of its route or origin. The tally holds a bounded
//! number of names. In a process that writes no figures, such as a library, it counts nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Figures, MAX_NAME, MOST_NAMES, Names, OTHER, Row, Scope, Waiting};
use postback_wire::report::Status;
use postback_wire::time::Timestamp;

/// What this process has counted since it last wrote figures.
#[derive(Debug, Default)]
pub struct Tally {
    counts: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the ten minutes began in which the names are known.
    ten: Timestamp,
    all: Figures,
    routes: Named,
    origins: Named,
}

/// The figures of single routes, or of single origins. A name whose figures were written stays until ten minutes are over,
/// so that no more than [`MOST_NAMES`] have rows in this time.
#[derive(Debug, Default)]
struct Named(HashMap<Arc<str>, Figures>);

impl Named {
    /// Changes the figures of this name, or of [`OTHER`] if there is no room for the name.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Figures)) {
        let name = if self.has_room_for(name) { name } else { OTHER };
        // The name is copied only if it is new.
        if let Some(figures) = self.0.get_mut(name) {
            return change(figures);
        }
        let mut figures = Figures::default();
        change(&mut figures);
        self.0.insert(name.into(), figures);
    }

    fn has_room_for(&self, name: &str) -> bool {
        self.0.contains_key(name) || self.0.len() < MOST_NAMES && name.len() <= MAX_NAME
    }

    /// Takes the figures of all names that have some.
    fn take(&mut self, scope: impl Fn(Arc<str>) -> Scope, rows: &mut Vec<Row>) {
        for (name, figures) in &mut self.0 {
            let figures = std::mem::take(figures);
            if figures != Figures::default() {
                rows.push(Row { scope: scope(Arc::clone(name)), figures });
            }
        }
    }
}

impl Tally {
    /// Begins to count.
    pub(crate) fn begin(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn is_counting(&self) -> bool {
        self.counts.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut State)) {
        if self.counts.load(Ordering::Relaxed) {
            count(&mut self.lock());
        }
    }

    pub(crate) fn accepted(&self, route: &str) {
        self.count(|state| {
            state.all.accepted += 1;
            state.routes.change(route, |figures| figures.accepted += 1);
        });
    }

    /// Counts the end of a request. `route` is `None` if the route is not known.
    pub(crate) fn ended(&self, route: Option<&str>, status: Status) {
        let add = |figures: &mut Figures| match status {
            Status::Completed => figures.completed += 1,
            Status::Cancelled => figures.cancelled += 1,
            _ => figures.failed += 1,
        };
        self.count(|state| {
            add(&mut state.all);
            if let Some(route) = route {
                state.routes.change(route, add);
            }
        });
    }

    /// Counts a run of this route that took so long.
    pub fn ran(&self, route: &str, took: Duration) {
        self.count(|state| {
            state.all.runs.record(took);
            state.routes.change(route, |figures| figures.runs.record(took));
        });
    }

    /// Counts an attempt that did not deliver its report to this origin.
    pub fn attempt_failed(&self, origin: &str) {
        self.count(|state| {
            state.all.failed_attempts += 1;
            state.origins.change(origin, |figures| figures.failed_attempts += 1);
        });
    }

    /// Counts a report that was delivered to this origin so long after it was made.
    pub fn delivered(&self, origin: &str, age: Duration) {
        self.count(|state| {
            let add = |figures: &mut Figures| {
                figures.delivered += 1;
                figures.deliveries.record(age);
            };
            add(&mut state.all);
            state.origins.change(origin, add);
        });
    }

    /// Counts a delivery to this origin whose schedule is over.
    pub fn dead(&self, origin: &str) {
        self.count(|state| {
            state.all.dead += 1;
            state.origins.change(origin, |figures| figures.dead += 1);
        });
    }

    /// Counts deliveries that ended as dead together, to several origins.
    pub(crate) fn dead_together(&self, number: usize) {
        self.count(|state| state.all.dead += number as u64);
    }

    /// Returns what was counted about `scope` since the last write. `None`: nothing.
    pub(crate) fn peek(&self, scope: &Scope) -> Option<Figures> {
        let state = self.lock();
        let figures = match scope {
            Scope::All => Some(&state.all),
            Scope::Route(name) => state.routes.0.get(name),
            Scope::Origin(name) => state.origins.0.get(name),
        };
        figures.filter(|figures| **figures != Figures::default()).cloned()
    }

    pub(super) fn add_names(&self, names: &mut Names) {
        let state = self.lock();
        for (into, named) in [(&mut names.routes, &state.routes), (&mut names.origins, &state.origins)] {
            into.extend(named.0.keys().map(ToString::to_string));
            into.sort_unstable();
            into.dedup();
        }
    }

    /// Takes everything that was counted, and adds what waits now: of everything together, and by route. There is always a
    /// row about everything.
    pub(super) fn take(&self, waiting: Waiting, by_route: impl IntoIterator<Item = (String, Waiting)>) -> Vec<Row> {
        let mut state = self.lock();
        for (route, waiting) in by_route {
            // Routes beyond the bound have no row together, because ages cannot be added up.
            if state.routes.has_room_for(&route) {
                state.routes.change(&route, |figures| figures.waiting = waiting);
            }
        }
        let all = Figures { waiting, ..std::mem::take(&mut state.all) };
        let mut rows = vec![Row { scope: Scope::All, figures: all }];
        state.routes.take(Scope::Route, &mut rows);
        state.origins.take(Scope::Origin, &mut rows);
        rows
    }

    /// Forgets the names whose figures were taken, if ten minutes have begun since the last call: those that begin at `ten`.
    pub(super) fn forget_names_before(&self, ten: Timestamp) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ten, ten) == ten {
            return;
        }
        let state = &mut *state;
        for named in [&mut state.routes, &mut state.origins] {
            named.0.retain(|_, figures| *figures != Figures::default());
        }
    }

    /// Puts back figures that could not be written. They are written with those of the next minute.
    pub(super) fn put_back(&self, rows: &[Row]) {
        let mut state = self.lock();
        for Row { scope, figures } in rows {
            match scope {
                Scope::All => state.all.add(figures),
                Scope::Route(name) => state.routes.change(name, |into| into.add(figures)),
                Scope::Origin(name) => state.origins.change(name, |into| into.add(figures)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Tally {
        let tally = Tally::default();
        tally.begin();
        tally
    }

    fn taken(tally: &Tally) -> Vec<Row> {
        tally.take(Waiting::default(), [])
    }

    #[test]
    fn a_process_that_writes_no_figures_counts_nothing() {
        let tally = Tally::default();
        tally.accepted("/a");
        tally.delivered("https://example.com", Duration::ZERO);
        assert_eq!(taken(&tally), [Row { scope: Scope::All, figures: Figures::default() }]);
    }

    #[test]
    fn the_number_of_names_has_a_bound_and_nothing_is_lost_beyond_it() {
        let tally = counting();
        for n in 0..MOST_NAMES * 3 {
            tally.attempt_failed(&format!("https://{n}.example"));
            tally.accepted(&"x".repeat(n * 20));
        }
        let rows = taken(&tally);
        let figures = |scope: Scope| rows.iter().find(|row| row.scope == scope).map(|row| &row.figures);
        let origins = rows.iter().filter(|row| matches!(row.scope, Scope::Origin(_))).count();
        assert_eq!(origins, MOST_NAMES + 1);
        let beyond = (MOST_NAMES * 2) as u64;
        assert_eq!(figures(Scope::Origin(OTHER.into())).unwrap().failed_attempts, beyond);
        assert_eq!(figures(Scope::All).unwrap().failed_attempts, beyond + MOST_NAMES as u64);
        // Names that are too long count as others.
        let routes = rows.iter().filter(|row| matches!(row.scope, Scope::Route(_))).count();
        assert_eq!(routes, MAX_NAME / 20 + 2);
    }

    #[test]
    fn names_stay_until_they_are_forgotten() {
        let tally = counting();
        let fill = |from: usize| (from..from + MOST_NAMES).for_each(|n| tally.attempt_failed(&n.to_string()));
        fill(0);
        taken(&tally);
        fill(MOST_NAMES);
        assert_eq!(taken(&tally).len(), 2, "all other names are known already");
        tally.forget_names_before(Timestamp::from_micros(1));
        fill(MOST_NAMES);
        assert_eq!(taken(&tally).len(), 1 + MOST_NAMES);
    }

    #[test]
    fn what_is_put_back_is_taken_again_with_what_came_since() {
        let tally = counting();
        tally.ran("/a", Duration::from_millis(3));
        tally.ended(Some("/a"), Status::Failed);
        let rows = taken(&tally);
        tally.forget_names_before(Timestamp::from_micros(1));
        tally.ended(Some("/a"), Status::Failed);
        tally.put_back(&rows);
        let rows = taken(&tally);
        assert!(rows.iter().all(|row| row.figures.failed == 2 && row.figures.runs.count() == 1), "{rows:?}");
        assert_eq!(rows.len(), 2);
    }
}
