//! Lists of requests, page by page.

use std::time::Duration;

use super::world::{ROUTE, World, attach, current, submit};
use crate::list::{Cursor, LOOKED_AT, ListFilter, ListedStatus, Page};
use crate::record::NewRequest;
use crate::{Location, Options, Store};
use postback_wire::report::{Outcome, Reason, Status};

const OWNER: &str = "a";

fn owned(world: &World, id: &str) -> NewRequest {
    NewRequest { owner: OWNER.into(), ..world.request(id) }
}

async fn page(store: &Store, filter: &ListFilter, after: Option<Cursor>, limit: usize) -> Page {
    store.list_own_requests(ROUTE, OWNER, filter, after, limit).await.unwrap()
}

/// The ids of all pages.
async fn all(store: &Store, filter: &ListFilter, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let Page { rows, next } = page(store, filter, after, limit).await;
        assert!(rows.len() <= limit);
        ids.extend(rows.iter().map(|row| row.id.to_string()));
        if next.is_none() {
            return ids;
        }
        after = next;
    }
}

pub(super) async fn a_list_has_the_owners_requests_of_the_route_newest_first(world: World) {
    let store = world.open().await;
    for n in 0..7 {
        submit(&store, owned(&world, &n.to_string())).await;
        submit(&store, NewRequest { owner: "b".into(), ..world.request(&format!("b{n}")) }).await;
        submit(&store, NewRequest { route: "/b".into(), ..owned(&world, &format!("r{n}")) }).await;
    }
    let open = ListFilter::default();
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(all(&store, &open, limit).await, ["6", "5", "4", "3", "2", "1", "0"], "{limit}");
    }
    let first = page(&store, &open, None, 7).await;
    assert_eq!(first.next, None, "the last page says that it is the last");
    assert!(store.list_own_requests("/c", OWNER, &open, None, 10).await.unwrap().rows.is_empty());
    assert!(store.list_own_requests(ROUTE, "", &open, None, 10).await.unwrap().rows.is_empty());
    assert!(page(&store, &open, Some(Cursor(-5)), 10).await.rows.is_empty());
}

pub(super) async fn a_list_is_filtered_by_status_and_time(world: World) {
    let store = world.open().await;
    attach(&store);
    let created = world.now();
    let ends = [
        Outcome::completed(None, world.now()),
        Outcome::failed(Reason::Error, None, world.now()),
        Outcome::cancelled(world.now()),
    ];
    for (n, outcome) in ends.into_iter().enumerate() {
        submit(&store, owned(&world, &format!("over-{n}"))).await;
        let run = store.claim_requests(1).await.unwrap().rows.remove(0);
        world.advance(Duration::from_secs(1));
        current(store.settle_request(run.claim, Outcome { finished: world.now(), ..outcome }, vec![]).await);
    }
    submit(&store, owned(&world, "runs")).await;
    assert_eq!(store.claim_requests(1).await.unwrap().rows.len(), 1);
    submit(&store, owned(&world, "waits")).await;
    let of = |status| ListFilter { statuses: vec![status], ..ListFilter::default() };
    for (status, expected) in ListedStatus::ALL.into_iter().zip(["waits", "runs", "over-0", "over-1", "over-2"]) {
        assert_eq!(all(&store, &of(status), 10).await, [expected], "{status:?}");
        assert_eq!(page(&store, &of(status), None, 1).await.rows[0].status, status);
    }
    let over = &page(&store, &of(ListedStatus::Ended(Status::Completed)), None, 1).await.rows[0];
    let second = Duration::from_secs(1);
    assert_eq!((over.created, over.finished), (created, Some(created.saturating_add(second))));
    let at = |n| created.saturating_add(second * n);
    let between =
        |from, before| ListFilter { created_from: at(from), created_before: at(before), ..ListFilter::default() };
    assert_eq!(all(&store, &between(1, 3), 10).await, ["over-2", "over-1"]);
    assert_eq!(all(&store, &between(3, 4), 10).await, ["waits", "runs"]);
    assert!(all(&store, &between(4, 9), 10).await.is_empty());
    assert!(all(&store, &ListFilter { statuses: vec![], ..ListFilter::default() }, 10).await.is_empty());
    store.purge(at(2), 10).await.unwrap();
    assert_eq!(all(&store, &ListFilter::default(), 10).await, ["waits", "runs", "over-2", "over-1"]);
}

pub(super) async fn a_page_looks_at_a_bounded_number_of_rows(mut world: World) {
    if let Location::Memory { kept, .. } = &mut world.options.place {
        *kept = 100_000;
    }
    world.options = Options { max_queued: 100_000, ..world.options };
    let store = world.open().await;
    let rows = LOOKED_AT + 5;
    submit(&store, owned(&world, "oldest")).await;
    let later = (1..rows).map(|n| store.submit(owned(&world, &n.to_string())));
    futures_util::future::try_join_all(later).await.unwrap();
    world.advance(Duration::from_secs(1));
    let of_the_oldest = ListFilter {
        statuses: vec![ListedStatus::Queued, ListedStatus::Running],
        created_before: world.now(),
        ..ListFilter::default()
    };
    let none = ListFilter { created_from: world.now(), ..ListFilter::default() };
    let first = page(&store, &none, None, 10).await;
    assert!(first.rows.is_empty());
    let last = page(&store, &none, first.next, 10).await;
    assert!(first.next.is_some() && last.rows.is_empty() && last.next.is_none(), "{first:?} {last:?}");
    let ids = all(&store, &of_the_oldest, 1_000).await;
    assert_eq!((ids.len(), ids.last().unwrap().as_str()), (rows, "oldest"));
}
