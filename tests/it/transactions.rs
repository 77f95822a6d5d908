//! Requests and reports that are committed together with rows of the program: in a server with a SQLite file.

use postback_tests::{Process, Receiver, client};
use serde_json::{Value, json};

/// The program `orders`, in a folder of its own.
struct Orders {
    folder: tempfile::TempDir,
    receiver: Receiver,
    process: Process,
    url: String,
}

impl Orders {
    fn start(store: &str) -> Self {
        let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
        let settings = format!(
            "[config]\nwebhook_url = {:?}\ndatabase = \"orders.db\"\n[store]\nurl = {store:?}\n[delivery]\nschedule = [\"0s\"]\n",
            receiver.url("/")
        );
        std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
        let mut process = launch(folder.path());
        let url = process.ready();
        Self { folder, receiver, process, url }
    }

    async fn ended(&self, path: &str, payload: Value) -> Value {
        let post = client().post(format!("{}{path}", self.url)).header("prefer", "wait=30").json(&payload);
        let ended: Value = post.send().await.unwrap().json().await.unwrap();
        ended["result"].clone()
    }

    async fn order(&self, name: &str, then: &str) -> String {
        self.ended("/order", json!({"name": name, "then": then})).await.as_str().unwrap().to_owned()
    }

    async fn shipped(&self, id: &str) -> Value {
        let get = client().get(format!("{}/ship/{id}?wait=30", self.url));
        get.send().await.unwrap().json().await.unwrap()
    }

    async fn rows(&self, name: &str) -> Value {
        self.ended("/rows", json!(name)).await
    }
}

fn launch(folder: &std::path::Path) -> Process {
    Process::start(env!("CARGO_BIN_EXE_orders"), folder, &[], &[("POSTBACK_SERVER__LISTEN", "127.0.0.1:0")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_its_rows_with_a_request_and_a_report_or_none_of_them() {
    let orders = Orders::start("sqlite:orders.db");
    for (name, then) in [("one", "commit"), ("two", "commit_quietly")] {
        let id = orders.order(name, then).await;
        // The request is found whether or not the store has taken it.
        let ended = orders.shipped(&id).await;
        assert_eq!((&ended["id"], &ended["result"]), (&json!(id), &json!(format!("shipped {name}"))));
        assert_eq!(orders.receiver.wait_for(name).json()["result"], "ordered");
        assert_eq!(orders.rows(name).await, json!({"orders": 1, "shipped": 1}));
    }
    let id = orders.order("three", "roll_back").await;
    let get = client().get(format!("{}/ship/{id}", orders.url)).send().await.unwrap();
    assert_eq!(get.status(), 404);
    assert_eq!(orders.rows("three").await, json!({"orders": 0, "shipped": 0}));
    assert!(orders.receiver.all().iter().all(|report| report.json()["id"] != "three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_a_kill_runs_once_after_it() {
    let mut orders = Orders::start("sqlite:orders.db");
    for name in ["one", "two", "three"] {
        // The answer never comes, because the server is killed.
        let post = client().post(format!("{}/order", orders.url)).header("prefer", "wait=30");
        let answer = post.json(&json!({"name": name, "then": "commit_and_die"})).send().await;
        assert!(answer.is_err(), "{answer:?}");
        orders.process.ended();
        orders.process = launch(orders.folder.path());
        orders.url = orders.process.ready();
        let id = orders.order(name, "commit").await;
        assert_eq!(orders.shipped(&id).await["result"], format!("shipped {name}"));
        orders.receiver.wait_for(name);
    }
    for name in ["one", "two", "three"] {
        assert_eq!(orders.rows(name).await, json!({"orders": 1, "shipped": 1}));
        let mut ids: Vec<_> = orders
            .receiver
            .all()
            .iter()
            .filter(|report| report.json()["id"] == name)
            .map(|report| report.header("webhook-id").to_owned())
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_handed_in_is_refused_before_the_transaction() {
    let orders = Orders::start("sqlite:orders.db");
    let says = orders.ended("/refused", json!("/ship")).await;
    assert!(says.as_str().unwrap().contains("invalid type: sequence"), "{says}");
    let says = orders.ended("/refused", json!("/shop")).await;
    assert!(says.as_str().unwrap().contains("nothing is served at /shop"), "{says}");

    let orders = Orders::start("memory:");
    let says = orders.ended("/refused", json!("/ship")).await;
    assert!(says.as_str().unwrap().contains("the store is in memory"), "{says}");
}
