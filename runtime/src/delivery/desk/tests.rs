//! Single rules, and that everything is delivered in the end whatever happens in between.

use proptest::prelude::*;

use super::*;

const QUICK: Duration = Duration::from_millis(5);
const NOW: Moment = Moment::from_secs(100);

impl InHand for usize {
    fn units(&self) -> usize {
        1
    }

    fn url(&self) -> &'static str {
        ""
    }
}

/// Of the second and the fourth endpoint there are two URLs.
const URLS: [&str; 5] = ["x://0/a", "x://1/a", "x://1/b", "x://2/a", "x://2/b"];

fn end<W: InHand>(desk: &mut Desk<W>, begun: Begun, sign: Sign, now: Moment) -> Vec<W> {
    let aside = desk.ended(begun, sign, None, QUICK, now).unwrap().aside;
    aside.into_iter().map(|(_, work)| work).collect()
}

fn desk(backlog: usize, idle: usize) -> Desk<usize> {
    Desk::new(Limits::new(8, 4), Bounds { backlog, idle, parked: 2 }, HashMap::new())
}

fn take(desk: &mut Desk<usize>, endpoint: &str, work: usize) -> Option<Why> {
    let key = desk.key(endpoint, "");
    desk.take(key, work, NOW).map(|(_, why)| why)
}

/// A URL and a number.
impl InHand for (usize, usize) {
    fn units(&self) -> usize {
        1
    }

    fn url(&self) -> &'static str {
        URLS[self.0]
    }
}

/// So large.
#[derive(Debug)]
struct Large(usize);

impl InHand for Large {
    fn units(&self) -> usize {
        self.0
    }

    fn url(&self) -> &'static str {
        ""
    }
}

#[test]
fn memory_is_bounded_by_size_and_shared_by_size() {
    let bounds = Bounds { backlog: 100, idle: 10, parked: 2 };
    let mut desk = Desk::new(Limits::new(8, 4), bounds, HashMap::new());
    let mut take = |endpoint: &str, size: usize| {
        let key = desk.key(endpoint, "");
        desk.take(key, Large(size), NOW).is_none()
    };
    // Each fits while the endpoint has no more than there is left.
    assert_eq!((0..10).filter(|_| take("a", 20)).count(), 3);
    assert_eq!((0..50).filter(|_| take("b", 1)).count(), 17);
    while let Some((begun, _)) = desk.next(NOW) {
        end(&mut desk, begun, Sign::Works, NOW);
    }
    assert_eq!((desk.waiting(), desk.counts.waiting), (0, 0));
    assert!(desk.endpoints.values().all(|at| at.waiting == 0));
}

#[test]
fn one_endpoint_has_half_of_the_memory_and_another_always_finds_room() {
    let mut desk = desk(100, 10);
    let parked = (0..200).filter(|n| take(&mut desk, "a", *n).is_some()).count();
    assert_eq!(parked, 150);
    let mut others = desk;
    others.counts.parking = 0;
    assert_eq!(take(&mut others, "b", 0), None);
    assert_eq!(others.waiting(), 51);
}

#[test]
fn a_failing_endpoint_has_nothing_in_memory_until_a_single_report_finds_out() {
    let mut desk = desk(100, 10);
    let key = desk.key("a", "");
    let mut aside = Vec::new();
    for n in 0..30 {
        assert_eq!(take(&mut desk, "a", n), None);
    }
    while let Some((begun, _)) = desk.next(NOW) {
        aside.extend(end(&mut desk, begun, Sign::Unreachable, NOW));
    }
    assert_eq!(aside, (10..30).collect::<Vec<_>>());
    assert_eq!((take(&mut desk, "a", 30), desk.open(), desk.waiting()), (Some(Why::Breaker), 1, 0));
    (0..21).for_each(|_| desk.parked(key, true, NOW));
    assert!(desk.claim(NOW).is_none());

    let later = desk.alarm().unwrap();
    desk.wake(later);
    let claim = desk.claim(later).unwrap();
    assert_eq!((&*claim.line, claim.limit), ("a", 1));
    assert!(desk.claimed(claim.key, claim.limit, Some((vec![10], true)), later).is_empty());
    let (begun, work) = desk.next(later).unwrap();
    assert_eq!((work, desk.next(later).map(drop)), (10, None));
    let end = desk.ended(begun, Sign::Works, None, QUICK, later).unwrap();
    assert_eq!((end.changes, desk.open()), (vec![("a".into(), Change::Closed)], 0));
    assert!(desk.claim(later).unwrap().limit > 20);
}

#[test]
fn what_is_known_of_idle_endpoints_is_bounded_and_the_longest_idle_is_forgotten() {
    let mut desk = desk(100, 3);
    for n in 0..10 {
        take(&mut desk, &n.to_string(), n);
        let (begun, _) = desk.next(NOW).unwrap();
        end(&mut desk, begun, Sign::Works, NOW);
    }
    assert_eq!((desk.endpoints.len(), desk.keys.len()), (3, 3));
    assert!(desk.keys.contains_key("9") && !desk.keys.contains_key("6"));
}

#[test]
fn of_more_dead_endpoints_than_are_known_each_has_its_turn() {
    const ENDPOINTS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut desk: Desk<usize> = desk(100, 10);
    let mut now = NOW;
    let mut tried = BTreeMap::<String, usize>::new();
    desk.found(ENDPOINTS.map(str::to_owned).to_vec(), now);
    for _ in 0..2_000 {
        now += Duration::from_secs(10);
        desk.wake(now);
        while let Some(claim) = desk.claim(now) {
            *tried.entry(claim.line.to_string()).or_default() += 1;
            desk.claimed(claim.key, claim.limit, Some((vec![0], true)), now);
        }
        while let Some((begun, _)) = desk.next(now) {
            let key = begun.key;
            let aside = desk.ended(begun, Sign::Unreachable, None, QUICK, now).map_or(0, |end| end.aside.len());
            (0..aside).for_each(|_| desk.parked(key, true, now));
        }
        if desk.wants_to_know() {
            desk.found(ENDPOINTS.map(str::to_owned).to_vec(), now);
        }
    }
    assert_eq!(tried.keys().map(String::as_str).collect::<Vec<_>>(), ENDPOINTS, "{tried:?}");
}

/// The world around a desk: a store with parked reports, and tries under way.
#[derive(Default)]
struct World {
    arrived: usize,
    delivered: Vec<usize>,
    parked: BTreeMap<String, VecDeque<(usize, usize)>>,
    parking: Vec<(Key, (usize, usize))>,
    flying: Vec<(Begun, (usize, usize))>,
    claims: Vec<Claim>,
}

impl World {
    fn arrive(&mut self, desk: &mut Desk<(usize, usize)>, at: usize, now: Moment) {
        let work = (at, self.arrived);
        self.arrived += 1;
        self.take(desk, work, now);
    }

    fn take(&mut self, desk: &mut Desk<(usize, usize)>, work: (usize, usize), now: Moment) {
        let key = desk.key(&work.url()[..5], work.url());
        let aside = desk.take(key, work, now);
        self.parking.extend(aside.map(|(work, _)| (key, work)));
    }

    fn end(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, sign: Sign, now: Moment) {
        let (begun, work) = self.flying.swap_remove(which % self.flying.len());
        let url = (sign == Sign::Fails).then(|| work.url());
        let end = desk.ended(begun, sign, url, QUICK, now).unwrap();
        self.parking.extend(end.aside);
        if sign == Sign::Works {
            self.delivered.push(work.1);
        } else {
            // Due again, and claimed.
            self.take(desk, work, now);
        }
    }

    fn commit(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, now: Moment) {
        let (key, work) = self.parking.swap_remove(which % self.parking.len());
        let line = desk.url_of(key).map_or_else(|| work.url()[..5].to_owned(), |line| line.to_string());
        self.parked.entry(line).or_default().push_back(work);
        desk.parked(key, true, now);
    }

    fn answer(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, fails: bool, now: Moment) {
        let claim = self.claims.swap_remove(which % self.claims.len());
        let parked = self.parked.entry(claim.line.to_string()).or_default();
        let brought = if fails {
            None
        } else {
            let works: Vec<_> = parked.drain(..claim.limit.min(parked.len())).collect();
            Some((works, !parked.is_empty()))
        };
        self.parking.extend(desk.claimed(claim.key, claim.limit, brought, now));
    }

    fn go_on(&mut self, desk: &mut Desk<(usize, usize)>, now: Moment) {
        desk.wake(now);
        self.flying.extend(std::iter::from_fn(|| desk.next(now)));
        self.claims.extend(std::iter::from_fn(|| desk.claim(now)));
        if desk.wants_to_know() {
            let parked = self.parked.iter().filter(|(_, works)| !works.is_empty());
            desk.found(parked.map(|(line, _)| line.clone()).collect(), now);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    End(usize, Sign),
    Commit(usize),
    Answer(usize, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sign = prop_oneof![
        2 => Just(Sign::Works),
        4 => Just(Sign::Fails),
        1 => Just(Sign::Unreachable),
        1 => Just(Sign::Nothing),
    ];
    prop_oneof![
        6 => (0..5_usize).prop_map(Step::Arrive),
        4 => (any::<usize>(), sign).prop_map(|(which, sign)| Step::End(which, sign)),
        3 => any::<usize>().prop_map(Step::Commit),
        3 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Step::Answer(which, fails)),
        1 => (0..9_000_u64).prop_map(Step::Wait),
    ]
}

/// Ends all tries that may begin: those at the first URL of the second endpoint fail.
fn play(desk: &mut Desk<(usize, usize)>, world: &mut World, now: Moment) {
    world.go_on(desk, now);
    while !world.flying.is_empty() || !world.parking.is_empty() || !world.claims.is_empty() {
        if !world.parking.is_empty() {
            world.commit(desk, 0, now);
        } else if !world.claims.is_empty() {
            world.answer(desk, 0, false, now);
        } else {
            let bad = world.flying[0].1.0 == 1;
            world.end(desk, 0, if bad { Sign::Fails } else { Sign::Works }, now);
        }
        world.go_on(desk, now);
    }
}

#[test]
fn a_url_that_fails_holds_up_no_other_of_its_endpoint() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let (mut desk, mut world) = (Desk::new(Limits::new(8, 4), bounds, HashMap::new()), World::default());
    for n in 0..250 {
        world.arrive(&mut desk, if n % 5 == 0 { 2 } else { 1 }, NOW);
    }
    play(&mut desk, &mut world, NOW);
    assert_eq!(world.delivered.len(), 50);
    assert_eq!((desk.open(), desk.waiting()), (1, 0));
    assert_eq!(world.parked["x://1/a"].len(), 200);
    assert!(world.parked.get("x://1").is_none_or(VecDeque::is_empty));
    // Later ones neither, and the single tries of the one that fails are its own.
    for _ in 0..20 {
        let later = desk.alarm().unwrap();
        world.arrive(&mut desk, 2, later);
        world.arrive(&mut desk, 1, later);
        play(&mut desk, &mut world, later);
    }
    assert_eq!(world.delivered.len(), 70);
}

#[test]
fn single_tries_of_an_endpoint_take_turns_over_its_urls() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let mut desk = Desk::new(Limits::new(8, 4), bounds, HashMap::new());
    let mut world = World::default();
    // Nothing connects, and then it does; one of two URLs works.
    (0..30).for_each(|n| world.arrive(&mut desk, 1 + usize::from(n == 29), NOW));
    world.go_on(&mut desk, NOW);
    while !world.flying.is_empty() {
        world.end(&mut desk, 0, Sign::Unreachable, NOW);
        world.go_on(&mut desk, NOW);
    }
    while !world.parking.is_empty() {
        world.commit(&mut desk, 0, NOW);
    }
    assert_eq!((desk.open(), world.parked["x://1"].len()), (1, 30));
    let mut now = NOW;
    for _ in 0..20 {
        now = desk.alarm().unwrap().max(now);
        play(&mut desk, &mut world, now);
        if !world.delivered.is_empty() {
            break;
        }
    }
    assert_eq!(world.delivered, [29]);
}

#[test]
fn urls_with_a_line_of_their_own_are_few_and_join_the_others_when_they_work() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let (mut desk, mut world) = (Desk::new(Limits::new(8, 4), bounds, HashMap::new()), World::default());
    (0..20).for_each(|_| world.arrive(&mut desk, 1, NOW));
    play(&mut desk, &mut world, NOW);
    assert!(desk.keys.contains_key(URLS[1]));
    let mut now = NOW;
    while let Some(alarm) = desk.alarm() {
        now = alarm.max(now);
        world.go_on(&mut desk, now);
        while !world.flying.is_empty() || !world.claims.is_empty() {
            if world.flying.is_empty() {
                world.answer(&mut desk, 0, false, now);
            } else {
                world.end(&mut desk, 0, Sign::Works, now);
            }
            world.go_on(&mut desk, now);
        }
    }
    assert_eq!((world.delivered.len(), desk.open(), desk.keys.contains_key(URLS[1])), (20, 0, false));
    // However many fail at once.
    let mut desk: Desk<usize> = Desk::new(Limits::new(8, 4), bounds, HashMap::new());
    let origin = desk.key("x://1", "");
    for n in 0..100 {
        let url = format!("x://1/{n}");
        let told = desk.told_apart(&url);
        let mut breaker = crate::policy::breaker::Breaker::default();
        breaker.trip(NOW);
        desk.split_off(origin, told, &url, breaker, NOW);
    }
    assert_eq!(desk.endpoints[&origin].urls.len(), desk.idle.len());
    assert_eq!((desk.keys.len(), desk.open()), (1 + 10, 10), "no more than may be idle");
}

proptest! {
    #[test]
    fn whatever_happens_all_is_delivered_once_receivers_work(
        steps in prop::collection::vec(step(), 0..500),
        backlog in 1..20_usize,
    ) {
        let bounds = Bounds { backlog, idle: 2, parked: 2 };
        let mut desk = Desk::new(Limits::new(4, 2), bounds, HashMap::new());
        let (mut world, mut now) = (World::default(), NOW);
        for step in steps {
            match step {
                Step::Arrive(at) => world.arrive(&mut desk, at, now),
                Step::End(which, sign) if !world.flying.is_empty() => world.end(&mut desk, which, sign, now),
                Step::Commit(which) if !world.parking.is_empty() => world.commit(&mut desk, which, now),
                Step::Answer(which, fails) if !world.claims.is_empty() => world.answer(&mut desk, which, fails, now),
                Step::Wait(ms) => now += Duration::from_millis(ms),
                _ => {}
            }
            world.go_on(&mut desk, now);
            prop_assert!(desk.waiting() <= backlog);
            prop_assert_eq!((desk.in_flight(), desk.claims()), (world.flying.len(), world.claims.len()));
            prop_assert_eq!(desk.parking(), world.parking.len());
            prop_assert!(desk.counts.parked <= bounds.parked);
            let open = desk.endpoints.values().filter(|at| at.breaker.is_probing()).count();
            prop_assert_eq!(desk.open(), open);
        }
        for _ in 0..100_000 {
            world.go_on(&mut desk, now);
            if !world.flying.is_empty() {
                world.end(&mut desk, 0, Sign::Works, now);
            } else if !world.parking.is_empty() {
                world.commit(&mut desk, 0, now);
            } else if !world.claims.is_empty() {
                world.answer(&mut desk, 0, false, now);
            } else if let Some(alarm) = desk.alarm() {
                now = now.max(alarm);
            } else {
                break;
            }
        }
        world.delivered.sort_unstable();
        prop_assert_eq!(world.delivered, (0..world.arrived).collect::<Vec<_>>());
        prop_assert_eq!(desk.counts.reserved, 0);
        prop_assert!(desk.endpoints.len() <= bounds.idle + 1, "an endpoint may have one idle URL");
    }
}
