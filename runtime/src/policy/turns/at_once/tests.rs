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
    assert_eq!(begin_all(&mut turns, new, NOW), 4, "as many as an origin that has not answered");
    let slow = origin(&mut turns, Some(Duration::from_secs(3)));
    assert_eq!(begin_all(&mut turns, slow, NOW), 4);
    for (own, begun) in [(1, 1), (3, 2), (20, 10)] {
        let limited = turns.add(Some(own));
        turns.done(limited, Some(QUICK), NOW);
        assert_eq!(begin_all(&mut turns, limited, NOW), begun, "{own}");
    }
    (0..64).for_each(|_| turns.done(prompt, None, NOW));
    assert_eq!(begin_all(&mut turns, prompt, NOW), 64, "what has ended makes room");
}

#[test]
fn a_quarter_of_the_slots_is_left_and_a_report_that_waits_comes_first() {
    let mut turns = Turns::<usize>::new(Limits::new(8, 8));
    let keys: Vec<_> = (0..8).map(|_| origin(&mut turns, Some(QUICK))).collect();
    let begun: usize = keys.iter().map(|key| begin_all(&mut turns, *key, NOW)).sum();
    assert_eq!(begun, 6);
    turns.push(keys[7], 0);
    turns.done(keys[0], None, NOW);
    assert!(!turns.begin_at_once(keys[7], NOW), "its report waits");
    assert_eq!(turns.next(NOW), Some((keys[7], 0)));
    turns.set_paused(keys[1], true);
    turns.done(keys[0], None, NOW);
    assert!(!turns.begin_at_once(keys[1], NOW), "it is paused");
    assert!(Turns::<usize>::new(Limits::new(1, 1)).origins.is_empty());
    let mut one = Turns::<usize>::new(Limits::new(1, 1));
    let only = origin(&mut one, None);
    assert_eq!(begin_all(&mut one, only, NOW), 1, "a single slot may be used");
}
