//! Settling requests.

use std::time::Duration;

use futures_util::future::join_all;

use super::world::{ROUTE, World, attach, current, id, running, stale, submit};
use crate::Cancelled;
use crate::record::{Claim, NewRequest, Registration, RequestState, Settled};
use postback_wire::report::{Ends, Json, Outcome, Reason, Status};
use postback_wire::webhook::{Provenance, Webhook};

pub(super) async fn settle_moves_outcome_and_reports_together(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Running);
    current(store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await);
    let record = store.request(&id("r")).await.unwrap().unwrap();
    assert_eq!(record.state, RequestState::Settled(world.done()));
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
    assert_eq!(store.counts().await.unwrap().running, 0);
}

pub(super) async fn settle_with_stale_epoch_writes_nothing(world: World) {
    let store = world.open().await;
    let first = running(&world, &store, "r").await;
    current(store.retry_request(first.claim.clone(), world.now(), None).await);
    let second = store.claim_requests(1).await.unwrap().rows.remove(0);
    let reports = vec![world.report("r")];
    let settled = store.settle_request(first.claim.clone(), world.done(), reports).await.unwrap();
    assert_eq!(settled, Settled::Stale);
    assert_eq!(store.retry_request(first.claim.clone(), world.now(), None).await.unwrap(), Settled::Stale);
    assert_eq!(store.put_back_request(first.claim.clone()).await.unwrap(), Settled::Stale);
    assert_eq!(store.register(first.claim, Registration::default()).await.unwrap(), Settled::Stale);
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Running);
    assert!(store.deliveries("r").await.unwrap().is_empty());
    current(store.settle_request(second.claim, world.done(), vec![]).await);
}

pub(super) async fn settle_twice_is_refused_second(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    let settle = || store.settle_request(claimed.claim.clone(), world.done(), vec![world.report("r")]);
    let answers = join_all([settle(), settle(), settle()]).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Settled::Current))).count(), 1);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Settled::Stale))).count(), 2);
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
}

pub(super) async fn settle_unknown_id_is_stale_not_error(world: World) {
    let store = world.open().await;
    let claim = Claim { id: id("nobody"), epoch: 1 };
    let settled = store.settle_request(claim, world.done(), vec![world.report("nobody")]).await;
    assert_eq!(settled.unwrap(), Settled::Stale);
    let claim = Claim { id: world.report("x").id, epoch: 1 };
    let settled = store.settle_report(claim, world.attempt(200), crate::record::Next::Delivered).await;
    assert_eq!(settled.unwrap(), Settled::Stale);
    assert!(store.deliveries("nobody").await.unwrap().is_empty());
}

pub(super) async fn mixed_batch_settles_only_current(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    for n in 0..20 {
        submit(&store, world.request(&n.to_string())).await;
    }
    let claimed = store.claim_requests(20).await.unwrap().rows;
    faults.hold();
    let settles = join_all(claimed.iter().enumerate().map(|(n, row)| {
        let claim = if n % 2 == 0 { row.claim.clone() } else { stale(&row.claim) };
        store.settle_request(claim, world.done(), vec![world.report(row.claim.id.as_str())])
    }));
    let (answers, ()) = tokio::join!(settles, async {
        faults.held().await;
        faults.release();
    });
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = if n % 2 == 0 { Settled::Current } else { Settled::Stale };
        assert_eq!(answer.unwrap(), expected, "{n}");
        assert_eq!(store.deliveries(&n.to_string()).await.unwrap().len(), 1 - n % 2);
    }
    assert_eq!(store.counts().await.unwrap().running, 10);
}

pub(super) async fn reader_sees_outcome_iff_report_exists(world: World) {
    let store = world.open().await;
    attach(&store);
    let ids: Vec<String> = (0..200).map(|n| format!("r-{n}")).collect();
    join_all(ids.iter().map(|id| store.submit(world.request(id)))).await;
    let claimed = store.claim_requests(200).await.unwrap().rows;
    let settle = async {
        for row in claimed {
            let reports = vec![world.report(row.claim.id.as_str())];
            current(store.settle_request(row.claim, world.done(), reports).await);
        }
    };
    let read = async {
        for text in &ids {
            loop {
                let settled =
                    || async { store.request(&id(text)).await.unwrap().unwrap().state != RequestState::Running };
                let reported = || async { !store.deliveries(text).await.unwrap().is_empty() };
                // The outcome and the report are written in one commit. So a reader that has seen one of them must also
                // see the other.
                let before = settled().await;
                let report = reported().await;
                assert!(!before || report, "{text}: outcome without report");
                let after = settled().await;
                assert!(!report || after, "{text}: report without outcome");
                if after {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(settle, read);
}

pub(super) async fn zero_and_many_reports_per_outcome(world: World) {
    let store = world.open().await;
    for (id, count) in [("none", 0), ("one", 1), ("many", 70)] {
        let claimed = running(&world, &store, id).await;
        let reports = (0..count).map(|_| world.report(id)).collect();
        current(store.settle_request(claimed.claim, world.done(), reports).await);
        assert_eq!(store.deliveries(id).await.unwrap().len(), count);
    }
    assert_eq!(store.counts().await.unwrap().undelivered, 71);
    assert_eq!(store.claim_reports(100).await.unwrap().rows.len(), 71);
}

pub(super) async fn outcomes_are_read_back_exactly(world: World) {
    let store = world.open().await;
    let finished = world.now().saturating_add(Duration::from_micros(1));
    let mut outcomes = vec![
        Outcome::completed(None, finished),
        Outcome::completed(Some(Json::string("ä\"\0\n")), finished),
        Outcome { status: Status::Cancelled, ..Outcome::failed(Reason::None, None, finished) },
    ];
    for reason in Reason::ALL {
        let error = Some(Json::stored(&b"{\"code\":7}"[..]));
        let failed = Outcome { error, ..Outcome::failed(reason, Some("because\nof that".into()), finished) };
        outcomes.extend([Outcome { tells_reason: true, ..failed.clone() }, failed]);
    }
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let text = n.to_string();
        let claimed = running(&world, &store, &text).await;
        current(store.settle_request(claimed.claim, outcome.clone(), vec![]).await);
        let record = store.request(&id(&text)).await.unwrap().unwrap();
        assert_eq!(record.state, RequestState::Settled(outcome));
    }
}

pub(super) async fn retry_sets_due_and_frees_node(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    let due = world.now().saturating_add(Duration::from_secs(5));
    current(store.retry_request(claimed.claim, due, None).await);
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Queued);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.running, counts.queued.len()), (0, 1));
    assert!(store.claim_requests(1).await.unwrap().rows.is_empty());
    world.advance(Duration::from_secs(5));
    let again = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!((again.claim.epoch, again.failures), (2, 1));
}

pub(super) async fn put_back_counts_nothing(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    current(store.put_back_request(claimed.claim).await);
    let again = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!((again.claim.epoch, again.failures, again.crashes), (2, 0, 0));
}

pub(super) async fn a_registration_stays_with_its_request(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    assert_eq!(claimed.registration, None);
    let webhook = Webhook::new("https://example.com/a?b=c").unwrap().header("authorization", "Bearer x").unwrap();
    let webhook = webhook.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap());
    let webhooks = [Provenance::Operator, Provenance::Caller].map(|by| webhook.clone().chosen_by(Some(by)));
    let registration =
        Registration { webhooks: webhooks.into(), on: Ends::COMPLETED.with(Ends::DROPPED), tells_reason: true };
    current(store.register(claimed.claim.clone(), Registration::default()).await);
    current(store.register(claimed.claim.clone(), registration.clone()).await);
    current(store.put_back_request(claimed.claim).await);
    let again = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!(again.registration.as_deref(), Some(&registration));
}

pub(super) async fn what_is_known_at_its_submission_stays_with_a_request(world: World) {
    let store = world.open().await;
    attach(&store);
    let webhook = |url: &str| Webhook::new(url).unwrap().chosen_by(Some(Provenance::Caller));
    let of = |url: &str| Registration { webhooks: vec![webhook(url)], on: Ends::FAILED, tells_reason: false };
    let known = Some(of("https://example.com/first"));
    for id in ["r", "s"] {
        let registration = known.clone().map(std::sync::Arc::new);
        submit(&store, NewRequest { registration, ..world.request(id) }).await;
    }
    submit(&store, NewRequest { body: "[7]".into(), ..world.request("t") }).await;
    assert_eq!(store.unregistered(&id("r"), ROUTE).await.unwrap(), None);
    let (_, body) = store.unregistered(&id("t"), ROUTE).await.unwrap().unwrap();
    assert_eq!(body, "[7]");
    assert_eq!(store.unregistered(&id("t"), "/elsewhere").await.unwrap(), None);
    let end = |registration, _| {
        assert_eq!(registration, known);
        (Outcome::cancelled(world.now()), vec![])
    };
    assert!(matches!(store.cancel(&id("s"), ROUTE, None, end).await.unwrap(), Cancelled::AtOnce(_)));
    let claimed = store.claim_requests(3).await.unwrap().rows;
    let registrations: Vec<_> = claimed.iter().map(|row| row.registration.as_deref().cloned()).collect();
    assert_eq!(registrations, [known, None]);
    assert_eq!(store.unregistered(&id("t"), ROUTE).await.unwrap(), None, "it runs");
    // The webhooks that a run registers replace the webhooks that were given when the request was submitted.
    let again = of("https://example.com/second");
    let claim = &claimed[0].claim;
    current(store.register(claim.clone(), again.clone()).await);
    current(store.put_back_request(claim.clone()).await);
    assert_eq!(store.claim_requests(1).await.unwrap().rows[0].registration.as_deref(), Some(&again));
}
