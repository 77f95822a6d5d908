//! Trust. A report is signed and may reach a private network if the operator chose its URL, and not if a caller chose
//! it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postback_tests::{Answer, Process, Received, Receiver, signature};
use serde_json::json;

use crate::support::{SECRET, Server};

/// Settings with the operator's receiver and a secret. `more` is added to `[delivery]`.
fn settings(receiver: &Receiver, more: &str) -> String {
    format!("[config]\nwebhook_url = {:?}\n[delivery]\nsecrets = [{SECRET:?}]\n{more}", receiver.url("/in"))
}

/// Allows all webhooks to reach the receiver, so that a test can look at what arrives.
const OPEN: &str = "allow_networks = [\"127.0.0.0/8\"]\n";

#[track_caller]
fn assert_signed(webhook: &Received, signed: bool) {
    let header = webhook.header("webhook-signature");
    if signed {
        let (id, timestamp) = (webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
        assert_eq!(header, signature(SECRET, id, timestamp, &webhook.body));
    } else {
        assert_eq!(header, "", "{webhook:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_names_the_operators_url_does_not_reach_it() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, ""));
    for path in ["/in", "/in/below", "/in?x=1", "/in#x", "/elsewhere"] {
        let payload = json!({"webhook": receiver.url(path)});
        let response = server.client.post(server.path("/named")).json(&payload).send().await.unwrap();
        assert_eq!(response.status(), 400, "an IP address must be refused when the request is submitted");
        // This webhook is known only in the run, so it is refused later.
        let id = server.submit("/picked", payload).await;
        server.delivery("/picked", &id, |delivery| delivery["state"] == "refused").await;
    }
    server.process.wait_for("is a trusted destination, but a caller may have chosen it for this report");
    server.process.wait_for("from Config or State go there, add a [[delivery.endpoint]]");
    let id = server.submit("/echo", json!("x")).await;
    assert_signed(&receiver.wait_for(&id), true);
    server.stop();
    assert_eq!(receiver.all().len(), 1, "only the operator's own report may arrive");
}

/// The state of a delivery does not show a caller whether a host name has an address in the operator's network.
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

/// The receiver answers 410 to a webhook without a signature. The operator's reports to the same URL are still sent.
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
    // Inside the handler, the operator's URL is only a text, so this report is not signed either.
    assert_signed(&receiver.wait_for(&format!("texts-of-{id}")), false);
    assert_signed(&receiver.wait_for(&id), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_chose_a_url_is_known_after_a_kill() {
    // Attempts are not answered until the process that made them is dead.
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
        let attempts = receiver.all().into_iter().filter(|webhook| webhook.json()["id"] == **id).collect::<Vec<_>>();
        assert!(attempts.len() >= 2, "the report must be sent again");
        attempts.iter().for_each(|webhook| assert_signed(webhook, signed));
    }
}

/// The request is lost with its process. Only the stored registration says who chose its webhook.
#[tokio::test(flavor = "multi_thread")]
async fn who_chose_a_url_is_known_for_a_request_that_was_lost() {
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
        let attempts: Vec<_> = all.iter().filter(|webhook| webhook.json()["id"] == **id).collect();
        assert_eq!(attempts.len(), 2);
        attempts.iter().for_each(|webhook| assert_signed(webhook, signed));
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
async fn deny_networks_applies_to_the_operators_urls_too() {
    let receiver = Receiver::start();
    let mut server = Server::start(&settings(&receiver, "deny_networks = [\"127.0.0.0/8\"]\n"));
    let id = server.submit("/echo", json!("x")).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "refused").await;
    server.process.wait_for("delivery.deny_networks");
    server.stop();
    assert!(receiver.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_with_a_common_secret_are_warned_of() {
    let receiver = Receiver::start();
    let endpoint = |secrets: &str| format!("[[delivery.endpoint]]\nurl = \"https://other.example/in\"\n{secrets}");
    let mut server = Server::start(&settings(&receiver, &endpoint("")));
    let check = |folder: &Path| {
        let mut checked = Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["check"], &[]);
        assert_eq!(checked.ended().code(), Some(0));
        checked.output()
    };
    let warning = "can forge reports to the others";
    let output = server.process.wait_for(warning);
    assert!(output.contains("https://other.example") && !output.contains(SECRET), "{output}");
    assert!(check(server.folder.path()).contains(warning));
    let own = "secrets = [\"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\"]\n";
    std::fs::write(server.folder.path().join("postback.toml"), settings(&receiver, &endpoint(own))).unwrap();
    assert!(!check(server.folder.path()).contains(warning));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_host_is_refused_at_once_and_a_token_in_a_path_is_not_shown() {
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
