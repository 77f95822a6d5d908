//! Reports that are parked or held.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::world::{World, current, delivering, stale};
use crate::Store;
use crate::record::{ClaimedReport, DeliveryState, NewReport, Next, Settled};
use postback_wire::webhook::Target;

const SECOND: Duration = Duration::from_secs(1);
const GONE: Next = Next::Gone { disable: true };

fn report(world: &World, url: &str) -> NewReport {
    NewReport { to: Target::parse(url), ..world.report(url) }
}

async fn park(store: &Store, reports: Vec<NewReport>) {
    park_first(store, reports.len(), reports).await;
}

/// Posts the reports. Then claims and parks those `count` reports of the store that are due first.
async fn park_first(store: &Store, count: usize, reports: Vec<NewReport>) {
    store.post_durably(reports).await.unwrap();
    let rows = store.claim_reports(count).await.unwrap().rows;
    assert_eq!(rows.len(), count);
    join_all(rows.into_iter().map(|row| async { current(store.park_report(row.claim).await) })).await;
}

/// Delivers a report to this URL. The receiver answers 410, so the store disables the URL.
async fn disable(world: &World, store: &Store, url: &str) {
    let row = delivering(store, report(world, url)).await;
    let mut attempt = world.attempt(410);
    attempt.error = Some("answered 410".into());
    current(store.settle_report(row.claim, attempt, GONE).await);
}

async fn hold(world: &World, store: &Store, url: &str) -> ClaimedReport {
    let row = delivering(store, report(world, url)).await;
    current(store.hold_report(row.claim.clone()).await);
    row
}

pub(super) async fn per_origin_claim_is_fair(world: World) {
    let store = world.open().await;
    let (a, b) = ("https://a.example/1", "https://b.example/1");
    let flood: Vec<_> = (0..500).map(|_| report(&world, a)).collect();
    park(&store, flood).await;
    park(&store, vec![report(&world, b)]).await;
    store.post_durably(vec![report(&world, "https://c.example/1")]).await.unwrap();
    // Parked reports must not delay a report to another origin.
    let batch = store.claim_reports(10).await.unwrap();
    assert_eq!(batch.rows.iter().map(|row| row.to.origin()).collect::<Vec<_>>(), ["https://c.example"]);
    assert_eq!(batch.next_due, None);
    assert_eq!(store.parked_origins().await.unwrap(), ["https://a.example", "https://b.example"]);
    let batch = store.claim_parked("https://b.example", 10).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (1, None));
    assert_eq!(store.parked_origins().await.unwrap(), ["https://a.example"]);
    let batch = store.claim_parked("https://a.example", 10).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (10, Some(world.now())));
    assert!(store.claim_parked("https://nobody.example", 10).await.unwrap().rows.is_empty());
    assert_eq!(store.counts().await.unwrap().undelivered, 502);
}

pub(super) async fn what_is_parked_under_a_url_is_claimed_under_it_alone_and_is_of_its_origin_again(world: World) {
    let store = world.open().await;
    let (origin, line) = ("https://a.example", "https://a.example/bad");
    store
        .post_durably(vec![report(&world, "https://a.example/bad?n=1"), report(&world, "https://a.example/good")])
        .await
        .unwrap();
    let mut rows = store.claim_reports(2).await.unwrap().rows;
    let good = rows.remove(1);
    current(store.park_report_under(rows.remove(0).claim, line.into()).await);
    current(store.park_report(good.claim).await);
    assert_eq!(store.parked_origins().await.unwrap(), [origin, line]);
    let good = store.claim_parked(origin, 5).await.unwrap();
    assert_eq!((good.rows.len(), good.rows[0].to.url(), good.next_due), (1, "https://a.example/good", None));
    let bad = store.claim_parked(line, 5).await.unwrap().rows.remove(0);
    assert_eq!((bad.to.url(), bad.attempt), ("https://a.example/bad?n=1", 1));
    // The report was parked under its URL before it was claimed. Here `park_report` parks the same report under its
    // origin.
    current(store.park_report(bad.claim).await);
    assert_eq!(store.parked_origins().await.unwrap(), [origin]);
    let bad = store.claim_parked(origin, 5).await.unwrap().rows.remove(0);
    current(store.settle_report(bad.claim, world.attempt(204), Next::Delivered).await);
}

pub(super) async fn one_held_report_is_given_back_and_its_url_stays_disabled(world: World) {
    let store = world.open().await;
    let url = "https://a.example/in";
    disable(&world, &store, url).await;
    for _ in 0..2 {
        hold(&world, &store, url).await;
    }
    for _ in 0..2 {
        store.release_held(url).await.unwrap();
        let batch = store.claim_reports(5).await.unwrap();
        assert_eq!((batch.rows.len(), store.is_disabled(url)), (1, true));
        current(store.hold_report(batch.rows[0].claim.clone()).await);
    }
    store.release_held("https://b.example/in").await.unwrap();
    assert_eq!(store.disabled().await.unwrap().len(), 1);
    assert_eq!(store.enable(url).await.unwrap(), 2);
}

pub(super) async fn a_report_may_be_put_back_for_a_while_without_an_attempt(world: World) {
    let store = world.open().await;
    let row = delivering(&store, report(&world, "https://a.example/1")).await;
    let later = world.now().saturating_add(5 * SECOND);
    current(store.put_back_report_until(row.claim, later).await);
    let batch = store.claim_reports(5).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(later)));
    world.advance(5 * SECOND);
    let row = store.claim_reports(5).await.unwrap().rows.remove(0);
    assert_eq!(row.attempt, 1, "the attempt was not counted");
}

pub(super) async fn parked_reports_keep_due_order_and_attempt(world: World) {
    let store = world.open().await;
    let url = "https://a.example/";
    let retried = delivering(&store, report(&world, url)).await;
    let later = world.now().saturating_add(SECOND);
    current(store.settle_report(retried.claim, world.attempt(500), Next::RetryAt(later)).await);
    world.advance(SECOND * 2);
    store.post_durably(vec![report(&world, url)]).await.unwrap();
    park_first(&store, 2, vec![report(&world, url)]).await;
    let record = store.deliveries(url).await.unwrap().remove(0);
    assert_eq!((record.state, record.attempts, record.next_due), (DeliveryState::Pending, 1, Some(later)));
    // The test has parked the two reports that were due first, so only one report is left to claim.
    let last = store.claim_reports(5).await.unwrap().rows.remove(0);
    current(store.park_report(last.claim.clone()).await);
    assert_eq!(store.park_report(last.claim.clone()).await.unwrap(), Settled::Stale);

    let rows = store.claim_parked("https://a.example", 5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.attempt).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(rows[2].claim.id, last.claim.id);
    assert!(rows.iter().all(|row| row.claim.epoch >= 2 && row.to.origin() == "https://a.example"));
    assert_eq!(store.park_report(stale(&rows[0].claim)).await.unwrap(), Settled::Stale);
    // A report that was parked and then claimed can be settled, put back or parked, as every claimed report can.
    current(store.settle_report(rows[0].claim.clone(), world.attempt(200), Next::Delivered).await);
    current(store.put_back_report(rows[1].claim.clone()).await);
    current(store.park_report(rows[2].claim.clone()).await);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
    assert_eq!(store.claim_parked("https://a.example", 5).await.unwrap().rows.len(), 1);
}

pub(super) async fn the_next_parked_report_says_when_it_is_due(world: World) {
    let store = world.open().await;
    for _ in 0..2 {
        park(&store, vec![report(&world, "https://a.example/")]).await;
        world.advance(SECOND);
    }
    let row = store.claim_parked("https://a.example", 1).await.unwrap().rows.remove(0);
    let later = world.now().saturating_add(SECOND);
    current(store.settle_report(row.claim, world.attempt(500), Next::RetryAt(later)).await);
    world.advance(SECOND);
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.park_report(row.claim).await);
    // Two reports are parked. The claim returns the report that became due first. `next_due` is the time at which the
    // second report became due.
    let batch = store.claim_parked("https://a.example", 1).await.unwrap();
    assert_eq!((batch.rows[0].attempt, batch.next_due), (1, Some(later)));
}

pub(super) async fn parking_takes_one_commit_and_prevents_no_pre_claim(world: World) {
    let (store, faults) = world.open_faulty().await;
    store.post_durably((0..50).map(|_| report(&world, "https://a.example/")).collect()).await.unwrap();
    let rows = store.claim_reports(50).await.unwrap().rows;
    faults.hold();
    store.post(vec![]).unwrap();
    faults.held().await;
    let parks = join_all(rows.into_iter().map(|row| store.park_report(row.claim)));
    let (settled, ()) = tokio::join!(parks, async { faults.release() });
    settled.into_iter().for_each(current);
    assert_eq!(faults.sizes()[2..], [1, 50]);
    // No report waits in the queue, because parked reports are not in the queue. So the store can pre-claim the next
    // report.
    let mut held = store.attach_reports(Arc::new(Semaphore::new(1)));
    store.post_durably(vec![report(&world, "https://b.example/")]).await.unwrap();
    assert_eq!(held.recv().await.unwrap().row.to.origin(), "https://b.example");
}

pub(super) async fn what_is_over_is_final(world: World) {
    let store = world.open().await;
    for next in [Next::Delivered, Next::Dead, Next::Refused, Next::Gone { disable: false }, GONE] {
        let claim = delivering(&store, world.report("x")).await.claim;
        current(store.settle_report(claim.clone(), world.attempt(200), next).await);
        let again = [
            store.settle_report(claim.clone(), world.attempt(200), Next::RetryAt(world.now())).await,
            store.put_back_report(claim.clone()).await,
            store.park_report(claim.clone()).await,
            store.hold_report(claim).await,
        ];
        assert!(again.into_iter().all(|settled| settled.unwrap() == Settled::Stale), "{next:?}");
    }
    assert_eq!(store.recover(1).await.unwrap().reports, 0);
    world.advance(SECOND);
    let batch = store.claim_reports(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, None));
}

pub(super) async fn gone_is_final(world: World) {
    let store = world.open().await;
    let row = delivering(&store, world.report("x")).await;
    current(store.settle_report(row.claim.clone(), world.attempt(410), Next::Gone { disable: false }).await);
    let record = store.deliveries("x").await.unwrap().remove(0);
    assert_eq!((record.state, record.next_due), (DeliveryState::Gone, None));
    assert!(!store.is_disabled(row.to.url()));
    assert!(store.disabled().await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().undelivered, 0);
    world.advance(SECOND);
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 1);
}

pub(super) async fn a_delivery_may_be_the_last(world: World) {
    let store = world.open().await;
    let url = "https://a.example/1";
    let row = delivering(&store, report(&world, url)).await;
    current(store.settle_report(row.claim, world.attempt(204), Next::DeliveredLast).await);
    assert_eq!(store.deliveries(url).await.unwrap()[0].state, DeliveryState::Delivered);
    assert!(store.is_disabled(url));
    assert_eq!(store.counters().delivered, 1);
    assert_eq!(store.enable(url).await.unwrap(), 0);
    assert!(!store.is_disabled(url));
}

pub(super) async fn disabled_origin_holds_then_resumes(world: World) {
    let store = world.open().await;
    let (bad, good) = ("https://shared.example/bad", "https://shared.example/good");
    disable(&world, &store, bad).await;
    assert!(store.is_disabled(bad));
    assert!(!store.is_disabled(good), "another path of the host");
    let [disabled] = &store.disabled().await.unwrap()[..] else { panic!("one URL") };
    assert_eq!((&*disabled.url, &*disabled.reason, disabled.since), (bad, "answered 410", world.now()));

    let held = hold(&world, &store, bad).await;
    world.advance(SECOND);
    let batch = store.claim_reports(5).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, None));
    assert!(store.claim_parked("https://shared.example", 5).await.unwrap().rows.is_empty());
    let record = store.deliveries(bad).await.unwrap().remove(1);
    assert_eq!((record.state, record.attempts, record.next_due), (DeliveryState::Pending, 0, None));
    assert_eq!(store.counts().await.unwrap().undelivered, 1);
    assert_eq!(store.hold_report(held.claim).await.unwrap(), Settled::Stale);

    store.reports_due().now_or_never();
    assert_eq!(store.enable(bad).await.unwrap(), 1);
    store.reports_due().await;
    assert!(!store.is_disabled(bad));
    assert!(store.disabled().await.unwrap().is_empty());
    let row = store.claim_reports(5).await.unwrap().rows.remove(0);
    assert_eq!((row.attempt, row.claim.epoch, row.to.url()), (1, 2, bad));
    assert_eq!(store.enable_for_receiver(bad).await.unwrap(), Some(0));
}

pub(super) async fn what_is_not_disabled_is_not_held(world: World) {
    let store = world.open().await;
    let url = "https://a.example/";
    let row = delivering(&store, report(&world, url)).await;
    // The URL is not disabled, as if an operator had enabled it just before `hold_report`. So `hold_report` must make
    // the report due again and send a new signal. The test removes the old signal here.
    store.reports_due().now_or_never();
    current(store.hold_report(row.claim).await);
    store.reports_due().await;
    assert_eq!(store.claim_reports(1).await.unwrap().rows[0].attempt, 1);
}

pub(super) async fn a_url_is_disabled_once_however_many_say_so(world: World) {
    let (store, faults) = world.open_faulty().await;
    let url = "https://a.example/";
    store.post_durably((0..9).map(|_| report(&world, url)).collect()).await.unwrap();
    let rows = store.claim_reports(9).await.unwrap().rows;
    faults.hold();
    let settles = join_all(rows.into_iter().enumerate().map(|(n, row)| {
        let next = if n % 3 == 0 { Next::Delivered } else { GONE };
        store.settle_report(row.claim, world.attempt(410), next)
    }));
    let (settled, ()) = tokio::join!(settles, async {
        faults.held().await;
        faults.release();
    });
    settled.into_iter().for_each(current);
    assert_eq!(store.disabled().await.unwrap().len(), 1);
    assert_eq!(store.counters().given_up, 6);
}

pub(super) async fn held_reports_are_given_up_after_the_retention(world: World) {
    let store = world.open().await;
    let url = "https://a.example/";
    disable(&world, &store, url).await;
    for _ in 0..3 {
        hold(&world, &store, url).await;
    }
    world.advance(SECOND);
    let before = world.now();
    hold(&world, &store, url).await;
    // `purge` deletes the report that disabled the URL, and gives up 2 of the 3 old held reports, because its limit is
    // 2.
    assert_eq!(store.purge(before, 2).await.unwrap(), 3);
    assert_eq!(store.purge(before, 2).await.unwrap(), 1);
    assert_eq!(store.purge(before, 2).await.unwrap(), 0);
    let records = store.deliveries(url).await.unwrap();
    let states: Vec<_> = records.iter().map(|record| record.state).collect();
    assert_eq!(states, [DeliveryState::Gone, DeliveryState::Gone, DeliveryState::Gone, DeliveryState::Pending]);
    assert!(records[0].refused.as_ref().unwrap().contains("disabled"));
    assert_eq!(store.enable(url).await.unwrap(), 1);
    assert_eq!(store.claim_reports(10).await.unwrap().rows.len(), 1);
}

pub(super) async fn parked_reports_end_by_age(world: World) {
    const DAY: Duration = Duration::from_hours(24);
    let store = world.open().await;
    for subject in ["old", "other", "young"] {
        world.advance(if subject == "young" { DAY } else { Duration::ZERO });
        let row = delivering(&store, world.report(subject)).await;
        current(store.park_report(row.claim).await);
    }
    let posted = store.barrier().await.unwrap();
    // The store measures the age of a report with the monotonic clock. So a jump of the wall clock does not make a
    // report older.
    world.jump(400 * 86_400);
    assert_eq!(store.give_up_parked(DAY, 10).await.unwrap(), 0);
    world.advance(DAY / 2);
    assert_eq!(store.give_up_parked(DAY, 1).await.unwrap(), 1);
    assert_eq!(store.give_up_parked(DAY, 10).await.unwrap(), 1);
    assert_eq!(store.give_up_parked(DAY, 10).await.unwrap(), 0);
    for subject in ["old", "other"] {
        let ended = store.deliveries(subject).await.unwrap().remove(0);
        assert_eq!((ended.state, ended.attempts), (DeliveryState::Dead, 0));
        assert!(ended.refused.unwrap().contains("origin"));
    }
    assert_eq!(store.counters().given_up, 2);
    let parked = store.parked_origins().await.unwrap();
    assert_eq!(parked.len(), 1);
    let rows = store.claim_parked(&parked[0], 10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| &*row.subject).collect::<Vec<_>>(), ["young"]);
    current(store.settle_report(rows[0].claim.clone(), world.attempt(200), Next::Delivered).await);
    // `attempted` returns at once, because it does not wait for reports that ended without an attempt.
    store.attempted(posted).await;
}

pub(super) async fn nobody_waits_for_the_first_attempt_of_a_held_report(world: World) {
    let store = world.open().await;
    let url = "https://a.example/";
    disable(&world, &store, url).await;
    hold(&world, &store, url).await;
    let posted = store.barrier().await.unwrap();
    store.attempted(posted).await;
}

/// Tests that close a store and open it again.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) mod reopened {
    use super::*;

    pub(crate) async fn parked_and_held_reports_survive_a_restart(world: World) {
        let store = world.open().await;
        park(&store, vec![report(&world, "https://a.example/"), report(&world, "https://b.example/")]).await;
        disable(&world, &store, "https://c.example/").await;
        hold(&world, &store, "https://c.example/").await;
        let lost = delivering(&store, report(&world, "https://a.example/")).await;
        store.close().await;

        let store = world.open().await;
        assert_eq!(store.recover(3).await.unwrap().reports, 1);
        assert_eq!(store.parked_origins().await.unwrap(), ["https://a.example", "https://b.example"]);
        assert!(store.is_disabled("https://c.example/"));
        // `claim_reports` returns only the report that was claimed when the store was closed. Its interrupted attempt
        // counts as attempt 1, so the next attempt is attempt 2.
        let rows = store.claim_reports(5).await.unwrap().rows;
        assert_eq!(rows.iter().map(|row| (row.claim.id, row.attempt)).collect::<Vec<_>>(), [(lost.claim.id, 2)]);
        assert_eq!(store.claim_parked("https://a.example", 5).await.unwrap().rows.len(), 1);
        assert_eq!(store.enable("https://c.example/").await.unwrap(), 1);
        assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
    }
}
