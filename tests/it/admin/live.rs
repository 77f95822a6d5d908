//! What changes while the server runs: its settings, its tokens, and what the commands do.

use postback_tests::{Answer, Receiver, eventually_async};
use serde_json::{Value, json};

use super::{API, TOKEN, call, get, ids, printed, refused, run};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_while_the_server_runs() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let settings = format!("[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\"]\n", receiver.url("/"));
    let server = Server::start(&settings);
    let id = server.submit("/echo", json!("\u{1b}[31m")).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "dead").await;
    let list = printed(&server, &["requests", "list"]);
    assert!(list.contains(&id) && list.contains("completed"), "{list}");
    let json: Value = serde_json::from_str(&printed(&server, &["requests", "list", "--json"])).unwrap();
    assert_eq!(json[0]["id"], json!(id));
    let shown = printed(&server, &["requests", "show", &id]);
    assert!(shown.contains("payload") && shown.contains("timeline") && !shown.contains('\u{1b}'), "{shown}");
    let deliveries = printed(&server, &["deliveries", "list", "--status", "dead", "--json"]);
    let deliveries: Value = serde_json::from_str(&deliveries).unwrap();
    let delivery = deliveries[0]["id"].as_str().unwrap();
    let shown = printed(&server, &["deliveries", "show", delivery]);
    assert!(shown.contains("dead") && shown.contains("attempt"), "{shown}");
    let replayed = printed(&server, &["deliveries", "replay", "--all", "--status", "dead"]);
    assert!(replayed.contains("1 deliveries are sent again"), "{replayed}");
    server.delivery("/echo", &id, |delivery| delivery["webhooks"][1]["state"] == "delivered").await;

    let gated = server.submit("/gated", json!({"gate": "never"})).await;
    server.running("/gated", &gated).await;
    assert!(printed(&server, &["requests", "cancel", &gated]).contains("is being cancelled"));
    server.settled("/gated", &gated).await;
    assert!(printed(&server, &["requests", "retry", &gated]).contains("runs again, as request"));
    for (arguments, says) in [
        (&["requests", "cancel", &id][..], "is over"),
        (&["requests", "show", "0193"], "there is no request 0193"),
        (&["requests", "show", "../x"], "is not the id of a request"),
        (&["requests", "retry", &id], "only failed and cancelled requests"),
        (&["deliveries", "replay", "--all"], "at least one of"),
        (&["deliveries", "replay"], "name the ids"),
        (&["deliveries", "show", "7"], "is not a UUID"),
    ] {
        let mut process = run(server.folder.path(), arguments);
        assert_eq!(process.ended().code(), Some(1), "{arguments:?}");
        process.wait_for(says);
    }
}

/// Starts a server whose settings a test changes.
pub(super) fn write_settings(server: &Server, text: &str) {
    std::fs::write(server.folder.path().join("postback.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_again_and_a_wrong_file_changes_nothing() {
    let receiver = Receiver::answering(|_, _| Answer::Status(500));
    let settings = |schedule: &str, more: &str| {
        format!(
            "{more}\n[config]\nwebhook_url = {:?}\n[delivery]\nschedule = {schedule}\nsecrets = [{:?}]\n",
            receiver.url("/"),
            crate::support::SECRET
        )
    };
    let mut server = Server::start(&settings("[\"0s\", \"1h\"]", ""));
    let first = server.submit("/echo", json!("retried")).await;
    server.delivery("/echo", &first, |delivery| delivery["state"] == "retrying").await;

    write_settings(&server, &settings("[\"0s\"]", "server.admin_token = 'short'"));
    let why = refused(&server, "POST", "/settings/reload", "", 422).await;
    assert!(why.starts_with("invalid_settings: ") && why.contains("server.admin_token"), "{why}");
    assert_eq!(get(&server, "/settings").await["settings"]["delivery.schedule"], json!(["0s", "1h"]));
    server.process.hang_up();
    // The file must not change while the server reads it, so the test waits for the second of two equal lines.
    let output = server.process.watch();
    eventually_async("the second refusal", async || {
        let refusals = output().matches("the settings are not used, and nothing has changed").count();
        if refusals == 2 { Ok(()) } else { Err(refusals) }
    })
    .await;

    let more = format!("server.admin_token = {TOKEN:?}\nserver.listen = '127.0.0.1:1'\nlog.level = 'debug'");
    write_settings(&server, &settings("[\"0s\"]", &more));
    let (status, reload) = call(&server, "POST", "/settings/reload", "").await;
    assert_eq!(status, 200, "{reload}");
    assert_eq!(reload["applied"], json!(["delivery.schedule", "log.level", "server.admin_token"]));
    // The flag `--listen` wins over the file, so the file changes nothing.
    assert_eq!(reload["needs_restart"], json!([]));
    let second = server.submit("/echo", json!("given up at once")).await;
    server.delivery("/echo", &second, |delivery| delivery["state"] == "dead").await;
    let url = server.path(&format!("{API}/health"));
    let answer = server.client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the token opens the API from now on");
    server.process.wait_for("accepted");

    let more = "store.durability = 'normal'\nshutdown.grace = '1s'";
    write_settings(&server, &settings("[\"0s\"]", more));
    server.process.hang_up();
    server.process.wait_for("changed at the next start: shutdown.grace, store.durability");
    let answer = server.client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 404, "without a token, nothing is there");

    let audit = get(&server, "/audit?limit=2").await;
    assert_eq!(
        (&audit["items"][0]["who"], &audit["items"][0]["detail"]),
        (&json!("signal SIGHUP"), &json!("log.level server.admin_token"))
    );
    let entry = &audit["items"][1];
    assert_eq!((&entry["what"], &entry["subject"]), (&json!("settings.reload"), &json!("settings")));
    assert!(entry["who"].as_str().unwrap().starts_with("socket uid "), "{entry}");
    assert!(entry["detail"].as_str().unwrap().contains("delivery.schedule"), "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_and_revoked_while_the_server_runs() {
    let server = Server::start("");
    let output = printed(&server, &["tokens", "new", "ci", "--routes", "/echo"]);
    let token = output.split_whitespace().find(|word| word.starts_with("pbk_")).unwrap().to_owned();
    let submit = async || {
        let call = server.client.post(server.path("/echo")).json(&json!("x"));
        call.bearer_auth(&token).send().await.unwrap()
    };
    let answer = submit().await;
    assert_eq!(answer.status(), 200);
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let without = server.client.post(server.path("/echo")).json(&json!("x")).send().await.unwrap();
    assert_eq!(without.status(), 401, "the first token closes the server to others at once");
    let tokens = get(&server, "/tokens").await;
    assert!(!tokens.to_string().contains(&token), "{tokens}");
    let token_id = tokens["items"][0]["id"].as_str().unwrap();
    let listed = get(&server, &format!("/requests?token={token_id}&route=/echo")).await;
    assert_eq!((ids(&listed), &listed["items"][0]["token"]), (vec![&*id], &json!(token_id)));
    assert!(printed(&server, &["tokens", "list"]).contains("ci"));
    // A token of a caller does not open the operator's API.
    let url = server.path(&format!("{API}/tokens"));
    assert_eq!(server.client.get(url).bearer_auth(&token).send().await.unwrap().status(), 404);
    assert!(printed(&server, &["tokens", "revoke", "ci"]).contains("is revoked"));
    assert_eq!(submit().await.status(), 401);
    let why = refused(&server, "DELETE", "/tokens/nobody", "", 404).await;
    assert!(why.contains("there is no token nobody"), "{why}");
    refused(&server, "POST", "/tokens", r#"{"name":""}"#, 400).await;
    let audit = get(&server, "/audit").await;
    let what: Vec<_> = audit["items"].as_array().unwrap().iter().map(|entry| entry["what"].clone()).collect();
    assert_eq!(what, ["token.revoke", "token.new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_requests_run() {
    let server = Server::start("[worker]\nconcurrency = 1\nmax_queued = 1\n");
    let first = server.submit("/gated", json!({"gate": "open"})).await;
    server.running("/gated", &first).await;
    let second = server.submit("/gated", json!({"gate": "open"})).await;
    let full = server.client.post(server.path("/gated")).json(&json!({"gate": "open"})).send().await.unwrap();
    assert_eq!(full.status(), 503);

    write_settings(&server, "[worker]\nconcurrency = 3\nmax_queued = 10\n");
    let (_, reload) = call(&server, "POST", "/settings/reload", "").await;
    assert_eq!(reload["applied"], json!(["worker.concurrency", "worker.max_queued"]), "{reload}");
    server.running("/gated", &second).await;
    let third = server.submit("/gated", json!({"gate": "open"})).await;
    server.running("/gated", &third).await;

    // A smaller number cuts off nothing. The next request waits until enough runs have ended.
    write_settings(&server, "[worker]\nconcurrency = 1\nmax_queued = 10\n");
    let (status, _) = call(&server, "POST", "/settings/reload", "").await;
    assert_eq!(status, 200);
    let waits = server.submit("/echo", json!("waits")).await;
    assert_eq!(server.status("/echo", &waits).await["status"], "in_queue");
    let (_, _) = call(&server, "POST", &format!("/requests/{first}/cancel"), "").await;
    let (_, _) = call(&server, "POST", &format!("/requests/{second}/cancel"), "").await;
    for id in [&first, &second] {
        assert_eq!(server.settled("/gated", id).await["status"], "cancelled");
    }
    // Two of three runs have ended, and one may run: the third one still does.
    assert_eq!(server.status("/echo", &waits).await["status"], "in_queue");
    server.open("open");
    assert_eq!(server.settled("/gated", &third).await["status"], "completed");
    assert_eq!(server.settled("/echo", &waits).await["status"], "completed");
}
