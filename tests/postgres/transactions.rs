//! Requests and reports that are committed together with rows of the program, in PostgreSQL.

use std::path::Path;
use std::time::Duration;

use postback::{Poster, Report};
use postback_tests::{Process, Receiver, client, eventually};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::server::Server as Postgres;

/// What the role of the program may do. It owns no table of the store.
const ROLE: &str = "
    CREATE ROLE shop LOGIN; CREATE SCHEMA shop AUTHORIZATION shop; ALTER ROLE shop SET search_path = shop;
    GRANT USAGE ON SCHEMA jobs TO shop; GRANT INSERT (id, content) ON jobs.handed_in TO shop;
";

fn launch(folder: &Path) -> Process {
    Process::start(env!("CARGO_BIN_EXE_orders"), folder, &[], &[("POSTBACK_SERVER__LISTEN", "127.0.0.1:0")])
}

/// Posts a payload, and waits for the end. `None`: the server was killed meanwhile.
async fn ended(url: &str, payload: &Value) -> Option<Value> {
    let post = client().post(url).header("prefer", "wait=30").json(payload);
    let ended: Value = post.send().await.ok()?.json().await.ok()?;
    Some(ended["result"].clone())
}

pub fn a_transaction_is_taken_once_by_one_of_several_servers() {
    let (postgres, receiver) = (Postgres::start().unwrap(), Receiver::start());
    let folder = tempfile::tempdir().unwrap();
    let store = postgres.url("jobs");
    let database = store.replace("postback@", "shop@");
    let settings = format!(
        "[config]\nwebhook_url = {:?}\ndatabase = {database:?}\n[store]\nurl = {store:?}\n[delivery]\nschedule = [\"0s\", \"1s\"]\n",
        receiver.url("/")
    );
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The first start makes the tables.
    let mut nodes = vec![launch(folder.path())];
    let mut urls = vec![nodes[0].ready()];
    runtime.block_on(async {
        let mut owner = PgConnection::connect(&store).await.unwrap();
        owner.execute(ROLE).await.unwrap();
        let mut shop = PgConnection::connect(&database).await.unwrap();
        for forbidden in ["SELECT id FROM jobs.handed_in", "SELECT id FROM jobs.request", "DELETE FROM jobs.handed_in"]
        {
            let refused = sqlx::query(forbidden).execute(&mut shop).await.unwrap_err();
            assert!(refused.to_string().contains("permission denied"), "{refused}");
        }
    });
    nodes.push(launch(folder.path()));
    urls.push(nodes[1].ready());

    let orders: Vec<_> =
        (0..40).map(|n| (format!("order-{n}"), if n % 2 == 0 { "commit" } else { "commit_quietly" })).collect();
    runtime.block_on(async {
        // The first call makes the tables of the program, which several calls at once cannot do.
        assert_eq!(ended(&format!("{}/rows", urls[0]), &json!("")).await.unwrap(), json!({"orders": 0, "shipped": 0}));
        let all = orders.clone().into_iter().enumerate().map(|(n, (name, then))| {
            let url = format!("{}/order", urls[n % 2]);
            tokio::spawn(async move { ended(&url, &json!({"name": name, "then": then})).await })
        });
        for (n, order) in all.collect::<Vec<_>>().into_iter().enumerate() {
            let id = order.await.unwrap().expect("an answer");
            let id = id.as_str().expect("the id of a request").to_owned();
            // Both nodes answer for a request, and either may have taken it. The one that got the order is not asked.
            let get = client().get(format!("{}/ship/{id}?wait=30", urls[(n + 1) % 2])).send();
            let shipped: Value = get.await.unwrap().json().await.unwrap();
            assert_eq!(shipped["result"], format!("shipped order-{n}"), "{shipped}");
        }
        let undone =
            ended(&format!("{}/order", urls[0]), &json!({"name": "undone", "then": "roll_back"})).await.unwrap();
        let get = client().get(format!("{}/ship/{}", urls[0], undone.as_str().unwrap())).send();
        assert_eq!(get.await.unwrap().status(), 404);
    });
    // A node is killed right after the commit. The other one takes over.
    let order = json!({"name": "last", "then": "commit_and_die"});
    let url = format!("{}/order", urls[0]);
    let posted = runtime.spawn(async move { ended(&url, &order).await });
    let dead = eventually("the end of a node", || nodes.iter_mut().position(|node| !node.is_running()).ok_or(()));
    posted.abort();
    let rest = &urls[1 - dead];
    receiver.wait_for("last");
    let rows = |name: &str| runtime.block_on(ended(&format!("{rest}/rows"), &json!(name))).unwrap();
    eventually("the last order is shipped", || match rows("last") {
        rows if rows == json!({"orders": 1, "shipped": 1}) => Ok(()),
        rows => Err(rows),
    });
    for (name, _) in &orders {
        receiver.wait_for(name);
        assert_eq!(rows(name), json!({"orders": 1, "shipped": 1}), "{name}");
    }
    assert_eq!(rows("undone"), json!({"orders": 0, "shipped": 0}));
    let mut ids: Vec<_> = receiver
        .all()
        .iter()
        .map(|one| (one.json()["id"].clone().to_string(), one.header("webhook-id").to_owned()))
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 41, "each report has one id: {ids:?}");
}

pub fn posters_share_a_database() {
    let (postgres, receiver) = (Postgres::start().unwrap(), Receiver::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let url = postgres.url("reports");
    let start = || Poster::builder().postgres(&url).trust(receiver.url("/")).start().unwrap();
    let ((first, first_guard), (second, second_guard)) = (start(), start());
    first.post(&receiver.url("/"), &Report::completed("one", "x").unwrap()).unwrap();
    runtime.block_on(async {
        second.post_durably(&receiver.url("/"), &Report::completed("two", "x").unwrap()).await.unwrap();
        let hand_in = first.prepare(&receiver.url("/"), &Report::completed("three", "x").unwrap()).unwrap();
        let mut conn = PgConnection::connect(&postgres.url("public")).await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let row = hand_in.row().unwrap();
        sqlx::query(AssertSqlSafe(row.sql)).bind(row.id).bind(row.content).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        // The process that prepared it need not be there.
        first_guard.shutdown(Duration::from_secs(30)).await;
    });
    for id in ["one", "two", "three"] {
        receiver.wait_for(id);
    }
    runtime.block_on(async {
        let flushed = second_guard.shutdown(Duration::from_secs(30)).await;
        assert!(flushed.is_safe(), "{flushed:?}");
    });
    assert_eq!(receiver.all().len(), 3);
    let error = Poster::builder().postgres("postgres:nothing").start().unwrap_err();
    assert!(error.to_string().contains("the URL of the database cannot be used"), "{error}");
}
