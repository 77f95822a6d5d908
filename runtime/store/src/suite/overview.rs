//! Lists of requests and deliveries, the records of single rows, names that an operator disables, and the change feed.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::world::{ROUTE, World, attach, current, delivering, id, running, submit};
use crate::overview::{DeliveryFilter, DeliveryStatus, RequestFilter, RequestStatus, Waits};
use crate::record::{DeliveryState, NewReport, NewRequest, Next, Registration, Submitted};
use crate::{Change, DisabledNow, Extras, Heard, Store, Terms};
use postback_wire::report::Reason;
use postback_wire::webhook::{Target, Webhook};

const SECOND: Duration = Duration::from_secs(1);

/// The ids of all requests that the filter selects, read in pages of two.
async fn listed(store: &Store, filter: &RequestFilter) -> Vec<String> {
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let page = store.list_requests(filter, before, 2).await.unwrap();
        assert!(page.rows.len() <= 2);
        ids.extend(page.rows.iter().map(|line| line.id.to_string()));
        before = page.next;
        if before.is_none() {
            return ids;
        }
    }
}

pub(super) async fn requests_are_listed_in_pages_and_by_filter(world: World) {
    let store = world.open().await;
    let begin = world.now();
    for n in 1..=3 {
        world.advance(SECOND);
        submit(&store, world.request(&format!("r{n}"))).await;
    }
    let row = running(&world, &store, "r4").await;
    assert_eq!(row.claim.id.as_str(), "r1", "the oldest one is claimed");
    world.advance(SECOND);
    submit(&store, NewRequest { route: "/b".into(), owner: "me".into(), ..world.request("r5") }).await;
    current(store.settle_request(row.claim, world.done(), Vec::new()).await);
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!(row.claim.id.as_str(), "r2");

    let all = RequestFilter::default();
    assert_eq!(listed(&store, &all).await, ["r5", "r4", "r3", "r2", "r1"]);
    assert_eq!(listed(&store, &RequestFilter { route: Some("/b".into()), ..all.clone() }).await, ["r5"]);
    for (status, expected) in [
        (RequestStatus::Queued, &["r5", "r4", "r3"][..]),
        (RequestStatus::Running, &["r2"]),
        (RequestStatus::Completed, &["r1"]),
        (RequestStatus::Failed, &[]),
        (RequestStatus::Cancelled, &[]),
    ] {
        assert_eq!(listed(&store, &RequestFilter { status: Some(status), ..all.clone() }).await, expected);
    }
    let mine = |route: Option<&str>, status| RequestFilter {
        owner: Some("me".into()),
        route: route.map(Into::into),
        status,
        ..all.clone()
    };
    assert_eq!(listed(&store, &mine(None, None)).await, ["r5"]);
    assert_eq!(listed(&store, &mine(Some("/b"), None)).await, ["r5"]);
    assert_eq!(listed(&store, &mine(Some("/b"), Some(RequestStatus::Queued))).await, ["r5"]);
    assert!(listed(&store, &mine(Some("/b"), Some(RequestStatus::Failed))).await.is_empty());
    assert!(listed(&store, &mine(Some(ROUTE), None)).await.is_empty());
    assert!(listed(&store, &mine(None, Some(RequestStatus::Running))).await.is_empty());
    let nobodys = RequestFilter { owner: Some(String::new()), ..all.clone() };
    assert_eq!(listed(&store, &nobodys).await, ["r4", "r3", "r2", "r1"]);
    let running = RequestFilter { status: Some(RequestStatus::Running), route: Some("/b".into()), ..all.clone() };
    assert!(listed(&store, &running).await.is_empty());
    let times = |since: Option<u32>, until: Option<u32>| RequestFilter {
        since: since.map(|n| begin.saturating_add(SECOND * n)),
        until: until.map(|n| begin.saturating_add(SECOND * n)),
        ..all.clone()
    };
    assert_eq!(listed(&store, &times(Some(2), None)).await, ["r5", "r4", "r3", "r2"]);
    assert_eq!(listed(&store, &times(None, Some(2))).await, ["r1"]);
    assert_eq!(listed(&store, &times(Some(2), Some(4))).await, ["r4", "r3", "r2"]);
    assert!(listed(&store, &times(Some(9), None)).await.is_empty());
    assert!(listed(&store, &times(None, Some(0))).await.is_empty());

    let ids = async |prefix, after| -> Vec<String> {
        let lines = store.requests_by_id(prefix, after, 2).await.unwrap();
        lines.iter().map(|line| line.id.to_string()).collect()
    };
    assert_eq!(ids("r", "").await, ["r1", "r2"]);
    assert_eq!(ids("r", "r4").await, ["r5"]);
    assert_eq!(ids("r3", "").await, ["r3"]);
    assert!(ids("x", "").await.is_empty());
}

pub(super) async fn what_waits_is_told_with_its_age(world: World) {
    let store = world.open().await;
    assert_eq!(store.waits().await.unwrap(), Waits::default());
    // Each time, `claim_requests` and `claim_reports` claim the row that was due first.
    for n in 1..=2 {
        submit(&store, world.request(&format!("r{n}"))).await;
        let b = NewRequest {
            route: "/b".into(),
            owner: format!("o{n}").as_str().into(),
            ..world.request(&format!("b{n}"))
        };
        submit(&store, b).await;
        world.advance(SECOND);
    }
    let later = Terms { run_at: Some(world.now().saturating_add(SECOND)), ..Terms::default() };
    submit(&store, NewRequest { route: "/later".into(), terms: later, ..world.request("l1") }).await;
    let url = "https://a.example/in";
    let report = || NewReport { to: Target::parse(url), ..world.report(url) };
    store.post_durably(vec![report(), report(), report()]).await.unwrap();
    let mut rows = store.claim_reports(2).await.unwrap().rows;
    current(store.park_report(rows.remove(0).claim).await);
    current(store.settle_report(rows.remove(0).claim, world.attempt(410), Next::Gone { disable: true }).await);
    let row = delivering(&store, report()).await;
    current(store.hold_report(row.claim).await);
    world.advance(SECOND);
    let waits = store.waits().await.unwrap();
    let ages: Vec<_> = waits.requests.iter().map(|(route, age)| (route.as_str(), age.as_secs())).collect();
    assert_eq!(ages, [(ROUTE, 3), ("/b", 3), ("/later", 0)], "{waits:?}");
    assert_eq!((waits.delivery, waits.parked, waits.held), (Some(SECOND), 1, 1));
    assert_eq!(store.disabled_counts(), (1, 0));
}

pub(super) async fn a_request_is_shown_with_all_that_is_stored(world: World) {
    let store = world.open().await;
    assert!(store.request_detail(&id("r")).await.unwrap().is_none());
    assert!(store.original(&id("r")).await.unwrap().is_none());
    attach(&store);
    let webhooks = vec![Webhook::new("https://a.example/in").unwrap()];
    let registration = Some(Registration { webhooks, ..Registration::default() });
    let mut request = NewRequest {
        body: vec![b'x'; 70_000].into(),
        registration: registration.map(std::sync::Arc::new),
        ..world.request("r")
    };
    request.headers.insert("x-kept", "yes".parse().unwrap());
    request.terms.deadline = Some(world.now().saturating_add(SECOND));
    request.extras = Extras { metadata: Some("{\"n\":1}".into()), ..Extras::default() }.shared();
    submit(&store, request).await;
    let detail = store.request_detail(&id("r")).await.unwrap().unwrap();
    let payload = detail.payload.unwrap();
    assert_eq!((payload.len, payload.start.len(), payload.is_whole()), (70_000, crate::overview::EXCERPT, false));
    assert_eq!((&detail.headers["x-kept"], detail.line.status), (&"yes".parse().unwrap(), RequestStatus::Queued));
    assert_eq!(detail.terms.deadline, Some(world.now().saturating_add(SECOND)));
    assert_eq!(detail.extras.unwrap().metadata.as_deref(), Some("{\"n\":1}"));
    assert_eq!(detail.registration.unwrap().webhooks[0].url().as_str(), "https://a.example/in");
    assert_eq!((detail.line.due, detail.line.finished), (Some(world.now()), None));
    assert_eq!(format!("{:?}", store.original(&id("r")).await.unwrap().unwrap().body.unwrap().len()), "70000");

    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    let outcome = postback_wire::report::Outcome::failed(Reason::Timeout, Some("too slow".into()), world.now());
    current(store.settle_request(row.claim, outcome, Vec::new()).await);
    let detail = store.request_detail(&id("r")).await.unwrap().unwrap();
    assert_eq!((detail.line.status, detail.line.reason), (RequestStatus::Failed, Some(Reason::Timeout)));
    assert_eq!((detail.detail.as_deref(), detail.line.finished), (Some("too slow"), Some(world.now())));
    assert!(detail.result.is_none() && detail.error.is_none());
    let original = store.original(&id("r")).await.unwrap().unwrap();
    assert_eq!(original.body.map(|body| body.len()), store.is_durable().then_some(70_000));
    assert_eq!((&*original.route, original.status), (ROUTE, RequestStatus::Failed));
}

fn to(world: &World, url: &str, subject: &str) -> NewReport {
    NewReport { to: Target::parse(url), ..world.report(subject) }
}

pub(super) async fn deliveries_are_listed_in_pages_and_by_filter(world: World) {
    let store = world.open().await;
    let dead = delivering(&store, to(&world, "https://a.example/in?token=1", "s1")).await;
    let (failed, dead_id) = (world.attempt(500), dead.claim.id);
    current(store.settle_report(dead.claim.clone(), failed.clone(), Next::RetryAt(world.now())).await);
    let again = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.settle_report(again.claim, failed, Next::Dead).await);
    let parked = delivering(&store, to(&world, "https://b.example/in", "s1")).await;
    current(store.park_report(parked.claim.clone()).await);
    world.advance(SECOND);
    store.post_durably(vec![to(&world, "https://c.example/in", "s2")]).await.unwrap();

    let list = async |filter: DeliveryFilter| -> Vec<String> {
        let (mut urls, mut before) = (Vec::new(), None);
        loop {
            let page = store.list_deliveries(&filter, before, 1).await.unwrap();
            urls.extend(page.rows.iter().map(|line| line.record.url[8..9].to_owned()));
            before = page.next;
            if before.is_none() {
                return urls;
            }
        }
    };
    let all = DeliveryFilter::default();
    assert_eq!(list(all.clone()).await, ["c", "b", "a"]);
    let of = |status| DeliveryFilter { status: Some(status), ..all.clone() };
    assert_eq!(list(of(DeliveryStatus::Pending)).await, ["c", "b"]);
    assert_eq!(list(of(DeliveryStatus::Parked)).await, ["b"]);
    assert_eq!(list(of(DeliveryStatus::Dead)).await, ["a"]);
    for none in [
        DeliveryStatus::Held,
        DeliveryStatus::Delivering,
        DeliveryStatus::Delivered,
        DeliveryStatus::Refused,
        DeliveryStatus::Gone,
    ] {
        assert!(list(of(none)).await.is_empty(), "{none:?}");
    }
    assert_eq!(list(DeliveryFilter { subject: Some("s1".into()), ..all.clone() }).await, ["b", "a"]);
    let both = DeliveryFilter { subject: Some("s1".into()), ..of(DeliveryStatus::Dead) };
    assert_eq!(list(both).await, ["a"]);
    assert_eq!(list(DeliveryFilter { url: Some("https://a.example/in".into()), ..all.clone() }).await, ["a"]);
    assert_eq!(list(DeliveryFilter { since: Some(world.now()), ..all.clone() }).await, ["c"]);
    assert_eq!(list(DeliveryFilter { until: Some(world.now()), ..all.clone() }).await, ["b", "a"]);

    let detail = store.delivery_detail(dead_id).await.unwrap().unwrap();
    assert_eq!((detail.line.status, &*detail.line.subject), (DeliveryStatus::Dead, "s1"));
    // The memory backend keeps only the last attempt.
    let attempts: Vec<u32> = detail.attempts.iter().map(|(n, _)| *n).collect();
    assert_eq!(attempts, if store.is_durable() { vec![1, 2] } else { vec![2] });
    assert_eq!(detail.body.is_some(), store.is_durable());
    assert!(store.delivery_detail(postback_wire::id::ReportId::generate()).await.unwrap().is_none());
    assert_eq!(store.parked_counts("", 10).await.unwrap(), [("https://b.example".to_owned(), 1)]);
    assert!(store.parked_counts("https://b.example", 10).await.unwrap().is_empty());
}

pub(super) async fn what_an_operator_disables_is_held_until_it_is_enabled(world: World) {
    let store = world.open().await;
    let (url, other, origin) = ("https://a.example/in", "https://a.example/other", "https://a.example");
    assert_eq!(store.disable(origin, "maintenance").await.unwrap(), DisabledNow::Done);
    assert_eq!(store.disable(origin, "again").await.unwrap(), DisabledNow::Already);
    assert!(store.is_disabled(url) && store.is_disabled_by_operator(other));
    assert!(!store.is_disabled("https://b.example/in"));
    let [disabled] = &store.disabled().await.unwrap()[..] else { panic!("one origin") };
    assert_eq!((&*disabled.url, &*disabled.reason, disabled.by_operator), (origin, "again", true));
    for target in [url, other] {
        let row = delivering(&store, to(&world, target, target)).await;
        current(store.hold_report(row.claim).await);
    }
    assert_eq!(store.held_count(origin).await.unwrap(), 2);
    assert!(store.claim_reports(10).await.unwrap().rows.is_empty());
    // The reports are given up after the retention, as those of a URL that its receiver has disabled.
    world.advance(SECOND);
    if store.is_durable() {
        store.close().await;
    }
    let store = if store.is_durable() { world.open().await } else { store };
    assert!(store.is_disabled_by_operator(url));
    assert_eq!(store.enable(origin).await.unwrap(), 2);
    assert!(!store.is_disabled(url) && store.disabled().await.unwrap().is_empty());
    assert_eq!(store.claim_reports(10).await.unwrap().rows.len(), 2);

    // An operator may take over a URL that its receiver has disabled.
    let row = delivering(&store, to(&world, url, "gone")).await;
    current(store.settle_report(row.claim, world.attempt(410), Next::Gone { disable: true }).await);
    assert!(store.is_disabled(url) && !store.is_disabled_by_operator(url));
    assert_eq!(store.disable(url, "for good").await.unwrap(), DisabledNow::Done);
    assert!(store.is_disabled_by_operator(url) && !store.is_disabled_by_operator(other));
    // A receiver whose probe was on its way does not undo that.
    assert_eq!(store.enable_for_receiver(url).await.unwrap(), None);
    assert!(store.is_disabled_by_operator(url));
    assert_eq!(store.deliveries("gone").await.unwrap()[0].state, DeliveryState::Gone);
}

pub(super) async fn the_feed_tells_each_change_and_what_was_missed(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, world.request("before")).await;
    let mut feed = store.feed();
    submit(&store, world.request("r")).await;
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    let report = world.report("before");
    let report_id = report.id;
    current(store.settle_request(row.claim, world.done(), vec![report]).await);
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.settle_report(row.claim, world.attempt(204), Next::Delivered).await);
    let mut heard = Vec::new();
    while let Some(Some(Heard::Change(change))) = feed.next().now_or_never() {
        heard.push(change);
    }
    let request = |name, route: Option<&str>, status| Change::Request {
        id: id(name),
        route: route.map(Into::into),
        status,
        cancelling: false,
    };
    let delivery =
        |subject: Option<&str>, status| Change::Delivery { id: report_id, subject: subject.map(Into::into), status };
    let expected = [
        request("r", Some(ROUTE), RequestStatus::Queued),
        request("before", None, RequestStatus::Running),
        request("before", None, RequestStatus::Completed),
        delivery(Some("before"), DeliveryStatus::Pending),
        delivery(None, DeliveryStatus::Delivering),
        delivery(None, DeliveryStatus::Delivered),
    ];
    assert_eq!(heard, expected);

    // What is put back, and what becomes due because its URL is enabled.
    let url = "https://a.example/in";
    let row = delivering(&store, to(&world, url, "put back")).await;
    let put_back = row.claim.id;
    current(store.put_back_report(row.claim).await);
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    store.disable(url, "for a while").await.unwrap();
    current(store.hold_report(row.claim).await);
    store.enable(url).await.unwrap();
    let mut heard = Vec::new();
    while let Some(Some(Heard::Change(change))) = feed.next().now_or_never() {
        heard.push(change);
    }
    let of = |status| Change::Delivery { id: put_back, subject: None, status };
    let expected = [
        of(DeliveryStatus::Delivering),
        of(DeliveryStatus::Pending),
        of(DeliveryStatus::Delivering),
        of(DeliveryStatus::Held),
        Change::Many,
    ];
    assert!(heard.ends_with(&expected), "{heard:?}");

    let flood = (0..5_000).map(|n| store.submit(world.request(&format!("f{n}"))));
    join_all(flood).await.into_iter().for_each(|submitted| assert_eq!(submitted.unwrap(), Submitted::New));
    assert_eq!(feed.next().await, Some(Heard::Lagged(5_000 - 4_096)));
    assert!(matches!(feed.next().await, Some(Heard::Change(_))));
}

/// A filter that selects nothing reads a bounded number of rows for each page, and gets to the end by pages.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) async fn a_page_reads_a_bounded_number_of_rows(world: World) {
    let store = world.open().await;
    let rows = 25_000;
    let all = (0..rows).map(|n| store.submit(world.request(&format!("r{n}"))));
    join_all(all).await.into_iter().for_each(|submitted| assert_eq!(submitted.unwrap(), Submitted::New));
    let none = RequestFilter { route: Some("/none".into()), ..RequestFilter::default() };
    let (mut pages, mut before) = (0, None);
    loop {
        let page = store.list_requests(&none, before, 10).await.unwrap();
        assert!(page.rows.is_empty());
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, rows / crate::overview::MOST_SCANNED + 1);
    let first = RequestFilter { until: Some(world.now()), ..none };
    assert_eq!(store.list_requests(&first, None, 10).await.unwrap().next, None, "no row is that old");
}
