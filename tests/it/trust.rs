//! Who is trusted: a report is signed, and may reach this machine, where the operator chose its URL, and not where a caller did.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postback_tests::{Answer, Process, Received, Receiver, signature};
use serde_json::json;

use crate::support::{SECRET, Server};

/// The operator's receiver, and a secret for it; `more` belongs to `[delivery]`.
fn settings(receiver: &Receiver, more: &str) -> String {
    format!("[config]\nwebhook_url = {:?}\n[delivery]\nsecrets = [{SECRET:?}]\n{more}", receiver.url("/in"))
}

/// Lets any webhook reach the receiver, so that it can be seen what arrives there.
const OPEN: &str = "allow_networks = [\"127.0.0.0/8\"]\n";

#[track_caller]
fn assert_signed(webhook: &Received, signed: bool) {
    let said = webhook.header("webhook-signature");
    if signed {
        let (id, timestamp) = (webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
        assert_eq!(said, signature(SECRET, id, timestamp, &webhook.body));
    } else {
        assert_eq!(said, "", "{webhook:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_names_the_operators_url_is_not_let_in() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, ""));
    for path in ["/in", "/in/below", "/in?x=1", "/in#x", "/elsewhere"] {
        let payload = json!({"webhook": receiver.url(path)});
        let response = server.client.post(server.path("/named")).json(&payload).send().await.unwrap();
        assert_eq!(response.status(), 400, "an address is judged when the request comes");
        // What is known only in a run is judged then.
        let id = server.submit("/picked", payload).await;
        server.delivery("/picked", &id, |delivery| delivery["state"] == "refused").await;
    }
    server.process.wait_for("is a trusted destination, but it is not the program that chose it for this report");
    server.process.wait_for("to let one go that Config or State names");
    let id = server.submit("/echo", json!("x")).await;
    assert_signed(&receiver.wait_for(&id), true);
    server.stop();
    assert_eq!(receiver.all().len(), 1, "the operator's own report, and none that a caller asked for");
}

/// A caller does not learn from its delivery's state whether a name leads into the operator's network.
#[tokio::test(flavor = "multi_thread")]
async fn the_operators_private_host_looks_to_a_caller_like_a_host_that_does_not_exist() {
    let receiver = Receiver::start();
    let by_name = receiver.url("/in").replace("127.0.0.1", "localhost");
    let server = Server::start(&format!("[config]\nwebhook_url = {by_name:?}\n[delivery]\nsecrets = [{SECRET:?}]\n"));
    let own = server.submit("/echo", json!("x")).await;
    server.delivery("/echo", &own, |delivery| delivery["state"] == "delivered").await;
    for webhook in [by_name.as_str(), "http://nowhere.invalid/in"] {
        let id = server.submit("/named", json!({"webhook": webhook})).await;
        server.delivery("/named", &id, |delivery| delivery["state"] == "retrying").await;
    }
    assert_eq!(receiver.all().len(), 1);
}

/// The receiver refuses what is not signed as it would refuse any stranger; the operator's reports go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_have_the_operators_url_disabled() {
    let receiver = Receiver::answering(|webhook, _| {
        Answer::Status(if webhook.header("webhook-signature").is_empty() { 410 } else { 204 })
    });
    let server = Server::start(&settings(&receiver, OPEN));
    let id = server.submit("/named", json!({"webhook": receiver.url("/in")})).await;
    server.delivery("/named", &id, |delivery| delivery["state"] == "gone").await;
    let own = server.submit("/echo", json!("x")).await;
    server.delivery("/echo", &own, |delivery| delivery["state"] == "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_names_the_operators_url_gets_no_signature() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, OPEN));
    for path in ["/in", "/in/below"] {
        let id = server.submit("/named", json!({"webhook": receiver.url(path)})).await;
        assert_signed(&receiver.wait_for(&id), false);
    }
    let id = server.submit("/within", json!({"webhook": receiver.url("/in")})).await;
    assert_signed(&receiver.wait_for(&format!("callers-of-{id}")), false);
    // Within, it is text as any other.
    assert_signed(&receiver.wait_for(&format!("texts-of-{id}")), false);
    assert_signed(&receiver.wait_for(&id), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_chose_a_url_is_known_after_a_kill() {
    // Tries are not answered until the process that made them is dead.
    let killed = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&killed);
    let receiver = Receiver::answering(
        move |_, _| {
            if answers.load(Ordering::SeqCst) { Answer::Status(204) } else { Answer::Hang }
        },
    );
    let mut server = Server::start(&settings(&receiver, &format!("{OPEN}timeout = \"1h\"\n")));
    let callers = server.submit("/named", json!({"webhook": receiver.url("/in")})).await;
    let own = server.submit("/echo", json!("x")).await;
    assert_signed(&receiver.wait_for(&callers), false);
    assert_signed(&receiver.wait_for(&own), true);
    server.process.kill();
    killed.store(true, Ordering::SeqCst);
    server.restart();
    for (route, id, signed) in [("/named", &callers, false), ("/echo", &own, true)] {
        server.delivery(route, id, |delivery| delivery["state"] == "delivered").await;
        let tries = receiver.all().into_iter().filter(|webhook| webhook.json()["id"] == **id).collect::<Vec<_>>();
        assert!(tries.len() >= 2, "it was sent again");
        tries.iter().for_each(|webhook| assert_signed(webhook, signed));
    }
}

/// The request is lost with its process: what its run registered is all that is known of its webhook.
#[tokio::test(flavor = "multi_thread")]
async fn who_chose_a_url_is_known_of_a_request_that_was_lost() {
    let receiver = Receiver::start();
    let more = format!("{OPEN}[worker]\nmax_crashes = 1\n");
    let mut server = Server::start(&settings(&receiver, &more));
    let callers = server.submit("/named", json!({"webhook": receiver.url("/in"), "gate": "gate"})).await;
    let own = server.submit("/guarded", json!({"gate": "gate"})).await;
    for id in [&callers, &own] {
        server.process.wait_for(&format!("{id} begins"));
    }
    server.kill_and_restart();
    for (id, signed) in [(&callers, false), (&own, true)] {
        let report = receiver.wait_for(id);
        assert_eq!(report.json(), json!({"id": id, "status": "failed"}));
        assert_signed(&report, signed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_chose_a_url_is_known_when_a_report_is_sent_again() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before < 2 { 500 } else { 204 }));
    let mut server = Server::start(&settings(&receiver, &format!("{OPEN}schedule = [\"0s\"]\n")));
    let callers = server.submit("/named", json!({"webhook": receiver.url("/in")})).await;
    let own = server.submit("/echo", json!("x")).await;
    let sent = [&callers, &own].map(|id| receiver.wait_for(id).header("webhook-id").to_owned());
    for (route, id) in [("/named", &callers), ("/echo", &own)] {
        server.delivery(route, id, |delivery| delivery["state"] == "dead").await;
    }
    server.stop();
    let replay = |folder: &Path, id: &str| {
        Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["deliveries", "replay", id], &[])
    };
    for id in &sent {
        assert_eq!(replay(server.folder.path(), id).ended().code(), Some(0));
    }
    server.restart();
    let all = receiver.wait(4);
    for (id, signed) in [(&callers, false), (&own, true)] {
        let tries: Vec<_> = all.iter().filter(|webhook| webhook.json()["id"] == **id).collect();
        assert_eq!(tries.len(), 2);
        tries.iter().for_each(|webhook| assert_signed(webhook, signed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_signed_without_being_private() {
    let receiver = Receiver::start();
    let side = |private: &str| {
        let more = format!("[[delivery.endpoint]]\nurl = {:?}\n{private}", receiver.url("/side"));
        settings(&receiver, &more).replace("[delivery]", &format!("side_url = {:?}\n[delivery]", receiver.url("/side")))
    };
    let mut server = Server::start(&side(""));
    let id = server.submit("/spawn", json!({})).await;
    assert_signed(&receiver.wait_for(&id), true);
    server.process.wait_for("[[delivery.endpoint]] with private = true");
    server.stop();
    assert!(receiver.all().iter().all(|webhook| webhook.path == "/in"));

    std::fs::write(server.folder.path().join("postback.toml"), side("private = true\n")).unwrap();
    server.restart();
    let id = server.submit("/spawn", json!({})).await;
    assert_signed(&receiver.wait_for(&format!("side-of-{id}")), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_closed_to_the_operator_too() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, "deny_networks = [\"127.0.0.0/8\"]\n"));
    let id = server.submit("/echo", json!("x")).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "refused").await;
    server.process.wait_for("delivery.deny_networks");
    server.stop();
    assert!(receiver.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_could_forge_for_one_another_are_told_of() {
    let receiver = Receiver::start();
    let endpoint = |secrets: &str| format!("[[delivery.endpoint]]\nurl = \"https://other.example/in\"\n{secrets}");
    let mut server = Server::start(&settings(&receiver, &endpoint("")));
    let check = |folder: &Path| {
        let mut checked = Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["check"], &[]);
        assert_eq!(checked.ended().code(), Some(0));
        checked.output()
    };
    let warning = "can forge reports to the others";
    let told = server.process.wait_for(warning);
    assert!(told.contains("https://other.example") && !told.contains(SECRET), "{told}");
    assert!(check(server.folder.path()).contains(warning));
    let own = "secrets = [\"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\"]\n";
    std::fs::write(server.folder.path().join("postback.toml"), settings(&receiver, &endpoint(own))).unwrap();
    assert!(!check(server.folder.path()).contains(warning));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nobody_can_look_up_is_refused_at_once_and_a_token_in_a_path_is_not_shown() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, ""));
    let id = server.submit("/picked", json!({"webhook": "http://a{b.example/"})).await;
    let delivery = server.delivery("/picked", &id, |delivery| delivery["state"] == "refused").await;
    assert_eq!(delivery["webhooks"][0]["attempts"], 0);
    server.process.wait_for("the host of the webhook URL cannot be looked up");

    let token = "T024BE7LD/B01ABCDEF/aBcDeFgHiJkLmNoPqRsTuVwX";
    let id = server.submit("/picked", json!({"webhook": receiver.url(&format!("/services/{token}"))})).await;
    let delivery = server.delivery("/picked", &id, |delivery| delivery["state"] == "refused").await;
    assert_eq!(delivery["webhooks"][0]["url"], receiver.url("/services/…/…/…"));
    server.stop();
    let output = server.process.output();
    for part in token.split('/') {
        assert!(!output.contains(part), "{output}");
    }
}
