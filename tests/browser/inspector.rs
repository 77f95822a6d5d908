//! The inspector's page: a person watches webhooks arrive, makes a receiver misbehave, sends again, compares.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use postback_tests::{Process, client, signature};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Test;
use crate::browser::{Browser, DESKTOP, PHONE};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("inspector_shows_webhooks_live", shows_webhooks_live),
    ("inspector_lets_a_person_watch_retries", lets_a_person_watch_retries),
    ("inspector_runs_nothing_of_a_webhook", runs_nothing_of_a_webhook),
    ("inspector_copies_what_came", copies_what_came),
    ("inspector_is_closed_to_other_pages", is_closed_to_other_pages),
    ("inspector_fits_a_phone", fits_a_phone),
];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A program in a folder of its own, with the URL of its inspector.
pub struct Inspector {
    process: Process,
    url: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Inspector {
    /// Starts `listen`.
    pub fn listen() -> Self {
        Self::start(&["listen", "0", "--secret", SECRET], "", "postback listening on ")
    }

    fn start(arguments: &[&str], settings: &str, before_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
        let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), arguments, &[]);
        let printed = process.wait_for(before_url);
        let rest = printed.split(before_url).nth(1).unwrap();
        let url = rest.split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { process, url, runtime, client: client(), _folder: folder }
    }

    pub fn page(&self) -> String {
        format!("{}/_inspector/", self.url)
    }

    /// Posts a body with these headers. Returns the status of the answer.
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let mut post = self.client.post(format!("{}{path}", self.url)).body(body.to_vec());
        for (name, value) in headers {
            post = post.header(*name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.runtime.block_on(async { post.send().await.unwrap().status().as_u16() })
    }

    /// Posts a report that is signed.
    fn report(&self, path: &str, id: &str, body: &Value) -> u16 {
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
        let body = serde_json::to_vec(body).unwrap();
        let signature = signature(SECRET, id, &time, &body);
        let headers = [("webhook-id", id), ("webhook-timestamp", &time), ("webhook-signature", &signature)];
        self.post(path, &[headers.as_slice(), &[("content-type", "application/json")]].concat(), &body)
    }
}

fn shows_webhooks_live(browser: &mut Browser) {
    let inspector = Inspector::listen();
    browser.open(&inspector.url);
    browser.wait_for_text("No webhook yet");
    browser.is_accessible();
    browser.prefer_dark(false);
    let result =
        json!({"id": "order-1", "status": "completed", "result": {"sum": 12345678901234567890_u64, "items": ["a"]}});
    inspector.report("/orders", "msg-1", &result);
    browser.wait_for_text("order-1");
    browser.click(".hit");
    browser.wait_for_text("matches the key");
    // A number is shown as it came, and not rounded.
    browser.wait_for_text("\"sum\": 12345678901234567890");
    let wrong = [("webhook-id", "msg-2"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    inspector.post("/orders", &wrong, br#"{"id":"order-2","status":"failed"}"#);
    inspector.post("/other", &[], &[0, 159, 146, 150]);
    browser.wait_for_text("3 webhooks");
    // The newest one is on top. The keys choose, and the list shows what is chosen.
    browser.press("kk");
    browser.wait_until("document.querySelector('.hit[aria-current=true]')?.innerText.includes('/other')");
    browser.wait_for_text("000000  00 9f 92 96");
    browser.press("j");
    browser.wait_for_text("the limit is 300 s");
    browser.is_accessible();
    browser.prefer_dark(false);
    // The filter is one for the list, the page and the command.
    browser.press("/");
    browser.press("status=failed");
    browser.wait_for_text("1 webhook\n");
    assert!(browser.text("#list").contains("order-2"));
    browser.fill("#filter", "state=failed");
    browser.wait_for_text("no name \"state\"");
    browser.fill("#filter", "order-1");
    browser.wait_until(
        "document.querySelectorAll('.hit').length === 1 && document.querySelector('#fault').textContent === ''",
    );
    browser.fill("#filter", "");
    browser.choose("#inbox", "other");
    browser.wait_for_text("1 webhook\n");
    browser.choose("#inbox", "");
    browser.wait_for_text("3 webhooks");
    // A reload loses nothing, and a clear everything.
    browser.reload();
    browser.wait_for_text("3 webhooks");
    browser.click("#clear");
    browser.wait_for_text("No webhook yet");
    inspector.report("/orders", "msg-3", &json!({"id": "order-3", "status": "completed"}));
    browser.wait_for_text("order-3");
    browser.leaves_without_errors();
}

fn lets_a_person_watch_retries(browser: &mut Browser) {
    let settings = format!("[delivery]\nschedule = [\"0s\", \"1s\", \"1s\"]\nsecrets = [{SECRET:?}]\n");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--inspect=127.0.0.1:0"];
    let mut inspector = Inspector::start(&arguments, &settings, "webhooks to ");
    let server = inspector.process.ready();
    browser.open(&inspector.page());
    browser.click("#misbehave");
    browser.choose("#answer-kind", "500");
    browser.fill("#answer-times", "2");
    browser.click_text("Set");
    browser.wait_for_text("default: 500, 2 times");
    browser.is_accessible();
    browser.prefer_dark(false);
    browser.click_text("Close");
    for (n, text) in ["thumbnail of a cat", "thumbnail of a dog", "thumbnail of a fish"].iter().enumerate() {
        let post =
            inspector.client.post(format!("{server}/echo")).json(&json!({"file": format!("{n}.png"), "is": text}));
        inspector.runtime.block_on(async { assert_eq!(post.send().await.unwrap().status(), 200) });
        if n == 0 {
            browser.wait_for_text("3 attempts");
        }
    }
    browser.wait_for_text("5 webhooks");
    // The entry with three attempts is the oldest.
    browser.click("#list > li:last-child .hit");
    browser.wait_for_text("3 attempts with this webhook-id");
    browser.wait_for_text("signature valid");
    browser.wait_until("document.querySelectorAll('[aria-label=attempts] tbody tr').length === 3");
    let answers =
        browser.run("return [...document.querySelectorAll('[aria-label=attempts] .tag')].map(tag => tag.innerText)");
    assert_eq!(answers, json!(["500", "500", "204"]));
    // The bad answers are used up.
    browser.wait_until("document.querySelector('#misbehave').textContent === 'Answers…'");
    let image = browser.screenshot("inspector");
    assert!(std::fs::metadata(image).unwrap().len() < 150 << 10, "the screenshot is too large for the README");
    // Attempts have the same bytes, and another time and signature.
    browser.press("d");
    browser.wait_for_text("lines differ");
    let differences = browser.text(".diff");
    assert!(differences.contains("webhook-timestamp") && !differences.contains("− {"), "{differences}");
    browser.is_accessible();
    browser.prefer_dark(false);
    browser.press(key::ESCAPE);
    // Sent again, edited, to another inbox.
    browser.press("r");
    browser.fill("#send-url", &format!("{}/again", inspector.url));
    browser.fill("#send-repeat", "2");
    browser.click("dialog summary");
    browser.fill("#send-body", r#"{"id":"edited","status":"completed"}"#);
    browser.is_accessible();
    browser.prefer_dark(false);
    browser.click("#send-now");
    browser.wait_until("document.querySelectorAll('#send-results li').length === 2");
    browser.click_text("Close");
    browser.wait_for_text("7 webhooks");
    browser.fill("#filter", "inbox=again signature=valid");
    browser.wait_for_text("edited");
    browser.wait_for_text("2 attempts");
    browser.leaves_without_errors();
}

/// Texts that do something where they are taken for HTML, JavaScript, a URL, a selector or a path.
pub const HOSTILE: &[&str] = &[
    "<img src=x onerror=window.pwned=1>",
    "<script>window.pwned=1</script>",
    "\"><svg onload=window.pwned=1>",
    "javascript:window.pwned=1",
    "'-(window.pwned=1)-'",
    "${window.pwned=1}{{window.pwned=1}}",
    "</textarea></option></pre><script>window.pwned=1</script>",
    "__proto__",
    "constructor",
    "\u{202e}txt.exe\u{2066}",
];

fn runs_nothing_of_a_webhook(browser: &mut Browser) {
    let inspector = Inspector::listen();
    browser.open(&inspector.page());
    let mut sent = 0;
    for text in HOSTILE {
        let body =
            serde_json::to_vec(&json!({"id": text, "status": text, (*text): [text, {"__proto__": {"x": text}}]}))
                .unwrap();
        let escaped = text.replace(['<', '>', '"', ' ', '{', '}', '\'', '`'], "_");
        inspector.post(
            &format!("/{escaped}/{escaped}?{escaped}"),
            &[("webhook-id", text), ("x-hostile", text), ("webhook-signature", text)],
            &body,
        );
        inspector.post(&format!("/{escaped}"), &[("content-type", "text/html")], text.as_bytes());
        sent += 2;
    }
    // Bodies that are hard to show.
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let wide = format!("[{}0]", "0,".repeat(300_000));
    let long = format!("{{\"status\":\"completed\",\"x\":\"{}\"}}", "é\\u0000".repeat(60_000));
    for body in [
        deep.as_bytes(),
        wide.as_bytes(),
        long.as_bytes(),
        &[0xff; 100_000],
        "\u{feff}{}".as_bytes(),
        b"{\"a\":1e999,\"a\":2}",
    ] {
        inspector.post("/bodies", &[], body);
        sent += 1;
    }
    browser.wait_for_text(&format!("{sent} webhooks"));
    let rows = browser.count(".hit");
    assert_eq!(rows, sent);
    for _ in 0..rows {
        browser.press("j");
        // The detail is that of the chosen webhook. Its number is the last fact.
        browser.wait_until(
            "document.querySelector('.hit[aria-current=true]')?.dataset.number ===
             document.querySelector('.facts dd:last-child')?.textContent",
        );
    }
    // The dialogs show texts of webhooks too.
    browser.press("d");
    browser.wait_for_text("lines differ");
    browser.press(key::ESCAPE);
    browser.press("r");
    browser.wait_for_text("Send again");
    browser.press(key::ESCAPE);
    browser.click("#misbehave");
    browser.choose("#answer-kind", "reset");
    browser.choose("#answer-inbox", "__proto__");
    browser.click_text("Set");
    browser.wait_for_text("__proto__: reset");
    browser.click_text("Close");
    assert_eq!(browser.run("return [window.pwned ?? null, ({}).x ?? null, document.querySelectorAll('main img, main script, main svg, main iframe').length]"), json!([null, null, 0]));
    assert_eq!(browser.run("return document.querySelector('#list').textContent.includes('\\u202e')"), false);
    // The policy holds even if the page's own code made a mistake.
    let refused = "try { document.body.innerHTML = '<b>x</b>'; return 'shown' } catch (error) { return error.name }";
    assert_eq!(browser.run(refused), "TypeError");
    // The browser reports the refused text on the console.
    browser.console();
    browser.leaves_without_errors();
}

fn copies_what_came(browser: &mut Browser) {
    let inspector = Inspector::listen();
    browser.open(&inspector.page());
    let bodies: [&[u8]; 6] =
        [b"{}", b"'; touch pwned; '$(touch pwned)`touch pwned`!\n\r\n", b"@/etc/passwd", b"a\0b", &[0xff, 0xfe], b""];
    for (n, body) in bodies.into_iter().enumerate() {
        inspector.post("/a/it's$(touch pwned)?x=y&z", &[("x-mark", "$(touch pwned)'`touch pwned`\"")], body);
        let script = format!(
            "const {{ load }} = await import('/_inspector/detail.js'); const copy = await import('/_inspector/copy.js');
             const hit = await load({}); return [await copy.asCurl(hit), copy.asJson(hit), copy.asTest(hit)]",
            2 * n + 1
        );
        let copied = browser.run(&format!("return (async () => {{ {script} }})()"));
        let (curl, json) = (copied[0].as_str().unwrap(), copied[1].as_str().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let status =
            Command::new("bash").args(["-c", curl]).current_dir(folder.path()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success() && folder.path().read_dir().unwrap().next().is_none(), "{curl}");
        // What curl has sent is the next webhook. It is the same, except for what curl says about itself.
        let show = |number: usize, what: &str| {
            let get = inspector.client.get(format!("{}api/hits/{number}{what}", inspector.page()));
            inspector.runtime.block_on(async { get.send().await.unwrap().bytes().await.unwrap() })
        };
        assert_eq!(show(2 * n + 2, "/body"), body);
        let again: Value = serde_json::from_slice(&show(2 * n + 2, "")).unwrap();
        let first: Value = serde_json::from_str(json).unwrap();
        let mark = |hit: &Value| hit["headers"].as_array().unwrap().iter().find(|pair| pair[0] == "x-mark").cloned();
        assert_eq!((&first["path"], &first["method"], mark(&first)), (&again["path"], &again["method"], mark(&again)));
        assert!(copied[2].as_str().unwrap().contains("postback::verify(&[secret], &headers, body)"));
    }
    browser.leaves_without_errors();
}

/// Serves one page at an address of its own, for every path.
pub fn foreign_page(script: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 8_192]);
            let page = format!("<!doctype html><title>foreign</title><body><p>foreign</p><script>{script}</script>");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n", page.len());
            let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{page}").as_bytes());
        }
    });
    url
}

fn is_closed_to_other_pages(browser: &mut Browser) {
    let inspector = Inspector::listen();
    inspector.report("/", "msg-1", &json!({"id": "private", "status": "completed"}));
    let api = format!("{}api", inspector.page());
    let script = format!(
        "window.results = []; const note = (name) => (value) => window.results.push(name + ': ' + value);
         const header = {{ 'x-postback-page': '1' }};
         fetch('{api}/hits/1').then(a => a.text()).then(note('read'), note('refused'));
         fetch('{api}/hits', {{ method: 'DELETE', headers: header, body: '{{}}' }}).then(a => a.text()).then(note('cleared'), note('refused'));
         fetch('{api}/hits/1/resend', {{ method: 'POST', mode: 'no-cors', body: '{{}}' }}).then(note('sent'), note('sent'));
         const source = new EventSource('{api}/feed'); source.onmessage = note('event'); source.onerror = () => note('refused')('feed');
         const frame = document.createElement('iframe'); frame.src = '{api}/../'; document.body.append(frame); frame.onload = () => note('refused')('frame');
         const form = Object.assign(document.createElement('form'), {{ method: 'post', action: '{api}/hits/1/resend', target: 'x' }});
         document.body.append(form);",
    );
    browser.open(&foreign_page(script));
    browser.wait_until("window.results && window.results.length >= 5");
    let results = browser.run("return window.results").to_string();
    assert!(!results.contains("private") && !results.contains("cleared") && !results.contains("read:"), "{results}");
    browser.console();
    browser.open(&inspector.page());
    browser.wait_for_text("private");
    browser.wait_for_text("1 webhook\n");
    browser.leaves_without_errors();
}

fn fits_a_phone(browser: &mut Browser) {
    let inspector = Inspector::listen();
    let result = json!({"id": "order-1", "status": "completed", "result": {"text": "x".repeat(300)}});
    inspector.report(&format!("/orders/{}", "long".repeat(30)), "msg-1", &result);
    browser.open(&inspector.page());
    browser.wait_for_text("order-1");
    browser.resize(PHONE);
    assert!(browser.fits(), "the list is too wide");
    browser.screenshot("inspector_phone_list");
    browser.click(".hit");
    browser.wait_for_text("matches the key");
    assert!(browser.fits(), "the detail is too wide");
    browser.is_accessible();
    browser.screenshot("inspector_phone");
    browser.click_text("← Back");
    browser.wait_for_text("1 webhook");
    assert!(browser.fits());
    browser.press("?");
    browser.wait_for_text("this help");
    browser.is_accessible();
    browser.press(key::ESCAPE);
    browser.resize(DESKTOP);
    browser.prefer_dark(true);
    browser.screenshot("inspector_dark");
    browser.leaves_without_errors();
}
