//! A server moves from SQLite to PostgreSQL: its store is copied, and nothing is lost.

use postback_tests::{Process, eventually};
use serde_json::{Value, json};

use super::{ADMIN, PASSWORD, Stage, launch};

/// The settings with SQLite, while postback.toml has PostgreSQL.
const SQLITE: (&str, &str) = ("POSTBACK_STORE__URL", "sqlite:old.db");

fn on_sqlite(stage: &Stage) -> Process {
    let variables = [("POSTBACK_SERVER__LISTEN", "127.0.0.1:0"), SQLITE];
    Process::start(env!("CARGO_BIN_EXE_workload"), stage.folder.path(), &["serve"], &variables)
}

/// Posts a payload to a route. Returns the id of the request.
fn post(stage: &Stage, url: &str, payload: &Value, run_at: Option<&str>) -> String {
    let mut post = stage.client.post(url).json(payload);
    if let Some(run_at) = run_at {
        post = post.header("postback-run-at", run_at);
    }
    let answer: Value = stage.runtime.block_on(async { post.send().await.unwrap().json().await.unwrap() });
    answer["id"].as_str().expect("an id").to_owned()
}

fn get(stage: &Stage, url: &str) -> Value {
    let get = stage.client.get(url).bearer_auth(ADMIN);
    stage.runtime.block_on(async { get.send().await.unwrap().json().await.unwrap() })
}

pub fn a_store_moves_from_sqlite_to_postgresql() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().to_owned();
    let mut server = on_sqlite(&stage);
    let url = server.ready();
    for n in 0..20 {
        assert_eq!(stage.submit(&url, &format!("before {n}")), 200);
    }
    stage.has_kept_all(&url);
    let later = post(&stage, &format!("{url}/echo"), &json!("later"), Some("+1h"));
    let running = post(&stage, &format!("{url}/gated"), &json!({"gate": "gate"}), None);
    eventually("the run", || match get(&stage, &format!("{url}/gated/{running}")) {
        status if status["status"] == "in_progress" => Ok(()),
        status => Err(status),
    });
    let old: Vec<Value> = stage.accepted.iter().map(|id| get(&stage, &format!("{url}/echo/{id}"))).collect();

    // The store cannot be copied while the server has it.
    let mut copy = launch(&folder, &["store", "copy", "sqlite:old.db"]);
    assert_eq!(copy.ended().code(), Some(1));
    assert!(copy.output().contains("is in use by process"), "{}", copy.output());
    server.kill();

    let mut copy = launch(&folder, &["store", "copy", "sqlite:old.db", "--json"]);
    assert_eq!(copy.ended().code(), Some(0), "{}", copy.output());
    assert!(copy.output().contains("\"requests\": 22"), "{}", copy.output());
    let mut copy = launch(&folder, &["store", "copy", "sqlite:old.db"]);
    assert_eq!(copy.ended().code(), Some(1));
    assert!(copy.output().contains("it has rows already"), "{}", copy.output());
    for wrong in [&["store", "copy", "sqlite:none.db"][..], &["store", "copy", "memory:"], &["store", "copy", "old.db"]]
    {
        let mut copy = launch(&folder, wrong);
        assert_eq!(copy.ended().code(), Some(1), "{}", copy.output());
        assert!(!folder.join("none.db").exists() && !copy.output().contains(PASSWORD));
    }

    let mut server = launch(&folder, &["serve"]);
    let url = server.ready();
    let new: Vec<Value> = stage.accepted.iter().map(|id| get(&stage, &format!("{url}/echo/{id}"))).collect();
    assert_eq!(old, new);
    assert_eq!(get(&stage, &format!("{url}/echo/{later}"))["status"], "in_queue");
    // The run that was killed begins again.
    std::fs::write(folder.join("gate"), "").unwrap();
    assert_eq!(stage.receiver.wait_for(&running).json()["status"], "completed");
    assert_eq!(stage.submit(&url, "after"), 200);
    stage.has_kept_all(&url);
    let audit = get(&stage, &format!("{url}/_postback/api/audit"));
    assert_eq!(audit["items"][0]["what"], "store.copy", "{audit}");
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
}
