//! Cancelling requests.

use postback_tests::{Receiver, eventually_async};
use serde_json::{Value, json};

use crate::support::{Server, answer, keys};

/// Cancels; status and body of the answer.
async fn cancel(server: &Server, route: &str, id: &str) -> (u16, String) {
    let response = server.client.delete(server.path(&format!("{route}/{id}"))).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn cancelled(id: &str) -> Value {
    json!({"id": id, "status": "cancelled"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_at_once_and_never_runs() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nconcurrency = 1\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    let blocker = server.submit("/guarded", json!({"gate": "gate"})).await;
    server.process.wait_for(&format!("{blocker} begins"));
    let plain = server.submit("/nested/plain", json!({"text": "x"})).await;
    let silent = server.submit("/guarded", json!({"gate": "gate"})).await;
    let poll = server.hanging(&format!("/nested/plain/{plain}?wait=60")).await;

    let (status, body) = cancel(&server, "/nested/plain", &plain).await;
    assert_eq!((status, keys(body.as_bytes())), (200, vec!["id".to_owned(), "status".to_owned()]));
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), cancelled(&plain));
    assert!(answer(poll).await.contains("\"status\":\"cancelled\""), "who waits for it is told");
    assert_eq!(receiver.wait_for(&plain).json(), cancelled(&plain));
    assert_eq!(cancel(&server, "/guarded", &silent).await.0, 200);
    assert_eq!(receiver.wait_for(&silent).json(), cancelled(&silent));
    assert_eq!(server.status("/guarded", &silent).await, cancelled(&silent));

    server.open("gate");
    assert_eq!(receiver.wait_for(&blocker).json()["status"], "completed");
    server.stop();
    assert!(!server.process.output().contains(&format!("{silent} begins")));
    assert_eq!(receiver.all().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_stopped_and_reported_as_cancelled() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/guarded", json!({"gate": "never"})).await;
    server.process.wait_for(&format!("{id} begins"));
    let (status, body) = cancel(&server, "/guarded", &id).await;
    assert_eq!((status, serde_json::from_str(&body).unwrap()), (202, json!({"id": id, "status": "in_progress"})));
    server.process.wait_for(&format!("{id} is dropped"));
    assert_eq!(receiver.wait_for(&id).json(), cancelled(&id));
    assert_eq!(server.settled("/guarded", &id).await, cancelled(&id));
    server.process.wait_for(&format!("/guarded {id} cancelled in "));
    // Its slot and its server go on.
    let next = server.submit("/echo", json!(1)).await;
    assert_eq!(receiver.wait_for(&next).json()["status"], "completed");
    server.stop();
    assert_eq!(receiver.all().len(), 2, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_unknown_cannot_be_cancelled() {
    let server = Server::start("");
    let id = server.submit("/echo", json!("kept")).await;
    let before = server.settled("/echo", &id).await;
    let (status, body) = cancel(&server, "/echo", &id).await;
    assert_eq!(
        (status, body),
        (409, format!("error: id {id} is over, so it cannot be cancelled; GET says how it ended\n"))
    );
    assert_eq!(server.status("/echo", &id).await, before);
    for (route, id) in [("/wait", &*id), ("/echo", "0193"), ("/echo", "a%20b")] {
        let (status, body) = cancel(&server, route, id).await;
        assert_eq!((status, body), (404, format!("error: id {id} not found\n")));
    }
    let problem =
        server.client.delete(server.path(&format!("/echo/{id}"))).header("accept", "application/problem+json");
    let problem: Value = problem.send().await.unwrap().json().await.unwrap();
    assert_eq!(problem["status"], 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_next_run_is_reported_where_its_first_wanted_it() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nmax_attempts = 50\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    // It fails at once: long before what a run registered is stored in any case.
    let id = server.submit("/fail", json!({"text": "no"})).await;
    server.process.wait_for("(failed run 2 of 50)");
    let (status, _) = cancel(&server, "/fail", &id).await;
    // On a slow machine the next run has begun, and is not the last.
    assert!(status == 200 || status == 202, "{status}");
    let with_reason = json!({"id": id, "status": "cancelled", "reason": "cancelled"});
    assert_eq!(receiver.wait_for(&id).json(), with_reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_cancelled_when_its_process_was_killed_is_not_run_again() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/guarded", json!({"gate": "never"})).await;
    server.process.wait_for(&format!("{id} begins"));
    eventually_async("that its webhook is stored", async || {
        let stored = server.count("registration").await;
        if stored == 1 { Ok(()) } else { Err(stored) }
    })
    .await;
    // The end is not to be written, so that it is killed between the cancel and the end.
    server
        .write("CREATE TRIGGER late BEFORE UPDATE ON request WHEN NEW.state > 1 BEGIN SELECT RAISE(ABORT, 'late'); END")
        .await;
    assert_eq!(cancel(&server, "/guarded", &id).await.0, 202);
    server.process.wait_for("cannot be stored, trying again");
    server.process.kill();
    server.write("DROP TRIGGER late").await;
    server.restart();
    server.process.wait_for("0 requests lost too often, 1 cancelled");
    assert_eq!(receiver.wait_for(&id).json(), cancelled(&id));
    assert_eq!(server.settled("/guarded", &id).await, cancelled(&id));
    server.stop();
    assert!(!server.process.output().contains(&format!("{id} begins")));
}

/// Where a run wants its end reported is kept for as long as it takes, before the request waits for its next run.
#[tokio::test(flavor = "multi_thread")]
async fn where_an_end_is_reported_is_kept_once_the_store_works_again() {
    let receiver = Receiver::start();
    let settings =
        format!("[config]\nwebhook_url = {:?}\n[worker]\nmax_attempts = 2\nretry_delay = \"1h\"\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    server.write("CREATE TRIGGER late BEFORE INSERT ON registration BEGIN SELECT RAISE(ABORT, 'late'); END").await;
    let id = server.submit("/ends/hidden", json!({"end": "error", "hook": ""})).await;
    server.process.wait_for(&format!("the webhook of {id} cannot be stored, trying again"));
    server.write("DROP TRIGGER late").await;
    server.process.wait_for("(failed run 1 of 2)");
    assert_eq!(cancel(&server, "/ends/hidden", &id).await.0, 200);
    assert_eq!(receiver.wait_for(&id).json(), cancelled(&id));
}
