//! Tests of what attempts that never wait leave to others.

use std::time::Duration;

use super::*;
use crate::policy::turns::Limits;

const QUICK: Duration = Duration::from_millis(5);
const NOW: SinceStart = SinceStart::from_secs(100);

/// Begins as many attempts as may begin at once. Returns their number.
fn begin_all(turns: &mut Turns<usize>, key: Key, now: SinceStart) -> usize {
    std::iter::from_fn(|| turns.begin_at_once(key, now).then_some(())).count()
}

/// Adds an origin of which an earlier attempt took this time.
fn origin(turns: &mut Turns<usize>, took: Option<Duration>) -> Key {
    let key = turns.add(None);
    turns.done(key, took, NOW);
    key
}

#[test]
fn an_origin_has_half_of_its_share_and_its_own_limit_counts() {
    let mut turns = Turns::<usize>::new(Limits::new(256, 128));
    let prompt = origin(&mut turns, Some(QUICK));
    assert_eq!(begin_all(&mut turns, prompt, NOW), 64);
    let new = origin(&mut turns, None);
    assert_eq!(begin_all(&mut turns, new, NOW), 2, "half of what an origin may have that has not answered");
    let slow = origin(&mut turns, Some(Duration::from_secs(3)));
    assert_eq!(begin_all(&mut turns, slow, NOW), 2);
    for (own, begun) in [(1, 0), (3, 1), (20, 10)] {
        let limited = turns.add(Some(own));
        turns.done(limited, Some(QUICK), NOW);
        assert_eq!(begin_all(&mut turns, limited, NOW), begun, "{own}");
    }
    (0..64).for_each(|_| turns.end_at_once(prompt));
    assert_eq!(begin_all(&mut turns, prompt, NOW), 64, "what has ended makes room");
}

#[test]
fn a_quarter_of_the_slots_is_left_and_a_report_that_waits_comes_first() {
    let mut turns = Turns::<usize>::new(Limits::new(8, 8));
    let keys: Vec<_> = (0..8).map(|_| origin(&mut turns, Some(QUICK))).collect();
    let begun: usize = keys.iter().map(|key| begin_all(&mut turns, *key, NOW)).sum();
    assert_eq!(begun, 6);
    turns.end_at_once(keys[0]);
    turns.push(keys[7], 0);
    assert!(!turns.begin_at_once(keys[7], NOW), "its report waits");
    assert!(!turns.begin_at_once(keys[6], NOW), "a report of another origin could start, and comes first");
    assert_eq!(turns.next(NOW), Some((keys[7], 0)));
    turns.set_paused(keys[1], true);
    turns.end_at_once(keys[0]);
    assert!(!turns.begin_at_once(keys[1], NOW), "it is paused");
    assert!(turns.begin_at_once(keys[6], NOW));
}

#[test]
fn a_quarter_is_left_of_what_slow_and_new_origins_share() {
    let mut turns = Turns::<usize>::new(Limits::new(256, 128));
    for (took, begun) in [(Some(Duration::from_secs(3)), 96), (None, 48)] {
        let keys: Vec<_> = (0..100).map(|_| origin(&mut turns, took)).collect();
        assert_eq!(keys.iter().map(|key| begin_all(&mut turns, *key, NOW)).sum::<usize>(), begun, "{took:?}");
        turns.push(keys[0], 0);
        assert_eq!(turns.next(NOW), Some((keys[0], 0)), "a report has room");
        turns.done(keys[0], None, NOW);
    }
}

#[test]
fn reports_that_wait_for_their_own_limits_keep_nobody_else_back() {
    let mut turns = Turns::<usize>::new(Limits::new(256, 128));
    let [full, new, prompt] = [Some(QUICK), None, Some(QUICK)].map(|took| origin(&mut turns, took));
    let limited = turns.add(Some(1));
    for key in [full, new, limited] {
        (0..130).for_each(|n| turns.push(key, n));
    }
    while turns.next(NOW).is_some() {}
    assert!(turns.waiting() > 200, "the reports that wait are beyond the limits of their origins");
    for key in [full, new, limited] {
        assert!(!turns.begin_at_once(key, NOW), "reports of the same origin come first");
    }
    assert!(turns.begin_at_once(prompt, NOW));
    // When something ends, the next report of the origin comes before all others.
    turns.done(limited, Some(QUICK), NOW);
    assert!(!turns.begin_at_once(prompt, NOW));
    assert_eq!(turns.next(NOW).map(|(key, _)| key), Some(limited));
    assert!(turns.begin_at_once(prompt, NOW));
}

#[test]
fn with_few_slots_they_leave_the_last_one_to_reports() {
    for (total, begun) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let mut turns = Turns::<usize>::new(Limits::new(total, total));
        let prompt = origin(&mut turns, Some(QUICK));
        assert_eq!(begin_all(&mut turns, prompt, NOW), begun, "of {total}");
        (0..begun).for_each(|_| turns.end_at_once(prompt));
        for took in [None, Some(Duration::from_secs(3))] {
            let key = origin(&mut turns, took);
            assert_eq!(begin_all(&mut turns, key, NOW), 0, "of {total}, {took:?}");
        }
    }
}

#[test]
fn they_do_not_show_that_an_origin_has_become_silent() {
    let mut turns = Turns::<usize>::new(Limits::new(256, 128));
    let key = origin(&mut turns, Some(QUICK));
    assert!(turns.begin_at_once(key, NOW));
    // One of them ends while the next one is in flight, for longer than a second.
    let mut now = NOW;
    for _ in 0..10 {
        now += Duration::from_millis(500);
        assert!(turns.begin_at_once(key, now));
        turns.end_at_once(key);
    }
    turns.push(key, 0);
    assert_eq!(turns.next(now), Some((key, 0)));
    let almost = now + Duration::from_millis(999);
    turns.begin_at_once(key, almost);
    assert_eq!(turns.origins[key].average_time, Some(QUICK), "its report has not been in flight for a second");
    turns.begin_at_once(key, now + Duration::from_secs(1));
    assert!(turns.origins[key].average_time > Some(Duration::from_secs(1)), "its report is not answered");
}
