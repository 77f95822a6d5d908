//! Cancelling requests.

use postback_tests::{Receiver, eventually_async};
use serde_json::{Value, json};

use crate::support::{Server, answer, keys};

/// Cancels a request. Returns the status and the body of the answer.
async fn cancel(server: &Server, route: &str, id: &str) -> (u16, String) {
    let response = server.client.delete(server.path(&format!("{route}/{id}"))).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn cancelled(id: &str) -> Value {
    json!({"id": id, "status": "cancelled"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_is_cancelled_at_once_and_never_runs() {
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
    assert!(answer(poll).await.contains("\"status\":\"cancelled\""), "the cancel must end a long poll");
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
async fn a_running_request_is_stopped_and_reported_as_cancelled() {
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
    // The slot is free again, and the server goes on.
    let next = server.submit("/echo", json!(1)).await;
    assert_eq!(receiver.wait_for(&next).json()["status"], "completed");
    server.stop();
    assert_eq!(receiver.all().len(), 2, "each request is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_or_unknown_request_cannot_be_cancelled() {
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
async fn a_request_that_waits_for_its_next_run_is_reported_to_the_webhook_of_its_first_run() {
    let receiver = Receiver::start();
    let settings = format!("[config]\nwebhook_url = {:?}\n[worker]\nmax_attempts = 50\n", receiver.url("/"));
    let mut server = Server::start(&settings);
    // The run fails at once. So the registration is stored because of the failure, not because a second has passed.
    let id = server.submit("/fail", json!({"text": "no"})).await;
    server.process.wait_for("(failed run 2 of 50)");
    let (status, _) = cancel(&server, "/fail", &id).await;
    // On a slow machine, the next run may have begun (202). It is not the last run.
    assert!(status == 200 || status == 202, "{status}");
    let with_reason = json!({"id": id, "status": "cancelled", "reason": "cancelled"});
    assert_eq!(receiver.wait_for(&id).json(), with_reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_cancel_was_interrupted_by_a_kill_does_not_run_again() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/guarded", json!({"gate": "never"})).await;
    server.process.wait_for(&format!("{id} begins"));
    eventually_async("a stored registration", async || {
        let stored = server.registrations().await;
        if stored == 1 { Ok(()) } else { Err(stored) }
    })
    .await;
    // This trigger prevents that the outcome is stored. So the kill comes between the cancel and the outcome.
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

/// A failed run's registration is stored before the request waits for its next run, even if that needs several
/// attempts.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_stored_once_the_store_works_again() {
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
