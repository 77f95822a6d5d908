//! What handlers tell about their progress: in the status, in the event stream, to operators, and after a kill.

use std::path::Path;
use std::time::Instant;

use postback_tests::{Process, eventually_async};
use serde_json::{Value, json};

use crate::event_streams::{Client, Event};
use crate::support::Server;

/// The member `progress` of the status.
async fn progress(server: &Server, id: &str) -> Value {
    let url = server.path(&format!("/tell/{id}?include=progress"));
    let mut status: Value = server.client.get(url).send().await.unwrap().json().await.unwrap();
    status["progress"].take()
}

/// Waits until the status shows this message. Returns the progress.
async fn telling(server: &Server, id: &str, message: &str) -> Value {
    eventually_async("the progress", async || {
        let progress = progress(server, id).await;
        if progress["message"] == message { Ok(progress) } else { Err(progress) }
    })
    .await
}

async fn submit(server: &Server, steps: u32, gate: &str) -> String {
    server.submit("/tell", json!({"steps": steps, "gate": gate, "detail": {"files": [1, "two\n"]}})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_and_the_events_tell_it() {
    for store in ["", "[store]\nurl = \"memory:\"\n"] {
        let server = Server::start(store);
        let id = submit(&server, 4, "gate").await;
        let path = format!("/tell/{id}/events");
        let mut client = Client::open(&server, &path, None).await;
        for expected in ["0.0", "1.1"] {
            assert_eq!(client.next().await.unwrap().id, expected);
        }
        let last = telling(&server, &id, "step 3").await;
        assert_eq!((&last["fraction"], &last["detail"]), (&json!(0.75), &json!({"files": [1, "two\n"]})));
        assert!(last["at"].is_string(), "{last}");
        let plain = server.status("/tell", &id).await;
        assert!(!plain.as_object().unwrap().contains_key("progress"), "only who asks for it gets it");
        let mut told = Vec::new();
        while told.last().is_none_or(|event: &Event| event.data["progress"]["message"] != "step 3") {
            told.push(client.next().await.unwrap());
        }
        let last = told.last().unwrap();
        assert_eq!(last.data, json!({"id": id, "progress": progress(&server, &id).await}));
        for Event { id, name, data } in &told {
            assert_eq!((id, name.as_str()), (&format!("1.1.{}", data["progress"]["sequence"]), "progress"));
        }

        server.open("gate");
        let end = server.settled("/tell", &id).await;
        let at_end = progress(&server, &id).await;
        assert_eq!((&at_end["message"], &at_end["fraction"]), (&json!("the gate is open"), &json!(1.0)));
        let last = client.next().await.unwrap();
        assert_eq!((last.name.as_str(), &last.data["progress"]), ("progress", &at_end), "it comes before the end");
        let over = client.next().await.unwrap();
        assert_eq!((over.id.as_str(), over.name.as_str(), over.data), ("1.3", "status", end));
        assert!(client.next().await.is_none());
    }
}

/// All events until the end of the stream, each as its id.
async fn rest(server: &Server, path: &str, last: Option<&str>) -> Vec<String> {
    let mut client = Client::open(server, path, last).await;
    let mut rest = Vec::new();
    while let Some(event) = client.next().await {
        rest.push(event.id);
    }
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_what_is_new() {
    let server = Server::start("");
    let id = submit(&server, 1, "gate").await;
    telling(&server, &id, "step 0").await;
    server.open("gate");
    server.settled("/tell", &id).await;
    let sequence = progress(&server, &id).await["sequence"].as_u64().unwrap();
    assert_eq!(sequence, 2);
    let path = format!("/tell/{id}/events");
    let all = ["0.0", "1.1", "1.1.2", "1.3"];
    assert_eq!(rest(&server, &path, None).await, all);
    // The first progress is not stored any more. A client that has it gets the ones after it.
    for (last, after) in [("1.1", 2), ("1.1.1", 2), ("1.1.2", 3)] {
        assert_eq!(rest(&server, &path, Some(last)).await, all[after..], "{last}");
    }
    for unknown in ["1.1.3", "1.1.0", "2.1.1", "1.3.1"] {
        assert_eq!(rest(&server, &path, Some(unknown)).await, all, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_survives_a_kill_and_the_next_run_begins_anew() {
    let mut server = Server::start("");
    let id = submit(&server, 3, "gate").await;
    let before = telling(&server, &id, "step 2").await["sequence"].as_u64().unwrap();
    let path = format!("/tell/{id}/events");
    server.kill_and_restart();
    let again = telling(&server, &id, "step 2").await;
    eventually_async("the progress of the second run", async || {
        let sequence = progress(&server, &id).await["sequence"].as_u64();
        if sequence > Some(before) { Ok(()) } else { Err(sequence) }
    })
    .await;
    assert!(again["sequence"].as_u64() >= Some(before), "{again}");
    server.open("gate");
    server.settled("/tell", &id).await;
    let last = progress(&server, &id).await["sequence"].as_u64().unwrap();
    let expected = ["1.2".to_owned(), "2.1".to_owned(), format!("2.1.{last}"), "2.3".to_owned()];
    assert_eq!(rest(&server, &path, Some(&format!("1.1.{before}"))).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_at_full_speed_are_few_commits() {
    let server = Server::start("");
    let begun = Instant::now();
    let id = submit(&server, 100_000, "gate").await;
    let last = telling(&server, &id, "step 99999").await;
    let most = 2 + begun.elapsed().as_millis() / 500;
    assert!(u128::from(last["sequence"].as_u64().unwrap()) <= most, "{last}, {most}");
    server.open("gate");
    server.settled("/tell", &id).await;
}

/// Runs a command in the folder of the server. Returns what it prints.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder, arguments, &[]);
    assert!(process.ended().success(), "{}", process.output());
    process.output()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_it_and_hear_of_it() {
    let token = "0123456789abcdef-admin";
    let server = Server::start(&format!("[server]\nadmin_token = {token:?}\n"));
    let changes = server.client.get(server.path("/_postback/api/changes")).bearer_auth(token).send().await.unwrap();
    let id = submit(&server, 2, "gate").await;
    telling(&server, &id, "step 1").await;
    let url = server.path(&format!("/_postback/api/requests/{id}"));
    let shown: Value = server.client.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let told = &shown["progress"];
    assert_eq!((&told["fraction"], &told["message"], &told["run"]), (&json!(0.5), &json!("step 1"), &json!(1)));
    let text = printed(server.folder.path(), &["requests", "show", &id]);
    let line = text.lines().find(|line| line.trim_start().starts_with("progress")).unwrap();
    let sequence = told["sequence"].as_u64().unwrap();
    assert!(line.ends_with(&format!("{sequence}, run 1: 50 %  step 1  {{\"files\":[1,\"two\\n\"]}}")), "{line}");

    let mut changes = changes;
    let mut text = String::new();
    let wanted = format!("event: progress\ndata: {{\"id\":\"{id}\",\"sequence\":{sequence}}}");
    while !text.contains(&wanted) {
        text.push_str(std::str::from_utf8(&changes.chunk().await.unwrap().expect(&text)).unwrap());
    }
    server.open("gate");
    server.settled("/tell", &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_number_and_a_large_detail_change_nothing_else() {
    let mut server = Server::start("");
    let id = server.submit("/odd", json!(null)).await;
    assert_eq!(server.settled("/odd", &id).await["status"], "completed");
    let url = server.path(&format!("/odd/{id}?include=progress"));
    let status: Value = server.client.get(url).send().await.unwrap().json().await.unwrap();
    let told = &status["progress"];
    assert_eq!((&told["fraction"], &told["message"]), (&json!(0.5), &json!("no number")), "{status}");
    assert!(told.get("detail").is_none_or(Value::is_null), "{status}");
    server.process.wait_for("its JSON has more than 4096 bytes");
}
