//! Tests of when an attempt that never waits may begin, and of what its end tells.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::delivery::scheduler::Bounds;
use crate::policy::breaker::Health;
use crate::policy::turns::Limits;

const QUICK: Duration = Duration::from_millis(5);
const NOW: SinceStart = SinceStart::from_secs(100);
const URL: &str = "x://0/a";

/// A report to [`URL`].
#[derive(Debug, PartialEq)]
struct Report;

impl Schedulable for Report {
    fn units(&self) -> usize {
        1
    }

    fn url(&self) -> &'static str {
        URL
    }
}

fn scheduler(slots: usize) -> Scheduler<Report> {
    Scheduler::new(Limits::new(slots, 4), Bounds { backlog: 10, idle: 2, parked: 2 }, HashMap::new())
}

fn take(scheduler: &mut Scheduler<Report>) {
    let key = scheduler.key("x://0", URL);
    assert!(scheduler.take(key, Report, NOW).is_none());
}

#[test]
fn it_opens_no_circuit_and_waits_for_none() {
    let mut scheduler = scheduler(256);
    for _ in 0..100 {
        let attempt = scheduler.begin_at_once("x://0", URL, NOW).unwrap();
        assert!(scheduler.ended(attempt, Health::Unknown, None, QUICK, NOW).unwrap().changes.is_empty());
    }
    // Reports that fail open the circuit.
    for _ in 0..10 {
        take(&mut scheduler);
        let (attempt, _) = scheduler.next(NOW).unwrap();
        scheduler.ended(attempt, Health::Unreachable, None, QUICK, NOW).unwrap();
    }
    assert_eq!(scheduler.open(), 1);
    for now in [NOW, NOW + Duration::from_mins(10)] {
        assert_eq!(scheduler.begin_at_once("x://0", URL, now).unwrap_err(), Withheld::Circuit, "a report tests it");
    }
}

#[test]
fn it_takes_no_slot_from_a_report_that_waits() {
    let mut scheduler = scheduler(256);
    take(&mut scheduler);
    assert_eq!(scheduler.begin_at_once("x://0", URL, NOW).unwrap_err(), Withheld::Busy);
    let (attempt, Report) = scheduler.next(NOW).unwrap();
    scheduler.ended(attempt, Health::Works, None, QUICK, NOW).unwrap();
    // Those of another origin are not kept back by reports that cannot start.
    let own_limits = HashMap::from([("x://0".to_owned(), 1)]);
    scheduler.set_limits(Limits::new(256, 4), own_limits, NOW);
    take(&mut scheduler);
    take(&mut scheduler);
    let (attempt, Report) = scheduler.next(NOW).unwrap();
    assert!(scheduler.next(NOW).is_none() && scheduler.waiting() == 1);
    let prompt = scheduler.begin_at_once("x://1", "x://1/a", NOW).unwrap();
    assert_eq!(scheduler.begin_at_once("x://0", URL, NOW).unwrap_err(), Withheld::Busy);
    scheduler.ended(prompt, Health::Unknown, None, QUICK, NOW).unwrap();
    scheduler.set_limits(Limits::new(256, 4), HashMap::new(), NOW);
    let (other, Report) = scheduler.next(NOW).unwrap();
    for attempt in [attempt, other] {
        scheduler.ended(attempt, Health::Works, None, QUICK, NOW).unwrap();
    }
    let begun: Vec<_> = std::iter::from_fn(|| scheduler.begin_at_once("x://0", URL, NOW).ok()).collect();
    assert_eq!((begun.len(), scheduler.in_flight()), (2, 2), "an origin has half of its share");
    for attempt in begun {
        scheduler.ended(attempt, Health::Unknown, None, QUICK, NOW).unwrap();
    }
    assert_eq!(scheduler.in_flight(), 0);
}

#[test]
fn its_end_is_not_taken_for_the_end_of_a_report() {
    let bounds = Bounds { backlog: 10, idle: 2, parked: 2 };
    let mut scheduler: Scheduler<Report> = Scheduler::new(Limits::new(256, 128), bounds, HashMap::new());
    take(&mut scheduler);
    let (attempt, Report) = scheduler.next(NOW).unwrap();
    scheduler.ended(attempt, Health::Works, None, QUICK, NOW).unwrap();
    for _ in 0..3 {
        let attempt = scheduler.begin_at_once("x://0", URL, NOW).unwrap();
        scheduler.ended(attempt, Health::Unknown, None, QUICK, NOW).unwrap();
    }
    take(&mut scheduler);
    scheduler.next(NOW).unwrap();
    let later = NOW + Duration::from_secs(1);
    let begun = std::iter::from_fn(|| scheduler.begin_at_once("x://0", URL, later).ok()).count();
    assert_eq!(begun, 1, "its report is not answered, so the origin is slow");
}

#[test]
fn origins_that_are_refused_are_forgotten() {
    let mut scheduler = scheduler(8);
    for origin in 0..100 {
        let origin = format!("x://{origin}");
        let _ = scheduler.begin_at_once(&origin, &origin, NOW);
    }
    assert!(scheduler.queues.len() <= 10, "{}", scheduler.queues.len());
}
