//! The dashboard in a browser: opened by the link, used with mouse and keyboard, attacked by what it shows.

use std::path::Path;

use postback_tests::{Answer, Process, Receiver, eventually};
use serde_json::json;

use crate::Test;
use crate::browser::{Browser, PHONE};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("an_operator_opens_the_dashboard_by_the_link", an_operator_opens_the_dashboard_by_the_link),
    ("a_dead_delivery_is_sent_again_from_the_dashboard", a_dead_delivery_is_sent_again_from_the_dashboard),
    ("dead_letters_are_sent_again_by_choice_and_by_filter", dead_letters_are_sent_again_by_choice_and_by_filter),
    ("the_progress_of_a_request_is_seen", the_progress_of_a_request_is_seen),
    ("an_origin_is_disabled_and_enabled", an_origin_is_disabled_and_enabled),
    ("a_token_is_made_shown_once_and_revoked", a_token_is_made_shown_once_and_revoked),
    ("the_settings_are_shown_with_masked_secrets", the_settings_are_shown_with_masked_secrets),
];

pub const HOSTILE: &str = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>";

pub struct Server {
    pub process: Process,
    pub folder: tempfile::TempDir,
}

impl Server {
    /// Starts the server again. The process before must have ended.
    pub fn restart(&mut self) {
        self.process = serve(env!("CARGO_BIN_EXE_workload"), self.folder.path());
    }
}

pub fn start(settings: &str) -> Server {
    start_program(env!("CARGO_BIN_EXE_workload"), settings)
}

pub fn start_program(program: &str, settings: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    Server { process: serve(program, folder.path()), folder }
}

fn serve(program: &str, folder: &Path) -> Process {
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let mut process = Process::start(program, folder, &arguments, &[]);
    process.ready();
    process
}

/// Returns the link that the server has printed.
pub fn link(server: &Server) -> String {
    let output = server.process.output();
    let word = output.split_whitespace().find(|word| word.contains("/_postback/#token="));
    word.expect("a link").to_owned()
}

/// Submits a text to the route `/echo`. Returns the id of the request.
pub fn submit(browser: &Browser, text: &str) -> String {
    submit_to(browser, "/echo", &json!(text).to_string())
}

/// Submits JSON as the page's own server is called. Returns the id of the request.
pub fn submit_to(browser: &Browser, route: &str, payload: &str) -> String {
    let call = format!(
        "return fetch({}, {{method: 'POST', headers: {{'content-type': 'application/json'}}, body: {}}})
            .then(answer => answer.json()).then(answer => answer.id)",
        json!(route),
        json!(payload)
    );
    browser.run(&call).as_str().expect("an id").to_owned()
}

fn an_operator_opens_the_dashboard_by_the_link(browser: &mut Browser) {
    let server = start("");
    let link = link(&server);
    let page = link.split('#').next().unwrap();
    browser.open(page);
    browser.wait_for_text("open the link that the server printed");
    browser.is_accessible();
    browser.open("about:blank");
    browser.open(&link);
    browser.wait_for_text("delivered since the start");
    assert_eq!(browser.run("return location.hash"), "", "the token does not stay in the address");
    assert_eq!(browser.run("return document.cookie"), "", "no script reads the session");
    let id = submit(browser, HOSTILE);
    browser.press("/");
    browser.press(&format!("{id}{}", key::ENTER));
    browser.wait_for_text("run_began");
    browser.wait_for_text("<img src=x onerror=");
    browser.wait_for_text("completed");
    assert_eq!(browser.run("return window.ran === undefined && document.images.length === 0"), true);
    browser.click_text("Requests");
    browser.wait_for_text(&id);
    browser.choose("select[name=status]", "failed");
    browser.wait_for_text("Nothing here.");
    browser.choose("select[name=status]", "completed");
    browser.wait_for_text(&id);
    browser.is_accessible();
    browser.prefer_dark(true);
    // The ground of a dark page is dark.
    browser.wait_until("getComputedStyle(document.body).backgroundColor === 'rgb(15, 19, 24)'");
    browser.is_accessible();
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.screenshot("dashboard-phone");
    // The session lasts over a reload, and not over a logout.
    browser.reload();
    browser.wait_for_text(&id);
    browser.click_text("Log out");
    browser.wait_for_text("open the link that the server printed");
    browser.leaves_without_errors();
}

fn a_dead_delivery_is_sent_again_from_the_dashboard(browser: &mut Browser) {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let url = receiver.url("/in");
    let server = start(&format!("[config]\nwebhook_url = {url:?}\n[delivery]\nschedule = [\"0s\"]\n"));
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    let id = submit(browser, "x");
    browser.run(&format!("location.hash = 'requests/{id}'"));
    browser
        .wait_until("document.querySelector('a[href^=\"#deliveries/\"]') && document.body.innerText.includes('dead')");
    browser.click("td a[href^='#deliveries/']");
    browser.wait_for_text("500");
    browser.click_text("Send again");
    browser.wait_for_text("delivered");
    browser.wait_for_text("204");
    browser.is_accessible();
    // The timeline of the request has both attempts, each with its answer, and its last event comes last.
    browser.run(&format!("location.hash = 'requests/{id}'"));
    browser.wait_until(
        "/accepted[^]*completed[^]*attempt 1[^]*500 after[^]*attempt 1[^]*204 after/.test(
            document.querySelector('[aria-label=Timeline]')?.innerText)",
    );
    browser.is_accessible();
    browser.screenshot("dashboard");
    browser.leaves_without_errors();
}

/// Waits until the server has this number of deliveries that succeeded.
fn wait_for_delivered(browser: &Browser, wanted: u64) {
    let count = "return fetch('api/deliveries?status=delivered', {headers: {'x-postback-page': '1'}})
        .then(answer => answer.json()).then(page => page.items.length)";
    eventually("deliveries", || match browser.run(count).as_u64() {
        Some(count) if count == wanted => Ok(()),
        other => Err(other),
    });
}

fn dead_letters_are_sent_again_by_choice_and_by_filter(browser: &mut Browser) {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before < 3 { 500 } else { 204 }));
    let url = receiver.url("/in");
    let server = start(&format!("[config]\nwebhook_url = {url:?}\n[delivery]\nschedule = [\"0s\"]\n"));
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    for text in ["a", "b", "c"] {
        submit(browser, text);
    }
    browser.click_text("Dead letters");
    browser.wait_until("document.querySelectorAll('input[name=chosen]').length === 3");
    // Nothing is chosen, so nothing can be sent.
    browser.wait_until(
        "[...document.querySelectorAll('button')].find(one => one.innerText === 'Send 0 chosen again').disabled",
    );
    browser.click("tr:nth-child(1) input[name=chosen]");
    browser.click("tr:nth-child(3) input[name=chosen]");
    browser.is_accessible();
    browser.click_text("Send 2 chosen again");
    browser.wait_for_text("Replay done: 2 sent again, 0 not");
    browser.wait_for_text("Send 0 chosen again");
    wait_for_delivered(browser, 2);
    browser.click("tr:nth-child(2) td button");
    wait_for_delivered(browser, 3);
    // A question comes before all that match are sent. Nothing is sent if the answer is no.
    browser.click_text("Send all that match again");
    browser.wait_for_text("Send every delivery with the status dead again? There are 3.");
    browser.is_accessible();
    browser.press(key::ESCAPE);
    browser.wait_until("!document.querySelector('dialog')");
    browser.fill("input[name=url]", "http://elsewhere.example/");
    browser.press(key::TAB);
    browser.wait_for_text("Nothing here.");
    browser.click_text("Send all that match again");
    browser.click_text("Send all again");
    browser.wait_for_text("Replay done: 0 sent again, 0 not");
    browser.fill("input[name=url]", &url);
    browser.press(key::TAB);
    browser.wait_until("document.querySelectorAll('input[name=chosen]').length === 3");
    browser.click_text("Send all that match again");
    browser.click_text("Send all again");
    browser.wait_for_text("Replay done: 3 sent again, 0 not");
    wait_for_delivered(browser, 6);
    browser.screenshot("dashboard-letters");
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.screenshot("dashboard-dead");
    browser.leaves_without_errors();
}

fn an_origin_is_disabled_and_enabled(browser: &mut Browser) {
    let receiver = Receiver::start();
    let url = receiver.url("/in");
    let origin = url.trim_end_matches("/in");
    let server = start(&format!("[config]\nwebhook_url = {url:?}\n"));
    browser.open(&link(&server));
    browser.click_text("Origins");
    browser.wait_for_text("Disabled URLs and origins");
    browser.fill("input[name=name]", origin);
    browser.fill("input[name=reason]", HOSTILE);
    browser.click_text("Disable");
    browser.wait_for_text("operator");
    submit(browser, "x");
    // The report is held, and both lists say so.
    browser
        .wait_until("[...document.querySelectorAll('tr')].filter(row => /\\t1\\t/.test(row.innerText)).length === 2");
    assert_eq!(receiver.all().len(), 0);
    browser.is_accessible();
    assert_eq!(browser.run("return window.ran === undefined && document.images.length === 0"), true);
    browser.screenshot("dashboard-origins");
    browser.click_text("Enable");
    browser.wait_for_text("1 held reports are sent now");
    wait_for_delivered(browser, 1);
    browser.wait_until("document.body.innerText.split('Nothing here.').length === 3");
    // A wrong name is refused with the reason.
    browser.fill("input[name=name]", "elsewhere");
    browser.click_text("Disable");
    browser.wait_until("document.querySelector('form.panel [role=alert]')?.innerText.startsWith('`url`')");
    browser.console();
    browser.open("about:blank");
}

fn a_token_is_made_shown_once_and_revoked(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.click_text("Tokens");
    browser.wait_for_text("New token");
    browser.fill("input[name=name]", "partner");
    browser.fill("input[name=routes]", "/echo");
    browser.click_text("Limits: expiry, hosts of webhooks, rate, waiting requests");
    for (name, wrong, right) in [
        ("expires", "soon", "2999-01-31"),
        ("webhook_hosts", "https://a.example/", "a.example, *.b.example"),
        ("rate", "often", "100/min"),
        ("max_queued", "0", "5"),
        ("max_queued_bytes", "much", "64 MiB"),
    ] {
        let field = format!("input[name={name}]");
        browser.fill(&field, wrong);
        browser.click_text("New token");
        // The server finds the first ones. Before, the page asks whether this shall be the first token.
        if ["expires", "webhook_hosts", "rate"].contains(&name) {
            browser.click_text("Make it");
        }
        browser.wait_until("document.querySelector('form.panel .bad')");
        browser.run("document.querySelector('form.panel .bad').remove()");
        browser.fill(&field, right);
    }
    browser.console();
    browser.is_accessible();
    browser.click_text("New token");
    browser.wait_for_text("From then on, calls without a token are refused.");
    browser.click_text("Make it");
    browser.wait_for_text("Nobody can show it again");
    let secret = browser.text("#secret");
    browser.wait_until("document.querySelector('tbody')?.innerText.includes('partner')");
    browser.wait_for_text("100/min; 5 waiting; 64.0 MiB waiting; webhooks to a.example, *.b.example");
    browser.wait_for_text("2999-01-31");
    browser.is_accessible();
    let status = |browser: &Browser| {
        let headers = json!({"content-type": "application/json", "authorization": format!("Bearer {secret}")});
        let call = format!(
            "return fetch('/echo', {{method: 'POST', headers: {headers}, body: '1'}}).then(answer => answer.status)"
        );
        browser.run(&call)
    };
    assert_eq!(status(browser), 200);
    browser.reload();
    browser.wait_until("document.querySelector('tbody')?.innerText.includes('partner')");
    let shown = browser.run("return document.documentElement.innerHTML");
    assert!(!shown.as_str().unwrap().contains(&secret), "the secret is shown only once");
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.screenshot("dashboard-tokens");
    browser.click_text("Revoke");
    browser.wait_for_text("Revoke the token partner?");
    browser.click_text("Revoke it");
    browser.wait_until("!document.querySelector('td button')");
    assert_eq!(status(browser), 401);
    // The browser logs the refused call.
    browser.console();
    browser.open("about:blank");
}

fn the_settings_are_shown_with_masked_secrets(browser: &mut Browser) {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let server = start(&format!("[delivery]\nsecrets = [\"{secret}\"]\nconcurrency = 7\n"));
    browser.open(&link(&server));
    browser.click_text("Settings");
    browser.wait_for_text("delivery.secrets");
    browser.wait_for_text("postback.toml");
    browser.is_accessible();
    let shown = browser.run("return document.documentElement.innerHTML");
    assert!(!shown.as_str().unwrap().contains(secret));
    browser.click_text("Read again");
    browser.wait_for_text("Nothing has changed.");
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.leaves_without_errors();
}

fn the_progress_of_a_request_is_seen(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    let payload = json!({"steps": 4, "gate": "gate", "detail": {"page": HOSTILE}});
    let id = submit_to(browser, "/tell", &payload.to_string());
    browser.run(&format!("location.hash = 'requests/{id}'"));
    browser.wait_until("document.querySelector('progress')?.value === 0.75");
    browser.wait_for_text("75 %");
    browser.wait_for_text("step 3");
    browser.is_accessible();
    browser.screenshot("dashboard-progress");
    assert_eq!(browser.run("return window.ran === undefined && document.images.length === 0"), true);
    std::fs::write(server.folder.path().join("gate"), "").unwrap();
    browser.wait_for_text("the gate is open");
    browser.wait_until("document.querySelector('progress')?.value === 1");
    browser.wait_for_text("completed");
    // A run that waits has saved a checkpoint.
    let id = submit_to(browser, "/resuming", &json!({"gate": "resumes"}).to_string());
    browser.run(&format!("location.hash = 'requests/{id}'"));
    browser.wait_for_text("1 B, saved");
    browser.screenshot("dashboard-checkpoint");
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.leaves_without_errors();
}
