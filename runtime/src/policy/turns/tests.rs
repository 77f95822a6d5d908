//! Tests of each limit alone, and of all limits together with events in random order.

use proptest::prelude::*;

use super::*;

const QUICK: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(20);
const NOW: SinceStart = SinceStart::from_secs(100);

fn turns(total: usize, share: usize) -> Turns<usize> {
    Turns::new(Limits::new(total, share))
}

/// Adds an origin with this many waiting reports. If `took` is given, an earlier attempt took this time.
fn origin(turns: &mut Turns<usize>, took: Option<Duration>, work: usize) -> Key {
    let key = turns.add(None);
    turns.done(key, took, NOW);
    (0..work).for_each(|n| turns.push(key, n));
    key
}

/// Starts all attempts that may start. Returns the number of started attempts for each origin.
fn begin_all(turns: &mut Turns<usize>, now: SinceStart) -> BTreeMap<Key, usize> {
    let mut begun = BTreeMap::new();
    while let Some((key, _)) = turns.next(now) {
        *begun.entry(key).or_default() += 1;
    }
    begun
}

#[test]
fn a_prompt_origin_alone_has_all_slots_but_those_kept_for_newcomers() {
    let mut turns = turns(256, 128);
    let alone = origin(&mut turns, Some(QUICK), 1_000);
    assert_eq!(begin_all(&mut turns, NOW)[&alone], 224);
    let newcomer = origin(&mut turns, None, 10);
    assert_eq!(begin_all(&mut turns, NOW)[&newcomer], 4, "it begins at once");
}

#[test]
fn limits_that_change_count_for_what_is_in_flight_already() {
    let mut turns = turns(8, 8);
    let first = origin(&mut turns, Some(QUICK), 100);
    let begun = begin_all(&mut turns, NOW)[&first];
    turns.set_limits(Limits::new(4, 4), |_| None);
    assert_eq!((turns.in_flight(), begin_all(&mut turns, NOW).len()), (begun, 0), "nothing new begins");
    (0..begun).for_each(|_| turns.done(first, Some(QUICK), NOW));
    let fewer = begin_all(&mut turns, NOW)[&first];
    assert!(fewer < begun && fewer <= 4, "{fewer} of {begun}");
    turns.set_limits(Limits::new(256, 128), |key| (key == first).then_some(20));
    assert_eq!(begin_all(&mut turns, NOW)[&first], 20 - fewer, "its own limit counts");
    let second = origin(&mut turns, Some(QUICK), 1_000);
    assert_eq!(begin_all(&mut turns, NOW)[&second], 224 - 20);
    (0..20).for_each(|_| turns.done(first, Some(QUICK), NOW));
    (0..204).for_each(|_| turns.done(second, Some(QUICK), NOW));
    turns.drain_all();
    assert_eq!((turns.in_flight(), turns.waiting(), turns.in_use), (0, 0, SlotsInUse::default()));
}

#[test]
fn its_share_shrinks_as_soon_as_another_has_work() {
    let mut turns = turns(256, 128);
    let first = origin(&mut turns, Some(QUICK), 10_000);
    let second = origin(&mut turns, Some(QUICK), 0);
    begin_all(&mut turns, NOW);
    (0..10_000).for_each(|n| turns.push(second, n));
    let mut in_use = [224, 0];
    for _ in 0..1_000 {
        let longer = usize::from(in_use[1] > in_use[0]);
        turns.done([first, second][longer], Some(QUICK), NOW);
        in_use[longer] -= 1;
        for (key, n) in begin_all(&mut turns, NOW) {
            in_use[usize::from(key == second)] += n;
        }
    }
    assert!(in_use.iter().all(|in_use| (100..=128).contains(in_use)), "{in_use:?}");
}

#[test]
fn slow_origins_have_half_and_new_ones_a_quarter_more_however_many_they_are() {
    let mut turns = turns(256, 128);
    for _ in 0..100 {
        origin(&mut turns, Some(LONG), 100);
    }
    let begun: usize = begin_all(&mut turns, NOW).values().sum();
    assert_eq!(begun, 128);
    for _ in 0..100 {
        origin(&mut turns, None, 100);
    }
    let begun = begin_all(&mut turns, NOW);
    assert_eq!(begun.values().sum::<usize>(), 64);
    let prompt = turns.add(None);
    turns.push(prompt, 0);
    assert_eq!(turns.next(NOW), None, "it has not answered yet");
    turns.done(*begun.first_key_value().unwrap().0, None, NOW);
    while turns.next(NOW).is_some_and(|(key, _)| key != prompt) {
        turns.done(*begun.first_key_value().unwrap().0, None, NOW);
    }
    turns.done(prompt, Some(QUICK), NOW);
    (0..100).for_each(|n| turns.push(prompt, n));
    assert!(begin_all(&mut turns, NOW)[&prompt] >= 32);
}

#[test]
fn prompt_origins_that_begin_to_hang_leave_the_door_open() {
    let mut turns = turns(256, 128);
    for _ in 0..3 {
        origin(&mut turns, Some(QUICK), 1_000);
    }
    assert_eq!(begin_all(&mut turns, NOW).values().sum::<usize>(), 224);
    let later = NOW + Duration::from_secs(5);
    let others: Vec<_> = (0..8).map(|_| origin(&mut turns, None, 10)).collect();
    let begun = begin_all(&mut turns, later);
    assert!(others.iter().all(|other| begun[other] == 4), "{begun:?}");
}

#[test]
fn an_origin_that_has_fallen_silent_is_slow_until_it_is_prompt_again() {
    let mut turns = turns(256, 200);
    let silent = origin(&mut turns, Some(QUICK), 100);
    begin_all(&mut turns, NOW);
    (0..400).for_each(|n| turns.push(silent, n));
    let later = NOW + PROMPT;
    assert_eq!(begin_all(&mut turns, later)[&silent], 28, "slow origins have half");
    for _ in 0..12 {
        turns.done(silent, Some(QUICK), later);
    }
    assert_eq!(begin_all(&mut turns, later)[&silent], 200 - 128 + 12 + 24, "no one else has work");
}

#[test]
fn a_limit_of_its_own_is_never_exceeded() {
    let mut turns = turns(256, 128);
    let (tight, wide) = (turns.add(Some(2)), turns.add(Some(200)));
    for key in [tight, wide] {
        turns.done(key, Some(QUICK), NOW);
        (0..1_000).for_each(|n| turns.push(key, n));
    }
    assert_eq!(begin_all(&mut turns, NOW), BTreeMap::from([(tight, 2), (wide, 200)]));
}

#[test]
fn nothing_is_begun_for_a_shut_origin_and_all_of_it_can_be_taken_out() {
    let mut turns = turns(8, 8);
    let key = origin(&mut turns, None, 3);
    turns.set_paused(key, true);
    assert_eq!(turns.next(NOW), None);
    assert_eq!(turns.drain(key), [0, 1, 2]);
    turns.push(key, 7);
    turns.set_paused(key, false);
    assert_eq!(turns.next(NOW), Some((key, 7)));
    assert_eq!((turns.waiting(), turns.in_flight()), (0, 1));
    turns.remove(key);
    assert!(turns.has_work(key), "what is in flight keeps it");
}

#[test]
fn with_one_slot_everything_is_begun_one_after_another() {
    let mut turns = turns(1, 1);
    let keys: Vec<_> = (0..3).map(|_| origin(&mut turns, None, 2)).collect();
    let mut begun = Vec::new();
    while let Some((key, _)) = turns.next(NOW) {
        assert_eq!(turns.next(NOW), None);
        turns.done(key, Some(LONG), NOW);
        begun.push(key);
    }
    assert_eq!(begun, [&keys[..], &keys[..]].concat());
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Begin,
    Done { which: usize, took: Option<Duration> },
    Shut(usize, bool),
    Drain(usize),
    Wait(Duration),
}

const ENDPOINTS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    let took = prop::option::of(prop_oneof![Just(QUICK), Just(PROMPT), Just(LONG)]);
    prop_oneof![
        5 => (0..ENDPOINTS).prop_map(Step::Push),
        5 => Just(Step::Begin),
        4 => (any::<usize>(), took).prop_map(|(which, took)| Step::Done { which, took }),
        1 => (0..ENDPOINTS, any::<bool>()).prop_map(|(key, paused)| Step::Shut(key, paused)),
        1 => (0..ENDPOINTS).prop_map(Step::Drain),
        1 => (0..3_000_u64).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

proptest! {
    #[test]
    fn limits_hold_and_nothing_is_lost_doubled_or_overtaken(
        total in 1..40_usize,
        share in 1..40_usize,
        own_limit in prop::option::of(1..5_usize),
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let limits = Limits::new(total, share);
        let mut turns = Turns::new(limits);
        let keys: Vec<Key> = (0..ENDPOINTS).map(|at| turns.add(own_limit.filter(|_| at == 0))).collect();
        let mut expected = vec![VecDeque::new(); ENDPOINTS];
        let mut paused = [false; ENDPOINTS];
        let (mut flying, mut now, mut pushed) = (Vec::<usize>::new(), NOW, 0);
        for step in steps {
            match step {
                Step::Push(at) => {
                    pushed += 1;
                    turns.push(keys[at], pushed);
                    expected[at].push_back(pushed);
                }
                Step::Begin => {
                    if let Some((key, item)) = turns.next(now) {
                        let at = keys.iter().position(|other| *other == key).unwrap();
                        prop_assert!(!paused[at]);
                        prop_assert_eq!(Some(item), expected[at].pop_front());
                        flying.push(at);
                    } else {
                        let could = (0..ENDPOINTS).any(|at| !paused[at] && !expected[at].is_empty());
                        prop_assert!(!could || !flying.is_empty(), "stuck with free slots");
                    }
                }
                Step::Done { which, took } if !flying.is_empty() => {
                    let at = flying.swap_remove(which % flying.len());
                    turns.done(keys[at], took, now);
                }
                Step::Done { .. } => {}
                Step::Shut(at, is) => {
                    paused[at] = is;
                    turns.set_paused(keys[at], is);
                }
                Step::Drain(at) => {
                    prop_assert_eq!(turns.drain(keys[at]), std::mem::take(&mut expected[at]));
                }
                Step::Wait(time) => now += time,
            }
            let of = |at: usize| flying.iter().filter(|other| **other == at).count();
            prop_assert!(flying.len() <= limits.total);
            prop_assert!(of(0) <= own_limit.unwrap_or(limits.total));
            prop_assert_eq!(turns.in_flight(), flying.len());
            prop_assert_eq!(turns.waiting(), expected.iter().map(VecDeque::len).sum::<usize>());
            let in_use = turns.origins.iter().fold(SlotsInUse::default(), |sum, (_, origin)| sum.with(origin.slots_in_use(&limits)));
            prop_assert_eq!(turns.in_use, in_use);
            prop_assert!(in_use.by_large <= limits.large.max(1));
        }
    }

    #[test]
    fn of_so_many_origins_with_work_each_has_its_turn_within_as_many_turns(
        paces in prop::collection::vec(prop::option::of(prop_oneof![Just(QUICK), Just(LONG)]), 1..12),
        slots in 1..20_usize,
        rounds in 1..6_usize,
    ) {
        let mut turns = turns(slots, slots);
        let keys: Vec<Key> = paces.iter().map(|took| origin(&mut turns, *took, rounds)).collect();
        for _ in 0..rounds {
            let mut served: Vec<Key> = keys
                .iter()
                .map(|_| {
                    let (key, _) = turns.next(NOW).unwrap();
                    // Without a time, the attempt does not change the average, so the origin stays in its group.
                    turns.done(key, None, NOW);
                    key
                })
                .collect();
            served.sort_unstable();
            prop_assert_eq!(&served, &keys);
        }
    }
}
