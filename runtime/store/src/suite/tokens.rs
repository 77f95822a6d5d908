//! The tokens of callers, and the audit.

use std::time::Duration;

use super::world::World;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::{NewAudit, NewToken, Store, TokenAdded, TokenRevoked};
use postback_wire::time::Timestamp;

fn token(world: &World, id: &str, name: &str) -> NewToken {
    let expires = Some(world.now().saturating_add(Duration::from_mins(1)));
    let (id, name, terms) = (id.to_owned(), name.to_owned(), format!("{{\"of\":\"{id}\"}}"));
    NewToken { id, name, hash: [7; 32], terms, created: world.now(), expires }
}

fn entry(what: &str) -> NewAudit {
    NewAudit::new("tester", what, "subject", "detail")
}

async fn add(store: &Store, token: NewToken) -> TokenAdded {
    store.add_token(token, entry("token.new")).await.unwrap()
}

async fn audited(store: &Store) -> Vec<String> {
    let entries = store.audited(None, 100).await.unwrap();
    entries.into_iter().map(|record| record.entry.what).collect()
}

pub(super) async fn a_token_is_kept_with_what_was_said_about_it(world: World) {
    let store = world.open().await;
    assert!(store.tokens().await.unwrap().is_empty());
    let (one, other) = (token(&world, "a", "ci"), token(&world, "b", "nightly"));
    assert_eq!(add(&store, one.clone()).await, TokenAdded::Added);
    let without_end = NewToken { expires: None, ..other.clone() };
    assert_eq!(add(&store, without_end.clone()).await, TokenAdded::Added);
    assert_eq!(store.tokens().await.unwrap(), [one.record(), without_end.record()]);
    for taken in [token(&world, "a", "new"), token(&world, "c", "ci")] {
        assert_eq!(add(&store, taken).await, TokenAdded::NameTaken);
    }
    assert_eq!(store.tokens().await.unwrap().len(), 2);
    assert_eq!(audited(&store).await, ["token.new", "token.new"], "what was refused is not audited");
}

pub(super) async fn a_revoked_token_stays_and_its_name_is_free(world: World) {
    let store = world.open().await;
    assert_eq!(add(&store, token(&world, "a", "ci")).await, TokenAdded::Added);
    let revoke = async || store.revoke_token("a", entry("token.revoke")).await.unwrap();
    world.advance(Duration::from_secs(1));
    let at = world.now();
    assert_eq!(revoke().await, TokenRevoked::At(at));
    world.advance(Duration::from_secs(1));
    assert_eq!(revoke().await, TokenRevoked::At(at), "the first revocation counts");
    assert_eq!(store.revoke_token("x", entry("token.revoke")).await.unwrap(), TokenRevoked::Unknown);
    assert_eq!(add(&store, token(&world, "b", "ci")).await, TokenAdded::Added);
    let revoked: Vec<_> = store.tokens().await.unwrap().into_iter().map(|token| (token.id, token.revoked)).collect();
    assert_eq!(revoked, [("a".to_owned(), Some(at)), ("b".to_owned(), None)]);
    assert_eq!(audited(&store).await, ["token.new", "token.revoke", "token.new"]);
}

pub(super) async fn the_last_use_only_goes_forward(world: World) {
    let store = world.open().await;
    let time = Timestamp::from_micros;
    store.use_tokens(vec![("a".into(), time(5)), ("b".into(), time(6))]).await.unwrap();
    store.use_tokens(vec![("a".into(), time(4)), ("b".into(), time(9)), ("c".into(), time(1))]).await.unwrap();
    let mut uses: Vec<_> = store.token_uses().await.unwrap().into_iter().collect();
    uses.sort();
    assert_eq!(uses, [("a".to_owned(), time(5)), ("b".to_owned(), time(9)), ("c".to_owned(), time(1))]);
}

pub(super) async fn the_last_tick_of_a_schedule_only_goes_forward(world: World) {
    let store = world.open().await;
    let time = Timestamp::from_micros;
    let ticks = |ticks: &[(&str, i64)]| ticks.iter().map(|(name, at)| ((*name).into(), time(*at))).collect();
    store.record_ticks(ticks(&[("/a", 5), ("/b", 6)])).await.unwrap();
    store.record_ticks(ticks(&[("/a", 4), ("/b", 9), ("/c", 1)])).await.unwrap();
    let mut stored: Vec<_> = store.ticks().await.unwrap().into_iter().collect();
    stored.sort();
    assert_eq!(stored, [("/a".to_owned(), time(5)), ("/b".to_owned(), time(9)), ("/c".to_owned(), time(1))]);
}

pub(super) async fn the_audit_is_read_backwards_in_pages(world: World) {
    let store = world.open().await;
    for n in 0..5 {
        store.audit(entry(&n.to_string())).await.unwrap();
    }
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = store.audited(before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        read.extend(page.into_iter().map(|record| (record.at, record.entry)));
    }
    let expected: Vec<_> = (0..5).rev().map(|n| (world.now(), entry(&n.to_string()))).collect();
    assert_eq!(read, expected);
    let long = NewAudit::new("ü".repeat(5_000).as_str(), "a", "b", "c");
    store.audit(long).await.unwrap();
    assert_eq!(store.audited(None, 1).await.unwrap()[0].entry.who, "ü".repeat(1_024));
}

pub(super) async fn old_entries_of_the_audit_are_purged(world: World) {
    let store = world.open().await;
    store.audit(entry("old")).await.unwrap();
    world.advance(Duration::from_secs(10));
    store.audit(entry("new")).await.unwrap();
    world.advance(LONGER_THAN_REQUESTS.saturating_sub(Duration::from_secs(5)));
    store.purge(world.now(), 10).await.unwrap();
    assert_eq!(audited(&store).await, ["new"]);
}
