//! When a schedule in cron form is due. Decides, and does nothing.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use postback_wire::line::Escaped;
use postback_wire::time::Timestamp;

/// A tick that is later than this counts as missed.
const ON_TIME: Duration = Duration::from_mins(1);
/// The largest number of missed ticks that run after all.
const MOST: usize = 1_000;

/// What follows if a schedule was due while no server ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// Nothing: the next run is at the next time of the schedule.
    Skip,
    /// One run, for the last time that was missed. This is the default.
    #[default]
    Once,
    /// A run for each time that was missed, at most for the last 1,000.
    All,
}

impl Missed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// A schedule in cron form, in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct CronSchedule {
    cron: Cron,
    zone: Tz,
    pub(crate) missed: Missed,
}

/// What is wrong with a schedule.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CronError {
    #[error(
        "`{}` is not a schedule: {why}; write five fields such as \"0 3 * * *\", or six with seconds first",
        Escaped(line)
    )]
    Line { line: String, why: String },
    #[error("the schedule `{}` never fires", Escaped(line))]
    Never { line: String },
    #[error("`{}` is not a time zone; write a name such as \"Europe/Berlin\" or \"UTC\"", Escaped(zone))]
    Zone { zone: String },
}

/// The ticks of a schedule that are due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The ticks that run now, the earliest first.
    pub(crate) ticks: Vec<Timestamp>,
    /// Whether other ticks were missed and do not run.
    pub(crate) are_dropped: bool,
}

impl CronSchedule {
    /// Reads a schedule. `now` is a time at which the schedule must still have a next tick.
    pub(crate) fn new(line: &str, zone: &str, now: Timestamp) -> Result<Self, CronError> {
        let zone = Tz::from_str(zone).map_err(|_| CronError::Zone { zone: zone.to_owned() })?;
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(line);
        let cron = cron.map_err(|error| CronError::Line { line: line.to_owned(), why: error.to_string() })?;
        let schedule = Self { cron, zone, missed: Missed::default() };
        match schedule.next(now) {
            Some(_) => Ok(schedule),
            None => Err(CronError::Never { line: line.to_owned() }),
        }
    }

    /// The schedule in cron form.
    pub(crate) fn line(&self) -> &str {
        self.cron.as_str()
    }

    /// The name of the time zone.
    pub(crate) fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// Returns the first tick after this time. `None`: there is none in the next years.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&self.local(after)?, false).ok().map(of)
    }

    /// Whether the schedule is due at exactly this time.
    pub(crate) fn is_tick(&self, at: Timestamp) -> bool {
        let previous = self.local(at).and_then(|local| self.cron.find_previous_occurrence(&local, true).ok());
        previous.is_some_and(|previous| of(previous) == at)
    }

    /// Returns the ticks after `last`, up to `now`, that run now.
    pub(crate) fn due(&self, last: Timestamp, now: Timestamp) -> Due {
        let Some(local) = self.local(now) else { return Due::default() };
        let mut due = Due::default();
        let mut before = self.cron.find_previous_occurrence(&local, true);
        while let Ok(tick) = before {
            let at = of(tick);
            if at <= last {
                break;
            }
            let is_on_time = now.since(at) <= ON_TIME;
            let runs = match self.missed {
                Missed::Skip => is_on_time,
                Missed::Once => is_on_time || due.ticks.is_empty(),
                Missed::All => due.ticks.len() < MOST,
            };
            if !runs {
                due.are_dropped = true;
                break;
            }
            due.ticks.push(at);
            before = self.cron.find_previous_occurrence(&tick, false);
        }
        due.ticks.reverse();
        due
    }

    /// Writes a time in the schedule's time zone, in the format of RFC 3339.
    pub(crate) fn shown(&self, at: Timestamp) -> String {
        self.local(at).map_or_else(|| at.to_string(), |local| local.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    fn local(&self, at: Timestamp) -> Option<DateTime<Tz>> {
        DateTime::<Utc>::from_timestamp_micros(at.micros()).map(|utc| utc.with_timezone(&self.zone))
    }
}

fn of(time: DateTime<Tz>) -> Timestamp {
    Timestamp::from_micros(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn schedule(line: &str, missed: Missed) -> CronSchedule {
        CronSchedule { missed, ..CronSchedule::new(line, "Europe/Berlin", at("2026-01-01T00:00:00Z")).unwrap() }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |line, zone| CronSchedule::new(line, zone, at("2026-01-01T00:00:00Z")).unwrap_err().to_string();
        assert!(told("61 * * * *", "UTC").starts_with("`61 * * * *` is not a schedule: "));
        assert!(told("every day", "UTC").contains("write five fields"));
        assert_eq!(told("0 0 30 2 *", "UTC"), "the schedule `0 0 30 2 *` never fires");
        assert!(told("0 3 * * *", "Europe/Atlantis\n").starts_with("`Europe/Atlantis\\n` is not a time zone"));
    }

    /// Each tick that is due when it comes, one after the other.
    fn ticks(schedule: &CronSchedule, from: &str, n: usize) -> Vec<String> {
        let mut last = at(from);
        std::iter::repeat_with(|| {
            let next = schedule.next(last).unwrap();
            assert_eq!(schedule.due(last, next), Due { ticks: vec![next], are_dropped: false });
            last = next;
            schedule.shown(next)
        })
        .take(n)
        .collect()
    }

    #[test]
    fn a_day_has_one_tick_when_clocks_change() {
        let nightly = schedule("30 2 * * *", Missed::Once);
        // 02:30 does not exist on this day, so the tick comes when the clocks have changed.
        let spring = ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
        assert_eq!(ticks(&nightly, "2026-03-27T12:00:00Z", 3), spring);
        // 02:30 comes twice on this day. The first one counts.
        let autumn = ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
        assert_eq!(ticks(&nightly, "2026-10-23T12:00:00Z", 3), autumn);
        let hourly = schedule("0 * * * *", Missed::Once);
        let hours = ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"];
        assert_eq!(ticks(&hourly, "2026-10-24T23:30:00Z", 3), hours);
    }

    #[test]
    fn missed_ticks_are_skipped_run_once_or_all_run() {
        let last = at("2026-11-02T03:00:00Z");
        let due = |line, missed, now| {
            let due = schedule(line, missed).due(last, at(now));
            (due.ticks.len(), due.are_dropped)
        };
        let daily = |missed, now| due("0 4 * * *", missed, now);
        // Nothing is due at the time of the last tick, and before it, as after a clock was set back.
        assert_eq!(daily(Missed::All, "2026-11-02T03:00:00Z"), (0, false));
        assert_eq!(daily(Missed::All, "2026-11-01T00:00:00Z"), (0, false));
        // The server was away for five ticks.
        assert_eq!(daily(Missed::Skip, "2026-11-07T12:00:00Z"), (0, true));
        assert_eq!(daily(Missed::Once, "2026-11-07T12:00:00Z"), (1, true));
        assert_eq!(daily(Missed::All, "2026-11-07T12:00:00Z"), (5, false));
        // The last of the five is on time.
        assert_eq!(daily(Missed::Skip, "2026-11-07T03:00:30Z"), (1, true));
        assert_eq!(daily(Missed::Once, "2026-11-07T03:00:30Z"), (1, true));
        // A year of seconds is cut.
        assert_eq!(due("* * * * * *", Missed::All, "2027-11-07T12:00:00Z"), (MOST, true));
        assert_eq!(due("* * * * * *", Missed::Once, "2026-11-02T03:00:03Z"), (3, false));
        let newest = schedule("0 4 * * *", Missed::Once).due(last, at("2026-11-07T12:00:00Z"));
        assert_eq!(newest.ticks, [at("2026-11-07T03:00:00Z")]);
        let is_tick = |time| schedule("0 4 * * *", Missed::Once).is_tick(at(time));
        assert!(is_tick("2026-11-07T03:00:00Z") && !is_tick("2026-11-07T03:00:00.000001Z"));
    }
}
