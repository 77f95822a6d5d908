//! Tests of the turns of the loop, with a clock that the test moves.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::app::App;
use crate::handler::{Payload, Query, State};
use crate::policy::cron::Missed;
use postback_store::Location;
use postback_wire::id::NodeId;

async fn clean_up(_: Payload<Tick>) -> Result<(), String> {
    Ok(())
}

async fn count(_: Payload<u32>) -> Result<(), String> {
    Ok(())
}

#[derive(serde::Deserialize)]
struct Options {
    #[expect(dead_code, reason = "the field is needed, and nothing reads it")]
    lang: String,
}

async fn render(_: Payload<Tick>, _: Query<Options>) -> Result<(), String> {
    Ok(())
}

#[derive(serde::Deserialize)]
struct Page {
    #[expect(dead_code, reason = "the field may be missing, and nothing reads it")]
    page: Option<u32>,
}

async fn paged(_: Query<Page>) -> Result<(), String> {
    Ok(())
}

async fn report(_: State<u8>) -> Result<(), String> {
    Ok(())
}

struct World {
    now: Arc<AtomicI64>,
    clock: Clock,
    store: Store,
}

impl World {
    async fn new(now: &str) -> Self {
        let now = Arc::new(AtomicI64::new(Timestamp::parse(now).unwrap().micros()));
        let seen = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_micros(seen.load(Ordering::Relaxed)));
        let options = postback_store::Options::at(Location::Memory { reports: 100, bytes: 1 << 20, kept: 10 });
        let store = Store::open(options, NodeId::generate(), clock.clone()).await.unwrap();
        Self { now, clock, store }
    }

    fn set(&self, now: &str) {
        self.now.store(Timestamp::parse(now).unwrap().micros(), Ordering::Relaxed);
    }

    /// Starts a process.
    async fn start(&self, missed: Missed) -> Vec<Scheduled> {
        let app = App::new(()).cron("0 3 * * *", "Europe/Berlin", clean_up).missed(missed);
        let routes = app.into_routes().unwrap_or_else(|error| panic!("{error}"));
        let mut all = all(&routes, &self.clock);
        go_on(&self.store, &self.clock, &mut all).await;
        all
    }

    async fn turn(&self, all: &mut [Scheduled]) -> Duration {
        turn(&self.store, &self.clock, all).await
    }

    /// The days of the ticks whose requests are in the store, of the first ten days of the month.
    async fn days(&self) -> Vec<u32> {
        let mut days = Vec::new();
        for day in 1..10 {
            let at = Timestamp::parse(&format!("2026-11-0{day}T02:00:00Z")).unwrap();
            let request = self.store.request(&id("/cron/clean_up", at).unwrap()).await.unwrap();
            days.extend(request.map(|_| day));
        }
        days
    }
}

#[tokio::test]
async fn each_tick_becomes_one_request() {
    let world = World::new("2026-11-01T12:00:00Z").await;
    let mut all = world.start(Missed::Once).await;
    assert_eq!(world.turn(&mut all).await, LOOK);
    world.set("2026-11-02T01:59:58Z");
    assert_eq!(world.turn(&mut all).await, Duration::from_millis(2_001));
    assert!(world.days().await.is_empty(), "a schedule that is new has missed nothing");

    world.set("2026-11-02T02:00:00Z");
    world.turn(&mut all).await;
    assert_eq!(world.days().await, [2]);
    let at = world.clock.now();
    let request = world.store.request(&id("/cron/clean_up", at).unwrap()).await.unwrap().unwrap();
    assert_eq!(request.id.as_str(), "postback-cron-clean_up-20261102T020000Z");
    assert_eq!(&Tick::body(&all[0].schedule, at)[..], br#"{"scheduled_at":"2026-11-02T03:00:00+01:00"}"#);

    // The clock is set back, and comes to the same time again.
    world.set("2026-11-01T12:00:00Z");
    world.turn(&mut all).await;
    world.set("2026-11-02T02:00:00Z");
    world.turn(&mut all).await;
    assert_eq!(world.days().await, [2]);
    // Another node has the same schedule, and did not know of the tick when it started.
    let mut other = world.start(Missed::Once).await;
    other[0].last = Timestamp::parse("2026-11-01T12:00:00Z").unwrap();
    world.turn(&mut other).await;
    assert_eq!((world.days().await, other[0].waiting.len()), (vec![2], 0));
}

#[tokio::test]
async fn a_restart_makes_up_for_what_was_missed() {
    for (missed, days) in [(Missed::Skip, vec![2]), (Missed::Once, vec![2, 6]), (Missed::All, vec![2, 3, 4, 5, 6])] {
        let world = World::new("2026-11-01T12:00:00Z").await;
        let mut all = world.start(missed).await;
        world.set("2026-11-02T02:00:00Z");
        world.turn(&mut all).await;
        drop(all);
        world.set("2026-11-06T12:00:00Z");
        let mut all = world.start(missed).await;
        world.turn(&mut all).await;
        assert_eq!(world.days().await, days, "{missed:?}");
        world.turn(&mut all).await;
        assert_eq!(world.days().await, days, "{missed:?}");
    }
}

#[tokio::test]
async fn a_tick_waits_for_a_store_that_is_full() {
    let world = World::new("2026-11-01T12:00:00Z").await;
    let mut all = world.start(Missed::Once).await;
    world.store.limit_requests(0, u64::MAX);
    world.set("2026-11-02T02:00:00Z");
    assert_eq!(world.turn(&mut all).await, RETRY);
    assert!(world.days().await.is_empty() && all[0].waiting.len() == 1);
    world.store.limit_requests(9, u64::MAX);
    world.turn(&mut all).await;
    assert_eq!(world.days().await, [2]);
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_when_the_app_starts() {
    let told = |app: App<()>| app.into_routes().err().unwrap().to_string();
    let app = App::new(()).cron("0 3 * *", "UTC", clean_up).missed(Missed::All).cron("0 3 * * *", "Berlin", report);
    let mistakes = told(app.state(1_u8));
    assert!(mistakes.contains("`0 3 * *` is not a schedule") && mistakes.contains("`Berlin` is not a time zone"));
    assert_eq!(mistakes.matches("cron/tests.rs:").count(), 2, "{mistakes}");
    let mistakes = told(App::new(()).cron("0 3 * * *", "UTC", count));
    assert!(mistakes.ends_with("takes no payload, or `Payload<postback::Tick>`"), "{mistakes}");
    let mistakes = told(App::new(()).cron("0 3 * * *", "UTC", render));
    let says = "cron/tests.rs:";
    assert!(
        mistakes.contains(says) && mistakes.contains("route /cron/render: a schedule makes requests without a query")
    );
    assert!(mistakes.contains("missing field `lang`") && mistakes.contains("`#[serde(default)]`"), "{mistakes}");
    assert!(App::new(()).cron("0 3 * * *", "UTC", paged).into_routes().is_ok());
    let mistakes = told(App::new(()).cron("0 3 * * *", "UTC", async || Ok::<_, String>(())));
    assert!(mistakes.contains("needs a name of its own"), "{mistakes}");
    let mistakes = told(App::new(()).route("/a", clean_up).missed(Missed::Skip));
    assert!(mistakes.contains("`missed` must come after `App::cron`"), "{mistakes}");
    let twice = App::new(()).cron("0 3 * * *", "UTC", clean_up).cron("0 4 * * *", "UTC", clean_up);
    assert!(told(twice).contains("this path has a route already"));
}
