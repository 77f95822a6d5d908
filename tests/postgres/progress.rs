//! Reports of a progress while several nodes use one database: the numbers grow from one node to the next, and none comes
//! after the report of the end.

use postback_tests::{Process, Received, eventually};
use serde_json::{Value, json};

use super::Stage;

/// The status and the sequence number of each report about this request.
fn told(all: &[Received], id: &str) -> Vec<(String, u64)> {
    let of_request = all.iter().map(Received::json).filter(|report| report["id"] == id);
    of_request.map(|report| (report["status"].as_str().unwrap().into(), report["sequence"].as_u64().unwrap())).collect()
}

/// Checks that each report is newer than the one before, and that only the last one is the end.
fn in_order(told: &[(String, u64)]) {
    assert!(told.is_sorted_by(|one, next| one.1 < next.1), "{told:?}");
    let end = told.iter().position(|(status, _)| status == "completed");
    assert_eq!(end, Some(told.len() - 1), "{told:?}");
}

/// Waits until there are more reports about this request than `before`. Returns them all.
fn more(stage: &Stage, id: &str, before: usize) -> Vec<(String, u64)> {
    eventually("more reports", || {
        let told = told(&stage.receiver.all(), id);
        if told.len() > before { Ok(told) } else { Err(told) }
    })
}

/// Starts two nodes, and a run on the first one that tells its progress until its gate is open. Returns when the first
/// reports have come.
fn begun(stage: &Stage) -> (Process, Process, String, String) {
    let [mut a, mut b] = [(); 2].map(|()| stage.launch(&[]));
    let (url, other) = (a.ready(), b.ready());
    let post = stage.client.post(format!("{url}/watched")).json(&json!({"gate": "gate"})).send();
    let body = stage.runtime.block_on(async { post.await.expect("an answer").bytes().await.unwrap() });
    let id = serde_json::from_slice::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
    more(stage, &id, 2);
    (a, b, other, id)
}

/// Opens the gate, and waits for the end of the request.
fn end(stage: &Stage, url: &str, id: &str) {
    std::fs::write(stage.folder.path().join("gate"), "").unwrap();
    let get = stage.client.get(format!("{url}/watched/{id}?wait=30"));
    let status: Value = stage.runtime.block_on(async {
        let response = get.send().await.expect("an answer");
        serde_json::from_slice(&response.bytes().await.unwrap()).expect("a status")
    });
    assert_eq!(status["status"], "completed", "{status}");
    eventually("the report of the end", || {
        let told = told(&stage.receiver.all(), id);
        if told.iter().any(|(status, _)| status == "completed") { Ok(()) } else { Err(told) }
    });
}

/// Waits until the report of another request has come, which is posted now.
fn another(stage: &mut Stage, url: &str) {
    assert_eq!(stage.submit(url, "another"), 200);
    stage.has_kept_all(url);
}

pub fn the_progress_goes_on_where_a_killed_node_has_left_it() {
    let mut stage = Stage::new();
    let (mut a, mut b, other, id) = begun(&stage);
    a.kill();
    let before = told(&stage.receiver.all(), &id).len();
    // The other node takes the run over when the lease is over.
    more(&stage, &id, before + 2);
    end(&stage, &other, &id);
    another(&mut stage, &other);
    in_order(&told(&stage.receiver.all(), &id));
    b.terminate();
    assert_eq!(b.ended().code(), Some(0), "{}", b.output());
}

pub fn a_node_that_was_stopped_tells_no_progress_after_the_end() {
    let mut stage = Stage::new();
    let (mut a, mut b, other, id) = begun(&stage);
    a.stop();
    let before = told(&stage.receiver.all(), &id).len();
    more(&stage, &id, before + 2);
    end(&stage, &other, &id);
    // The first node goes on with its run, and learns that it is over.
    a.go_on();
    assert_eq!(a.ended().code(), Some(1), "{}", a.output());
    another(&mut stage, &other);
    in_order(&told(&stage.receiver.all(), &id));
    b.terminate();
    assert_eq!(b.ended().code(), Some(0), "{}", b.output());
}
