//! The schedule of a route, as operators see it.

use super::Route;
use postback_wire::time::Timestamp;

/// A schedule as operators see it.
pub(crate) struct ShownSchedule {
    /// The schedule in cron form.
    pub(crate) line: String,
    /// The name of its time zone.
    pub(crate) zone: &'static str,
    /// What follows if the schedule was due while no server ran.
    pub(crate) missed: &'static str,
    /// The next times.
    pub(crate) next: Vec<String>,
    /// The last time.
    pub(crate) last: Option<String>,
}

/// How many of the next times of a schedule are shown.
#[cfg(feature = "cron")]
const NEXT: usize = 3;

impl Route {
    /// Returns the schedule of the route. `last` is the last time at which it was due.
    #[cfg(feature = "cron")]
    pub(crate) fn shown_schedule(&self, now: Timestamp, last: Option<Timestamp>) -> Option<ShownSchedule> {
        let schedule = self.schedule.as_ref()?;
        let next = std::iter::successors(schedule.next(now), |at| schedule.next(*at)).take(NEXT);
        Some(ShownSchedule {
            line: schedule.line().to_owned(),
            zone: schedule.zone(),
            missed: schedule.missed.as_str(),
            next: next.map(|at| schedule.shown(at)).collect(),
            // A schedule that was never due yet has the time at which a server first saw it.
            last: last.filter(|last| schedule.is_tick(*last)).map(|last| schedule.shown(last)),
        })
    }

    /// A program without the feature `cron` has no schedules.
    #[cfg(not(feature = "cron"))]
    #[expect(clippy::unused_self, reason = "it has the signature that it has with the feature")]
    pub(crate) fn shown_schedule(&self, _: Timestamp, _: Option<Timestamp>) -> Option<ShownSchedule> {
        None
    }
}
