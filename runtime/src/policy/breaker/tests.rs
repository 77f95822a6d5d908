//! Tests of when a circuit opens and how long it stays open. They also check that a circuit never stays open forever.

use proptest::prelude::*;

use super::*;

const START: SinceStart = SinceStart::from_secs(1_000);

fn end(breaker: &mut Breaker, health: Health, now: SinceStart) -> Option<Change> {
    let permit = breaker.begin(now).unwrap();
    breaker.ended(permit, health, Scope::Url, now)
}

fn fail(breaker: &mut Breaker, times: u32, now: SinceStart) {
    for _ in 0..times {
        end(breaker, Health::Fails, now);
    }
}

fn opened(now: SinceStart) -> Breaker {
    let mut breaker = Breaker::default();
    fail(&mut breaker, MIN_ATTEMPTS, now);
    assert!(!breaker.allows_attempt(now));
    breaker
}

#[test]
fn it_opens_when_half_of_enough_attempts_fail() {
    let mut breaker = Breaker::default();
    for health in [Health::Works, Health::Fails].repeat(4) {
        assert_eq!(end(&mut breaker, health, START), None);
    }
    assert_eq!(end(&mut breaker, Health::Unknown, START), None);
    assert_eq!(end(&mut breaker, Health::Works, START), None);
    let until = START + FIRST_PAUSE;
    assert_eq!(end(&mut breaker, Health::Fails, START), Some(Change::Opened { failed: 5, attempts: 10, until }));
    assert_eq!(breaker.probe_at(), Some(until));
}

#[test]
fn what_failed_long_ago_does_not_count() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, MIN_ATTEMPTS - 1, START);
    assert_eq!(end(&mut breaker, Health::Fails, START + WINDOW), None);
    let mut breaker = Breaker::default();
    fail(&mut breaker, MIN_ATTEMPTS - 1, START);
    assert!(end(&mut breaker, Health::Fails, START + WINDOW / 2).is_some());
}

#[test]
fn after_the_pause_a_single_attempt_decides() {
    let mut breaker = opened(START);
    let later = START + FIRST_PAUSE;
    assert!(!breaker.allows_attempt(START + FIRST_PAUSE / 2));
    let probe = breaker.begin(later).unwrap();
    assert_eq!(breaker.begin(later + LONGEST_PAUSE), None, "one at a time");
    let until = later + 2 * FIRST_PAUSE;
    assert_eq!(breaker.ended(probe, Health::Fails, Scope::Url, later), Some(Change::Extended { until }));
    assert!(!breaker.allows_attempt(later));
    let probe = breaker.begin(until).unwrap();
    assert_eq!(breaker.ended(probe, Health::Works, Scope::Url, until), Some(Change::Closed));
    assert!(!breaker.is_probing());
}

#[test]
fn a_single_attempt_that_was_not_made_is_followed_by_another_at_once() {
    let mut breaker = opened(START);
    let later = START + FIRST_PAUSE;
    assert_eq!(end(&mut breaker, Health::Unknown, later), None);
    assert_eq!(end(&mut breaker, Health::Works, later), Some(Change::Closed));
}

#[test]
fn tries_from_before_it_opened_neither_close_nor_open_it() {
    let mut breaker = Breaker::default();
    let early = breaker.begin(START).unwrap();
    fail(&mut breaker, MIN_ATTEMPTS, START);
    assert_eq!(breaker.ended(early, Health::Works, Scope::Url, START), None);
    let later = START + FIRST_PAUSE;
    let probe = breaker.begin(later).unwrap();
    assert_eq!(breaker.ended(early, Health::Fails, Scope::Url, later), None);
    assert_eq!(breaker.ended(probe, Health::Works, Scope::Url, later), Some(Change::Closed));
    assert_eq!(breaker.ended(early, Health::Fails, Scope::Url, later), None);
}

#[test]
fn a_circuit_that_reopens_soon_stays_open_longer_and_what_has_recovered_begins_anew() {
    let relapse = |after: Duration| {
        let mut breaker = opened(START);
        let closed = START + FIRST_PAUSE;
        assert_eq!(end(&mut breaker, Health::Works, closed), Some(Change::Closed));
        fail(&mut breaker, MIN_ATTEMPTS, closed + after);
        breaker.probe_at().unwrap().abs_diff(closed + after)
    };
    assert_eq!(relapse(Duration::ZERO), 2 * FIRST_PAUSE);
    assert_eq!(relapse(WINDOW), FIRST_PAUSE);
}

#[test]
fn a_receiver_that_refuses_a_report_works() {
    for (status, health) in [
        (Some(204), Health::Works),
        (Some(429), Health::Works),
        (Some(500), Health::Fails),
        (Some(503), Health::Fails),
        (None, Health::Fails),
    ] {
        assert_eq!(Health::of(status, true), health, "{status:?}");
    }
    assert_eq!(Health::of(None, false), Health::Unreachable);
}

fn at_origin(breaker: &mut Breaker, health: Health, failing: usize, now: SinceStart) -> Option<Change> {
    let permit = breaker.begin(now).unwrap();
    breaker.ended(permit, health, Scope::Origin { failing }, now)
}

#[test]
fn one_url_that_fails_says_nothing_about_its_origin_and_several_do_if_all_fails() {
    let mut breaker = Breaker::default();
    for _ in 0..10 * MIN_ATTEMPTS {
        assert_eq!(at_origin(&mut breaker, Health::Fails, 1, START), None);
    }
    assert!(matches!(at_origin(&mut breaker, Health::Fails, MIN_FAILING_URLS, START), Some(Change::Opened { .. })));
    let mut breaker = Breaker::default();
    assert_eq!(at_origin(&mut breaker, Health::Works, MIN_FAILING_URLS, START), None);
    for _ in 0..10 * MIN_ATTEMPTS {
        assert_eq!(at_origin(&mut breaker, Health::Fails, 100, START), None);
    }
    // This circuit opened because all attempts at several URLs failed, and not because connections failed. So a
    // successful connection alone does not close the circuit.
    let mut breaker = Breaker::default();
    while at_origin(&mut breaker, Health::Fails, MIN_FAILING_URLS, START).is_none() {}
    let later = START + FIRST_PAUSE;
    assert!(matches!(at_origin(&mut breaker, Health::Fails, MIN_FAILING_URLS, later), Some(Change::Extended { .. })));
}

#[test]
fn the_circuit_of_an_origin_that_nothing_connects_to_is_open_until_something_does() {
    let mut breaker = Breaker::default();
    for n in 1..MIN_ATTEMPTS {
        let health = if n % 2 == 0 { Health::Fails } else { Health::Unreachable };
        assert_eq!(at_origin(&mut breaker, health, 1, START), None);
    }
    assert!(matches!(at_origin(&mut breaker, Health::Unreachable, 1, START), Some(Change::Opened { .. })));
    let later = START + FIRST_PAUSE;
    assert!(matches!(at_origin(&mut breaker, Health::Unreachable, 1, later), Some(Change::Extended { .. })));
    let later = later + 2 * FIRST_PAUSE;
    assert_eq!(at_origin(&mut breaker, Health::Fails, 1, later), Some(Change::Closed));
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![2 => Just(Health::Works), 3 => Just(Health::Fails), 1 => Just(Health::Unreachable), 1 => Just(Health::Unknown)]
}

proptest! {
    #[test]
    fn it_is_never_stuck_and_never_spares_for_longer_than_promised(
        steps in prop::collection::vec((any::<bool>(), any::<usize>(), health(), 0..40_000_u64), 0..300),
    ) {
        let (mut breaker, mut now, mut begun) = (Breaker::default(), START, Vec::new());
        for (begin, which, health, ms) in steps {
            now += Duration::from_millis(ms / 20);
            if begin {
                let let_in = breaker.allows_attempt(now);
                let permit = breaker.begin(now);
                prop_assert_eq!(let_in, permit.is_some());
                begun.extend(permit);
            } else if !begun.is_empty() {
                let permit = begun.swap_remove(which % begun.len());
                let change = breaker.ended(permit, health, Scope::Url, now);
                prop_assert!(!matches!(change, Some(Change::Closed)) || breaker.allows_attempt(now));
            }
            match breaker.probe_at() {
                Some(until) => {
                    prop_assert!(until <= now + LONGEST_PAUSE);
                    let mut later = breaker.clone();
                    let probe = later.begin(until.max(now)).unwrap();
                    prop_assert_eq!(later.begin(until + LONGEST_PAUSE), None);
                    prop_assert_eq!(later.ended(probe, Health::Works, Scope::Url, until), Some(Change::Closed));
                    prop_assert!(later.allows_attempt(until));
                }
                // The circuit is closed, or the single attempt that tests the receiver is in flight.
                None => prop_assert!(breaker.allows_attempt(now) || begun.iter().any(|permit| permit.opened == breaker.opened)),
            }
        }
    }
}
