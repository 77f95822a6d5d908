//! Tests of single rules of the scheduler. One test checks that every report is delivered in the end, in whatever order
//! events come.

use proptest::prelude::*;

use super::*;

const QUICK: Duration = Duration::from_millis(5);
const NOW: SinceStart = SinceStart::from_secs(100);

impl Schedulable for usize {
    fn units(&self) -> usize {
        1
    }

    fn url(&self) -> &'static str {
        ""
    }
}

/// URLs of three origins. The second and the third origin have two URLs.
const URLS: [&str; 5] = ["x://0/a", "x://1/a", "x://1/b", "x://2/a", "x://2/b"];

fn end<W: Schedulable>(s: &mut Scheduler<W>, attempt: StartedAttempt, health: Health, now: SinceStart) -> Vec<W> {
    let to_park = s.ended(attempt, health, None, QUICK, now).unwrap().to_park;
    to_park.into_iter().map(|(_, work)| work).collect()
}

fn scheduler(backlog: usize, idle: usize) -> Scheduler<usize> {
    Scheduler::new(Limits::new(8, 4), Bounds { backlog, idle, parked: 2 }, HashMap::new())
}

fn take(scheduler: &mut Scheduler<usize>, origin: &str, work: usize) -> Option<ParkReason> {
    let key = scheduler.key(origin, "");
    scheduler.take(key, work, NOW).map(|(_, reason)| reason)
}

/// A report for tests. The first number is the index of its URL in `URLS`, the second number identifies the report.
impl Schedulable for (usize, usize) {
    fn units(&self) -> usize {
        1
    }

    fn url(&self) -> &'static str {
        URLS[self.0]
    }
}

/// A report that uses this many units of memory.
#[derive(Debug)]
struct Large(usize);

impl Schedulable for Large {
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
    let mut scheduler = Scheduler::new(Limits::new(8, 4), bounds, HashMap::new());
    let mut take = |origin: &str, size: usize| {
        let key = scheduler.key(origin, "");
        scheduler.take(key, Large(size), NOW).is_none()
    };
    // The scheduler keeps a report in memory if the reports of its origin use no more units than are still free.
    assert_eq!((0..10).filter(|_| take("a", 20)).count(), 3);
    assert_eq!((0..50).filter(|_| take("b", 1)).count(), 17);
    while let Some((attempt, _)) = scheduler.next(NOW) {
        end(&mut scheduler, attempt, Health::Works, NOW);
    }
    assert_eq!((scheduler.waiting(), scheduler.counts.waiting), (0, 0));
    assert!(scheduler.queues.values().all(|at| at.waiting == 0));
}

#[test]
fn one_origin_has_half_of_the_memory_and_another_always_finds_room() {
    let mut scheduler = scheduler(100, 10);
    let parked = (0..200).filter(|n| take(&mut scheduler, "a", *n).is_some()).count();
    assert_eq!(parked, 150);
    let mut others = scheduler;
    others.counts.parking = 0;
    assert_eq!(take(&mut others, "b", 0), None);
    assert_eq!(others.waiting(), 51);
}

#[test]
fn a_failing_origin_has_nothing_in_memory_until_a_single_report_finds_out() {
    let mut scheduler = scheduler(100, 10);
    let key = scheduler.key("a", "");
    let mut to_park = Vec::new();
    for n in 0..30 {
        assert_eq!(take(&mut scheduler, "a", n), None);
    }
    while let Some((attempt, _)) = scheduler.next(NOW) {
        to_park.extend(end(&mut scheduler, attempt, Health::Unreachable, NOW));
    }
    assert_eq!(to_park, (10..30).collect::<Vec<_>>());
    assert_eq!(
        (take(&mut scheduler, "a", 30), scheduler.open(), scheduler.waiting()),
        (Some(ParkReason::Breaker), 1, 0)
    );
    (0..21).for_each(|_| scheduler.parked(key, true, NOW));
    assert!(scheduler.claim(NOW).is_none());

    let later = scheduler.alarm().unwrap();
    scheduler.wake(later);
    let claim = scheduler.claim(later).unwrap();
    assert_eq!((&*claim.queue_name, claim.limit), ("a", 1));
    assert!(scheduler.claimed(claim.key, claim.limit, Some((vec![10], true)), later).is_empty());
    let (attempt, work) = scheduler.next(later).unwrap();
    assert_eq!((work, scheduler.next(later).map(drop)), (10, None));
    let end = scheduler.ended(attempt, Health::Works, None, QUICK, later).unwrap();
    assert_eq!((end.changes, scheduler.open()), (vec![("a".into(), Change::Closed)], 0));
    assert!(scheduler.claim(later).unwrap().limit > 20);
}

#[test]
fn what_is_known_of_idle_origins_is_bounded_and_the_longest_idle_is_forgotten() {
    let mut scheduler = scheduler(100, 3);
    for n in 0..10 {
        take(&mut scheduler, &n.to_string(), n);
        let (attempt, _) = scheduler.next(NOW).unwrap();
        end(&mut scheduler, attempt, Health::Works, NOW);
    }
    assert_eq!((scheduler.queues.len(), scheduler.keys.len()), (3, 3));
    assert!(scheduler.keys.contains_key("9") && !scheduler.keys.contains_key("6"));
}

#[test]
fn of_more_dead_origins_than_are_known_each_has_its_turn() {
    const ORIGINS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut scheduler: Scheduler<usize> = scheduler(100, 10);
    let mut now = NOW;
    let mut attempted = BTreeMap::<String, usize>::new();
    scheduler.found(ORIGINS.map(str::to_owned).to_vec(), now);
    for _ in 0..2_000 {
        now += Duration::from_secs(10);
        scheduler.wake(now);
        while let Some(claim) = scheduler.claim(now) {
            *attempted.entry(claim.queue_name.to_string()).or_default() += 1;
            scheduler.claimed(claim.key, claim.limit, Some((vec![0], true)), now);
        }
        while let Some((attempt, _)) = scheduler.next(now) {
            let key = attempt.key;
            let ended = scheduler.ended(attempt, Health::Unreachable, None, QUICK, now);
            (0..ended.map_or(0, |effects| effects.to_park.len())).for_each(|_| scheduler.parked(key, true, now));
        }
        if scheduler.needs_parked_search() {
            scheduler.found(ORIGINS.map(str::to_owned).to_vec(), now);
        }
    }
    assert_eq!(attempted.keys().map(String::as_str).collect::<Vec<_>>(), ORIGINS, "{attempted:?}");
}

/// The state outside of the scheduler: parked reports in a store, the attempts in flight, and the claims in progress.
#[derive(Default)]
struct World {
    arrived: usize,
    delivered: Vec<usize>,
    parked: BTreeMap<String, VecDeque<(usize, usize)>>,
    parking: Vec<(Key, (usize, usize))>,
    in_flight: Vec<(StartedAttempt, (usize, usize))>,
    claims: Vec<Claim>,
}

impl World {
    fn arrive(&mut self, scheduler: &mut Scheduler<(usize, usize)>, at: usize, now: SinceStart) {
        let work = (at, self.arrived);
        self.arrived += 1;
        self.take(scheduler, work, now);
    }

    fn take(&mut self, scheduler: &mut Scheduler<(usize, usize)>, work: (usize, usize), now: SinceStart) {
        let key = scheduler.key(&work.url()[..5], work.url());
        let to_park = scheduler.take(key, work, now);
        self.parking.extend(to_park.map(|(work, _)| (key, work)));
    }

    fn end(&mut self, scheduler: &mut Scheduler<(usize, usize)>, which: usize, health: Health, now: SinceStart) {
        let (attempt, work) = self.in_flight.swap_remove(which % self.in_flight.len());
        let url = (health == Health::Fails).then(|| work.url());
        let end = scheduler.ended(attempt, health, url, QUICK, now).unwrap();
        self.parking.extend(end.to_park);
        if health == Health::Works {
            self.delivered.push(work.1);
        } else {
            // The attempt failed, so its report becomes due again and is claimed again.
            self.take(scheduler, work, now);
        }
    }

    fn commit(&mut self, scheduler: &mut Scheduler<(usize, usize)>, which: usize, now: SinceStart) {
        let (key, work) = self.parking.swap_remove(which % self.parking.len());
        let line = scheduler.url_of(key).map_or_else(|| work.url()[..5].to_owned(), |line| line.to_string());
        self.parked.entry(line).or_default().push_back(work);
        scheduler.parked(key, true, now);
    }

    fn answer(&mut self, scheduler: &mut Scheduler<(usize, usize)>, which: usize, fails: bool, now: SinceStart) {
        let claim = self.claims.swap_remove(which % self.claims.len());
        let parked = self.parked.entry(claim.queue_name.to_string()).or_default();
        let claimed = if fails {
            None
        } else {
            let works: Vec<_> = parked.drain(..claim.limit.min(parked.len())).collect();
            Some((works, !parked.is_empty()))
        };
        self.parking.extend(scheduler.claimed(claim.key, claim.limit, claimed, now));
    }

    fn start_due(&mut self, scheduler: &mut Scheduler<(usize, usize)>, now: SinceStart) {
        scheduler.wake(now);
        self.in_flight.extend(std::iter::from_fn(|| scheduler.next(now)));
        self.claims.extend(std::iter::from_fn(|| scheduler.claim(now)));
        if scheduler.needs_parked_search() {
            let parked = self.parked.iter().filter(|(_, works)| !works.is_empty());
            scheduler.found(parked.map(|(line, _)| line.clone()).collect(), now);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    End(usize, Health),
    Commit(usize),
    Answer(usize, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![
        2 => Just(Health::Works),
        4 => Just(Health::Fails),
        1 => Just(Health::Unreachable),
        1 => Just(Health::Unknown),
    ];
    prop_oneof![
        6 => (0..5_usize).prop_map(Step::Arrive),
        4 => (any::<usize>(), health).prop_map(|(which, health)| Step::End(which, health)),
        3 => any::<usize>().prop_map(Step::Commit),
        3 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Step::Answer(which, fails)),
        1 => (0..9_000_u64).prop_map(Step::Wait),
    ]
}

/// Starts all attempts that may start, and ends them. Attempts at the first URL of the second origin fail.
fn play(scheduler: &mut Scheduler<(usize, usize)>, world: &mut World, now: SinceStart) {
    world.start_due(scheduler, now);
    while !world.in_flight.is_empty() || !world.parking.is_empty() || !world.claims.is_empty() {
        if !world.parking.is_empty() {
            world.commit(scheduler, 0, now);
        } else if !world.claims.is_empty() {
            world.answer(scheduler, 0, false, now);
        } else {
            let bad = world.in_flight[0].1.0 == 1;
            world.end(scheduler, 0, if bad { Health::Fails } else { Health::Works }, now);
        }
        world.start_due(scheduler, now);
    }
}

#[test]
fn a_url_that_fails_holds_up_no_other_of_its_origin() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let (mut scheduler, mut world) = (Scheduler::new(Limits::new(8, 4), bounds, HashMap::new()), World::default());
    for n in 0..250 {
        world.arrive(&mut scheduler, if n % 5 == 0 { 2 } else { 1 }, NOW);
    }
    play(&mut scheduler, &mut world, NOW);
    assert_eq!(world.delivered.len(), 50);
    assert_eq!((scheduler.open(), scheduler.waiting()), (1, 0));
    assert_eq!(world.parked["x://1/a"].len(), 200);
    assert!(world.parked.get("x://1").is_none_or(VecDeque::is_empty));
    // Later reports to the other URL are also delivered. The attempts that test the failing URL do not delay them.
    for _ in 0..20 {
        let later = scheduler.alarm().unwrap();
        world.arrive(&mut scheduler, 2, later);
        world.arrive(&mut scheduler, 1, later);
        play(&mut scheduler, &mut world, later);
    }
    assert_eq!(world.delivered.len(), 70);
}

#[test]
fn single_attempts_of_an_origin_take_turns_over_its_urls() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let mut scheduler = Scheduler::new(Limits::new(8, 4), bounds, HashMap::new());
    let mut world = World::default();
    // At first, no attempt gets a connection. Later, attempts get a connection, and attempts at one of the two URLs
    // succeed.
    (0..30).for_each(|n| world.arrive(&mut scheduler, 1 + usize::from(n == 29), NOW));
    world.start_due(&mut scheduler, NOW);
    while !world.in_flight.is_empty() {
        world.end(&mut scheduler, 0, Health::Unreachable, NOW);
        world.start_due(&mut scheduler, NOW);
    }
    while !world.parking.is_empty() {
        world.commit(&mut scheduler, 0, NOW);
    }
    assert_eq!((scheduler.open(), world.parked["x://1"].len()), (1, 30));
    let mut now = NOW;
    for _ in 0..20 {
        now = scheduler.alarm().unwrap().max(now);
        play(&mut scheduler, &mut world, now);
        if !world.delivered.is_empty() {
            break;
        }
    }
    assert_eq!(world.delivered, [29]);
}

#[test]
fn urls_with_a_line_of_their_own_are_few_and_join_the_others_when_they_work() {
    let bounds = Bounds { backlog: 1_000, idle: 10, parked: 10 };
    let (mut scheduler, mut world) = (Scheduler::new(Limits::new(8, 4), bounds, HashMap::new()), World::default());
    (0..20).for_each(|_| world.arrive(&mut scheduler, 1, NOW));
    play(&mut scheduler, &mut world, NOW);
    assert!(scheduler.keys.contains_key(URLS[1]));
    let mut now = NOW;
    while let Some(alarm) = scheduler.alarm() {
        now = alarm.max(now);
        world.start_due(&mut scheduler, now);
        while !world.in_flight.is_empty() || !world.claims.is_empty() {
            if world.in_flight.is_empty() {
                world.answer(&mut scheduler, 0, false, now);
            } else {
                world.end(&mut scheduler, 0, Health::Works, now);
            }
            world.start_due(&mut scheduler, now);
        }
    }
    assert_eq!((world.delivered.len(), scheduler.open(), scheduler.keys.contains_key(URLS[1])), (20, 0, false));
    // Many URLs fail at the same time.
    let mut scheduler: Scheduler<usize> = Scheduler::new(Limits::new(8, 4), bounds, HashMap::new());
    let origin = scheduler.key("x://1", "");
    for n in 0..100 {
        let url = format!("x://1/{n}");
        let hash = scheduler.url_hash(&url);
        let mut breaker = crate::policy::breaker::Breaker::default();
        breaker.trip(NOW);
        scheduler.split_off(origin, hash, &url, breaker, NOW);
    }
    assert_eq!(scheduler.queues[&origin].url_queues.len(), scheduler.idle.len());
    assert_eq!((scheduler.keys.len(), scheduler.open()), (1 + 10, 10), "no more than may be idle");
}

proptest! {
    #[test]
    fn whatever_happens_all_is_delivered_once_receivers_work(
        steps in prop::collection::vec(step(), 0..500),
        backlog in 1..20_usize,
    ) {
        let bounds = Bounds { backlog, idle: 2, parked: 2 };
        let mut scheduler = Scheduler::new(Limits::new(4, 2), bounds, HashMap::new());
        let (mut world, mut now) = (World::default(), NOW);
        for step in steps {
            match step {
                Step::Arrive(at) => world.arrive(&mut scheduler, at, now),
                Step::End(which, health) if !world.in_flight.is_empty() => world.end(&mut scheduler, which, health, now),
                Step::Commit(which) if !world.parking.is_empty() => world.commit(&mut scheduler, which, now),
                Step::Answer(which, fails) if !world.claims.is_empty() => world.answer(&mut scheduler, which, fails, now),
                Step::Wait(ms) => now += Duration::from_millis(ms),
                _ => {}
            }
            world.start_due(&mut scheduler, now);
            prop_assert!(scheduler.waiting() <= backlog);
            prop_assert_eq!((scheduler.in_flight(), scheduler.claims()), (world.in_flight.len(), world.claims.len()));
            prop_assert_eq!(scheduler.parking(), world.parking.len());
            prop_assert!(scheduler.counts.parked <= bounds.parked);
            let open = scheduler.queues.values().filter(|at| at.breaker.is_probing()).count();
            prop_assert_eq!(scheduler.open(), open);
        }
        for _ in 0..100_000 {
            world.start_due(&mut scheduler, now);
            if !world.in_flight.is_empty() {
                world.end(&mut scheduler, 0, Health::Works, now);
            } else if !world.parking.is_empty() {
                world.commit(&mut scheduler, 0, now);
            } else if !world.claims.is_empty() {
                world.answer(&mut scheduler, 0, false, now);
            } else if let Some(alarm) = scheduler.alarm() {
                now = now.max(alarm);
            } else {
                break;
            }
        }
        world.delivered.sort_unstable();
        prop_assert_eq!(world.delivered, (0..world.arrived).collect::<Vec<_>>());
        prop_assert_eq!(scheduler.counts.reserved, 0);
        prop_assert!(scheduler.queues.len() <= bounds.idle + 1, "an origin may have one idle URL");
    }
}
