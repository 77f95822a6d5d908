//! What the store does with the tables of other versions in PostgreSQL.

use super::pg_outages::{number, run, shell};
use super::world::{World, id, submit};
use crate::record::{NewRequest, Submitted};
use crate::{IdempotencyKey, OpenError};

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn newer_schema_refused_and_untouched() {
    let world = World::postgres();
    world.open().await.close().await;
    let mut conn = shell(world.database()).await;
    run(&mut conn, "UPDATE meta SET value = '1000' WHERE key = 'postback schema'").await;
    let nodes = number(&mut conn, "SELECT count(*) FROM node").await;
    match world.try_open().await {
        Err(error @ OpenError::DatabaseNewer { found: 1_000, .. }) => {
            assert!(error.to_string().contains("newer program"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(number(&mut conn, "SELECT count(*) FROM node").await, nodes);
}

/// A program that knows one more version of the schema starts while a node of the version before works.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_newer_program_does_not_start_beside_older_nodes() {
    let world = World::postgres();
    let older = world.open().await;
    let mut conn = shell(world.database()).await;
    let version = "SELECT value::bigint FROM meta WHERE key = 'postback schema'";
    let known = number(&mut conn, version).await;
    let set = format!("UPDATE meta SET value = '{}' WHERE key = 'postback schema'", known - 1);
    run(&mut conn, &set).await;
    let nodes = number(&mut conn, "SELECT count(*) FROM node").await;
    match world.try_open().await {
        Err(OpenError::Database { source, .. }) => {
            assert!(source.to_string().contains("stop them all, and start this program again"), "{source}");
        }
        other => panic!("{other:?}"),
    }
    // The older node goes on, with its tables as they were.
    submit(&older, world.request("r")).await;
    assert_eq!(number(&mut conn, version).await, known - 1);
    assert_eq!(number(&mut conn, "SELECT count(*) FROM node WHERE NOT is_over").await, nodes);
    older.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_key_of_version_1_still_makes_one_request() {
    let world = World::postgres();
    let keyed = |name: &str| {
        let request = NewRequest { owner: "a".into(), ..world.request(name) };
        NewRequest { idempotency: Some(IdempotencyKey::new("a", &request.route, "ü")), ..request }
    };
    let store = world.open().await;
    assert_eq!(store.submit(keyed("1")).await.unwrap(), Submitted::New);
    store.close().await;
    let as_version_1 = "DROP TABLE checkpoint; DROP TABLE series; DROP TABLE schedule; DROP TABLE handed_in; \
                        ALTER TABLE node DROP COLUMN seen, DROP COLUMN is_empty, DROP COLUMN name, DROP COLUMN version; \
                        ALTER TABLE request DROP COLUMN begun; DROP INDEX node_living; \
                        ALTER TABLE request DROP COLUMN idempotency, ADD COLUMN key text, ADD COLUMN digest bytea, \
                            ADD CHECK ((key IS NULL) = (digest IS NULL)); \
                        CREATE UNIQUE INDEX request_key ON request (owner, route, key) WHERE key IS NOT NULL; \
                        UPDATE request SET key = 'ü', digest = '\\x00'; \
                        UPDATE meta SET value = '1' WHERE key = 'postback schema'";
    run(&mut shell(world.database()).await, as_version_1).await;
    let store = world.open().await;
    assert_eq!(store.submit(keyed("2")).await.unwrap(), Submitted::Repeated(id("1")));
    store.close().await;
}
