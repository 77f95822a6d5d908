//! When a breaker opens, for how long, and that it is never stuck.

use proptest::prelude::*;

use super::*;

const START: SinceStart = SinceStart::from_secs(1_000);

fn end(breaker: &mut Breaker, sign: Sign, now: SinceStart) -> Option<Change> {
    let pass = breaker.begin(now).unwrap();
    breaker.ended(pass, sign, Scope::Url, now)
}

fn fail(breaker: &mut Breaker, times: u32, now: SinceStart) {
    for _ in 0..times {
        end(breaker, Sign::Fails, now);
    }
}

fn opened(now: SinceStart) -> Breaker {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FEWEST, now);
    assert!(!breaker.lets(now));
    breaker
}

#[test]
fn it_opens_when_half_of_enough_tries_fail() {
    let mut breaker = Breaker::default();
    for sign in [Sign::Works, Sign::Fails].repeat(4) {
        assert_eq!(end(&mut breaker, sign, START), None);
    }
    assert_eq!(end(&mut breaker, Sign::Nothing, START), None);
    assert_eq!(end(&mut breaker, Sign::Works, START), None);
    let until = START + FIRST_PAUSE;
    assert_eq!(end(&mut breaker, Sign::Fails, START), Some(Change::Opened { failed: 5, tries: 10, until }));
    assert_eq!(breaker.opens_at(), Some(until));
}

#[test]
fn what_failed_long_ago_does_not_count() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, FEWEST - 1, START);
    assert_eq!(end(&mut breaker, Sign::Fails, START + WINDOW), None);
    let mut breaker = Breaker::default();
    fail(&mut breaker, FEWEST - 1, START);
    assert!(end(&mut breaker, Sign::Fails, START + WINDOW / 2).is_some());
}

#[test]
fn after_the_pause_a_single_try_decides() {
    let mut breaker = opened(START);
    let later = START + FIRST_PAUSE;
    assert!(!breaker.lets(START + FIRST_PAUSE / 2));
    let probe = breaker.begin(later).unwrap();
    assert_eq!(breaker.begin(later + LONGEST_PAUSE), None, "one at a time");
    let until = later + 2 * FIRST_PAUSE;
    assert_eq!(breaker.ended(probe, Sign::Fails, Scope::Url, later), Some(Change::Extended { until }));
    assert!(!breaker.lets(later));
    let probe = breaker.begin(until).unwrap();
    assert_eq!(breaker.ended(probe, Sign::Works, Scope::Url, until), Some(Change::Closed));
    assert!(!breaker.is_probing());
}

#[test]
fn a_single_try_that_was_not_made_is_followed_by_another_at_once() {
    let mut breaker = opened(START);
    let later = START + FIRST_PAUSE;
    assert_eq!(end(&mut breaker, Sign::Nothing, later), None);
    assert_eq!(end(&mut breaker, Sign::Works, later), Some(Change::Closed));
}

#[test]
fn tries_from_before_it_opened_neither_close_nor_open_it() {
    let mut breaker = Breaker::default();
    let early = breaker.begin(START).unwrap();
    fail(&mut breaker, FEWEST, START);
    assert_eq!(breaker.ended(early, Sign::Works, Scope::Url, START), None);
    let later = START + FIRST_PAUSE;
    let probe = breaker.begin(later).unwrap();
    assert_eq!(breaker.ended(early, Sign::Fails, Scope::Url, later), None);
    assert_eq!(breaker.ended(probe, Sign::Works, Scope::Url, later), Some(Change::Closed));
    assert_eq!(breaker.ended(early, Sign::Fails, Scope::Url, later), None);
}

#[test]
fn what_relapses_is_spared_for_longer_and_what_has_recovered_begins_anew() {
    let relapse = |after: Duration| {
        let mut breaker = opened(START);
        let closed = START + FIRST_PAUSE;
        assert_eq!(end(&mut breaker, Sign::Works, closed), Some(Change::Closed));
        fail(&mut breaker, FEWEST, closed + after);
        breaker.opens_at().unwrap().abs_diff(closed + after)
    };
    assert_eq!(relapse(Duration::ZERO), 2 * FIRST_PAUSE);
    assert_eq!(relapse(WINDOW), FIRST_PAUSE);
}

#[test]
fn a_receiver_that_refuses_a_report_works() {
    for (status, sign) in [
        (Some(204), Sign::Works),
        (Some(429), Sign::Works),
        (Some(500), Sign::Fails),
        (Some(503), Sign::Fails),
        (None, Sign::Fails),
    ] {
        assert_eq!(Sign::of(status, true), sign, "{status:?}");
    }
    assert_eq!(Sign::of(None, false), Sign::Unreachable);
}

fn at_origin(breaker: &mut Breaker, sign: Sign, failing: usize, now: SinceStart) -> Option<Change> {
    let pass = breaker.begin(now).unwrap();
    breaker.ended(pass, sign, Scope::Origin { failing }, now)
}

#[test]
fn one_url_that_fails_says_nothing_about_its_origin_and_several_do_if_all_fails() {
    let mut breaker = Breaker::default();
    for _ in 0..10 * FEWEST {
        assert_eq!(at_origin(&mut breaker, Sign::Fails, 1, START), None);
    }
    assert!(matches!(at_origin(&mut breaker, Sign::Fails, SEVERAL, START), Some(Change::Opened { .. })));
    let mut breaker = Breaker::default();
    assert_eq!(at_origin(&mut breaker, Sign::Works, SEVERAL, START), None);
    for _ in 0..10 * FEWEST {
        assert_eq!(at_origin(&mut breaker, Sign::Fails, 100, START), None);
    }
    // What connects and fails is still failing.
    let mut breaker = Breaker::default();
    while at_origin(&mut breaker, Sign::Fails, SEVERAL, START).is_none() {}
    let later = START + FIRST_PAUSE;
    assert!(matches!(at_origin(&mut breaker, Sign::Fails, SEVERAL, later), Some(Change::Extended { .. })));
}

#[test]
fn an_origin_that_nothing_connects_to_is_spared_until_something_does() {
    let mut breaker = Breaker::default();
    for n in 1..FEWEST {
        let sign = if n % 2 == 0 { Sign::Fails } else { Sign::Unreachable };
        assert_eq!(at_origin(&mut breaker, sign, 1, START), None);
    }
    assert!(matches!(at_origin(&mut breaker, Sign::Unreachable, 1, START), Some(Change::Opened { .. })));
    let later = START + FIRST_PAUSE;
    assert!(matches!(at_origin(&mut breaker, Sign::Unreachable, 1, later), Some(Change::Extended { .. })));
    let later = later + 2 * FIRST_PAUSE;
    assert_eq!(at_origin(&mut breaker, Sign::Fails, 1, later), Some(Change::Closed));
}

fn sign() -> impl Strategy<Value = Sign> {
    prop_oneof![2 => Just(Sign::Works), 3 => Just(Sign::Fails), 1 => Just(Sign::Unreachable), 1 => Just(Sign::Nothing)]
}

proptest! {
    #[test]
    fn it_is_never_stuck_and_never_spares_for_longer_than_promised(
        steps in prop::collection::vec((any::<bool>(), any::<usize>(), sign(), 0..40_000_u64), 0..300),
    ) {
        let (mut breaker, mut now, mut begun) = (Breaker::default(), START, Vec::new());
        for (begin, which, sign, ms) in steps {
            now += Duration::from_millis(ms / 20);
            if begin {
                let let_in = breaker.lets(now);
                let pass = breaker.begin(now);
                prop_assert_eq!(let_in, pass.is_some());
                begun.extend(pass);
            } else if !begun.is_empty() {
                let pass = begun.swap_remove(which % begun.len());
                let change = breaker.ended(pass, sign, Scope::Url, now);
                prop_assert!(!matches!(change, Some(Change::Closed)) || breaker.lets(now));
            }
            match breaker.opens_at() {
                Some(until) => {
                    prop_assert!(until <= now + LONGEST_PAUSE);
                    let mut later = breaker.clone();
                    let probe = later.begin(until.max(now)).unwrap();
                    prop_assert_eq!(later.begin(until + LONGEST_PAUSE), None);
                    prop_assert_eq!(later.ended(probe, Sign::Works, Scope::Url, until), Some(Change::Closed));
                    prop_assert!(later.lets(until));
                }
                // Closed, or the try that decides is under way.
                None => prop_assert!(breaker.lets(now) || begun.iter().any(|pass| pass.opened == breaker.opened)),
            }
        }
    }
}
