//! Single rules, and that everything is delivered in the end whatever happens in between.

use proptest::prelude::*;

use super::*;

const QUICK: Duration = Duration::from_millis(5);
const NOW: Moment = Moment::from_secs(100);

impl InHand for usize {
    fn units(&self) -> usize {
        1
    }
}

fn desk(backlog: usize, idle: usize) -> Desk<usize> {
    Desk::new(Limits::new(8, 4), Bounds { backlog, idle, parked: 2 }, HashMap::new())
}

fn take(desk: &mut Desk<usize>, endpoint: &str, work: usize) -> Option<Why> {
    let key = desk.key(endpoint);
    desk.take(key, work, NOW).map(|(_, why)| why)
}

/// An endpoint and a number.
impl InHand for (usize, usize) {
    fn units(&self) -> usize {
        1
    }
}

/// So large.
#[derive(Debug)]
struct Large(usize);

impl InHand for Large {
    fn units(&self) -> usize {
        self.0
    }
}

#[test]
fn memory_is_bounded_by_size_and_shared_by_size() {
    let bounds = Bounds { backlog: 100, idle: 10, parked: 2 };
    let mut desk = Desk::new(Limits::new(8, 4), bounds, HashMap::new());
    let mut take = |endpoint: &str, size: usize| {
        let key = desk.key(endpoint);
        desk.take(key, Large(size), NOW).is_none()
    };
    // Each fits while the endpoint has no more than there is left.
    assert_eq!((0..10).filter(|_| take("a", 20)).count(), 3);
    assert_eq!((0..50).filter(|_| take("b", 1)).count(), 17);
    while let Some((key, pass, _)) = desk.next(NOW) {
        desk.ended(key, pass, Sign::Works, QUICK, NOW);
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
    let key = desk.key("a");
    let mut aside = Vec::new();
    for n in 0..30 {
        assert_eq!(take(&mut desk, "a", n), None);
    }
    while let Some((key, pass, _)) = desk.next(NOW) {
        aside.extend(desk.ended(key, pass, Sign::Fails, QUICK, NOW).unwrap().aside);
    }
    assert_eq!(aside, (10..30).collect::<Vec<_>>());
    assert_eq!((take(&mut desk, "a", 30), desk.open(), desk.waiting()), (Some(Why::Breaker), 1, 0));
    (0..21).for_each(|_| desk.parked(key, true, NOW));
    assert!(desk.claim(NOW).is_none());

    let later = desk.alarm().unwrap();
    desk.wake(later);
    let claim = desk.claim(later).unwrap();
    assert_eq!((&*claim.endpoint, claim.limit), ("a", 1));
    assert!(desk.claimed(claim.key, claim.limit, Some((vec![10], true)), later).is_empty());
    let (key, pass, work) = desk.next(later).unwrap();
    assert_eq!((work, desk.next(later).map(drop)), (10, None));
    let end = desk.ended(key, pass, Sign::Works, QUICK, later).unwrap();
    assert_eq!((end.change, desk.open()), (Some(Change::Closed), 0));
    assert!(desk.claim(later).unwrap().limit > 20);
}

#[test]
fn what_is_known_of_idle_endpoints_is_bounded_and_the_longest_idle_is_forgotten() {
    let mut desk = desk(100, 3);
    for n in 0..10 {
        take(&mut desk, &n.to_string(), n);
        let (key, pass, _) = desk.next(NOW).unwrap();
        desk.ended(key, pass, Sign::Works, QUICK, NOW);
    }
    assert_eq!((desk.endpoints.len(), desk.keys.len()), (3, 3));
    assert!(desk.keys.contains_key("9") && !desk.keys.contains_key("6"));
}

/// The world around a desk: a store with parked reports, and tries under way.
#[derive(Default)]
struct World {
    arrived: usize,
    delivered: Vec<usize>,
    parked: BTreeMap<usize, VecDeque<(usize, usize)>>,
    parking: Vec<(Key, (usize, usize))>,
    flying: Vec<(Key, Pass, (usize, usize))>,
    claims: Vec<Claim>,
}

impl World {
    fn arrive(&mut self, desk: &mut Desk<(usize, usize)>, at: usize, now: Moment) {
        let key = desk.key(&at.to_string());
        let aside = desk.take(key, (at, self.arrived), now);
        self.arrived += 1;
        self.parking.extend(aside.map(|(work, _)| (key, work)));
    }

    fn end(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, sign: Sign, now: Moment) {
        let (key, pass, work) = self.flying.swap_remove(which % self.flying.len());
        let end = desk.ended(key, pass, sign, QUICK, now).unwrap();
        self.parking.extend(end.aside.into_iter().map(|work| (key, work)));
        if sign == Sign::Works {
            self.delivered.push(work.1);
        } else {
            // Due again, and claimed.
            self.arrived -= 1;
            self.arrive_again(desk, work, now);
        }
    }

    fn arrive_again(&mut self, desk: &mut Desk<(usize, usize)>, work: (usize, usize), now: Moment) {
        let key = desk.key(&work.0.to_string());
        let aside = desk.take(key, work, now);
        self.arrived += 1;
        self.parking.extend(aside.map(|(work, _)| (key, work)));
    }

    fn commit(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, now: Moment) {
        let (key, work) = self.parking.swap_remove(which % self.parking.len());
        self.parked.entry(work.0).or_default().push_back(work);
        desk.parked(key, true, now);
    }

    fn answer(&mut self, desk: &mut Desk<(usize, usize)>, which: usize, fails: bool, now: Moment) {
        let claim = self.claims.swap_remove(which % self.claims.len());
        let parked = self.parked.entry(claim.endpoint.parse().unwrap()).or_default();
        let brought = if fails {
            None
        } else {
            let works: Vec<_> = parked.drain(..claim.limit.min(parked.len())).collect();
            Some((works, !parked.is_empty()))
        };
        let aside = desk.claimed(claim.key, claim.limit, brought, now);
        self.parking.extend(aside.into_iter().map(|work| (claim.key, work)));
    }

    fn go_on(&mut self, desk: &mut Desk<(usize, usize)>, now: Moment) {
        desk.wake(now);
        self.flying.extend(std::iter::from_fn(|| desk.next(now)));
        self.claims.extend(std::iter::from_fn(|| desk.claim(now)));
        if desk.wants_to_know() {
            let parked = self.parked.iter().filter(|(_, works)| !works.is_empty());
            desk.found(parked.map(|(at, _)| at.to_string()).collect(), now);
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
    let sign = prop_oneof![2 => Just(Sign::Works), 3 => Just(Sign::Fails), 1 => Just(Sign::Nothing)];
    prop_oneof![
        6 => (0..5_usize).prop_map(Step::Arrive),
        4 => (any::<usize>(), sign).prop_map(|(which, sign)| Step::End(which, sign)),
        3 => any::<usize>().prop_map(Step::Commit),
        3 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Step::Answer(which, fails)),
        1 => (0..9_000_u64).prop_map(Step::Wait),
    ]
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
        prop_assert!(desk.endpoints.len() <= bounds.idle);
    }
}
