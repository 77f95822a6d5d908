//! Tests of the command `listen`: what it prints, passes on, answers and refuses. `tests/browser` tests its page.

mod page;

use std::process::ExitStatus;

use postback_tests::{Process, client, signature};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::SECRET;

/// The command `listen` on a free port.
pub(crate) struct Listener {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    _folder: TempDir,
}

impl Listener {
    fn start(arguments: &[&str]) -> Self {
        let (mut process, folder) = launch(arguments);
        let printed = process.wait_for("postback listening on ");
        let line = printed.lines().find_map(|line| line.split("postback listening on ").nth(1));
        let url = line.expect("a URL").trim_end_matches('/').to_owned();
        Self { process, url, client: client(), _folder: folder }
    }

    async fn post(&self, path: &str, body: &'static str) -> reqwest::Response {
        self.client.post(format!("{}{path}", self.url)).body(body).send().await.unwrap()
    }

    /// Changes something by the API of the page, as the page does.
    async fn change(&self, method: reqwest::Method, path: &str, body: Value) -> reqwest::Response {
        let call = self.client.request(method, format!("{}/_inspector/api/{path}", self.url));
        call.header("x-postback-page", "1").json(&body).send().await.unwrap()
    }

    /// Waits for the next line of JSON that contains a text.
    fn line_with(&mut self, text: &str) -> Value {
        let printed = self.process.wait_for(text);
        let line = printed.lines().find(|line| line.starts_with('{') && line.contains(text)).expect("a line");
        serde_json::from_str(line).expect("JSON")
    }
}

fn launch(arguments: &[&str]) -> (Process, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    // No settings are read: a file with a mistake does not matter.
    std::fs::write(folder.path().join("postback.toml"), "mistake").unwrap();
    let mut all = vec!["listen"];
    if !arguments.iter().any(|argument| argument.parse::<u32>().is_ok()) {
        all.push("0");
    }
    all.extend(arguments);
    (Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &all, &[]), folder)
}

fn ended(arguments: &[&str]) -> (ExitStatus, String) {
    let (mut process, _folder) = launch(arguments);
    (process.ended(), process.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_a_line_of_json_with_the_exact_bytes() {
    let mut listener = Listener::start(&["--json", "--secret", SECRET]);
    let body = "{ \"id\":\"q-1\",  \"status\":\"completed\" }\n";
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
    let post = client().post(format!("{}/orders/x?y=1", listener.url)).body(body).header("webhook-id", "r-1");
    let post = post.header("webhook-timestamp", &time);
    let answer =
        post.header("webhook-signature", signature(SECRET, "r-1", &time, body.as_bytes())).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let line = listener.line_with("q-1");
    assert_eq!(
        (&line["body"], &line["path"], &line["inbox"]),
        (&json!(body), &json!("/orders/x?y=1"), &json!("orders"))
    );
    assert_eq!((&line["signature"], &line["answer"]["status"]), (&json!("valid"), &json!(204)), "{line}");
    let bytes = [0xff, 0x00, 0x1b, b'[', b'2', b'J'];
    let post = client().post(&listener.url).body(bytes.to_vec()).header("x-mark", "binary");
    assert_eq!(post.send().await.unwrap().status(), 204);
    let line = listener.line_with("binary");
    assert_eq!((&line["body_base64"], &line["signature"]), (&json!("/wAbWzJK"), &json!("unsigned")));
    let of_fal = r#"{"request_id":"q-2","gateway_request_id":"q-2","status":"OK","payload":7}"#;
    assert_eq!(client().post(&listener.url).body(of_fal).send().await.unwrap().status(), 204);
    let line = listener.line_with("q-2");
    assert_eq!((&line["format"], &line["id"], &line["status"]), (&json!("fal"), &json!("q-2"), &json!("OK")), "{line}");
    listener.process.interrupt();
    assert_eq!(listener.process.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_a_line_and_the_reason_of_a_wrong_signature() {
    let mut listener = Listener::start(&["--secret", SECRET]);
    let post = client().post(format!("{}/a\u{202e}b", listener.url)).body(r#"{"status":"failed","id":"\u001b[2J"}"#);
    let post = post.header("webhook-id", "r-1").header("webhook-timestamp", "1").header("webhook-signature", "v1,AAAA");
    post.send().await.unwrap();
    let printed = listener.process.wait_for("the clocks");
    assert!(printed.contains("signature invalid") && printed.contains("failed"), "{printed}");
    assert!(!printed.contains('\u{1b}') && !printed.contains(SECRET), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_waits_for_a_webhook() {
    let mut listener = Listener::start(&["--wait", "status=completed inbox=jobs", "--timeout", "60s"]);
    listener.post("/jobs", r#"{"status":"failed"}"#).await;
    listener.post("/other", r#"{"status":"completed"}"#).await;
    assert!(listener.process.is_running());
    // The sender gets its answer, although the program ends.
    assert_eq!(listener.post("/jobs", r#"{"status":"completed"}"#).await.status(), 204);
    assert_eq!(listener.process.ended().code(), Some(0), "{}", listener.process.output());
}

#[test]
fn exit_codes_tell_what_happened() {
    let (status, said) = ended(&["--wait", "status=completed", "--timeout", "100ms"]);
    assert!(status.code() == Some(1) && said.contains("100 ms are over"), "{status} {said}");
    for (arguments, expected) in [
        (&["--wait", "state=completed"][..], "no name \"state\""),
        (&["--timeout", "1s"], "--wait"),
        (&["--forward", "ftp://x/"], "use http or https"),
        (&["--secret", "whsec_secret!"], "--secret: "),
        (&["--secret-file", "missing"], "cannot read missing"),
        (&["70000"], "use a port"),
    ] {
        let (status, said) = ended(arguments);
        assert!(status.code() == Some(2) && said.contains(expected) && !said.contains("secret!"), "{status} {said}");
    }
    let (mut process, _folder) = launch(&["--wait", "status=completed"]);
    process.wait_for("listening on");
    process.terminate();
    assert_eq!(process.ended().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_passed_on_byte_for_byte() {
    // Another inspector is a target whose answers can be chosen.
    let mut target = Listener::start(&["--json"]);
    let mut listener = Listener::start(&["--forward", &format!("{}/hook?a=b", target.url)]);
    let body = "{ \"id\": \"q-1\" }\r\n\u{0}é";
    let post = || client().post(format!("{}/in", listener.url)).body(body).header("webhook-id", "r-1");
    assert_eq!(post().send().await.unwrap().status(), 204);
    let line = target.line_with("q-1");
    assert_eq!((&line["body"], &line["path"], &line["webhook_id"]), (&json!(body), &json!("/hook?a=b"), &json!("r-1")));
    let busy = json!({"answer": {"status": 503}, "retry_after": 7});
    assert_eq!(target.change(reqwest::Method::PUT, "inboxes/hook", busy).await.status(), 200);
    let answer = post().send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
    assert!(answer.text().await.unwrap().contains("told to answer so"));
    target.process.kill();
    assert_eq!(post().send().await.unwrap().status(), 502);
    listener.process.wait_for("did not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_misbehaves_as_it_is_told() {
    let listener = Listener::start(&[]);
    let set = async |behaviour: Value| {
        let answer = listener.change(reqwest::Method::PUT, "inboxes/bad", behaviour).await;
        assert_eq!(answer.status(), 200);
    };
    let post = || client().post(format!("{}/bad/x", listener.url)).body("{}");
    set(json!({"answer": {"status": 429}, "retry_after": 3, "times": 1})).await;
    let answer = post().send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"3".parse().unwrap()));
    assert_eq!(post().send().await.unwrap().status(), 204);
    set(json!({"answer": {"status": 410}})).await;
    assert_eq!(post().send().await.unwrap().status(), 410);
    assert_eq!(listener.post("/good", "{}").await.status(), 204);
    set(json!({"answer": "redirect"})).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let answer = client.post(format!("{}/bad", listener.url)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (302, &"/bad/redirected".parse().unwrap()));
    set(json!({"answer": "reset"})).await;
    assert!(post().send().await.unwrap_err().is_request());
    set(json!({"answer": "hang"})).await;
    let error = post().timeout(std::time::Duration::from_millis(200)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    set(json!({"answer": "drip"})).await;
    let mut answer = post().send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), ".");
    // A webhook that hangs does not keep the program from ending.
    drop(answer);
    listener.process.terminate();
}

/// Reads the headers that protect an answer.
fn is_protected(headers: &HeaderMap) -> bool {
    let policy = headers.get("content-security-policy").and_then(|policy| policy.to_str().ok()).unwrap_or_default();
    policy.starts_with("default-src 'none'")
        && !policy.contains("unsafe")
        && headers["x-content-type-options"] == "nosniff"
}
