//! The dashboard attacked: by what it shows, by pages of other sites, and by what is in its own address.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::Test;
use crate::browser::Browser;
use crate::dashboard::{link, start, submit_to};
use crate::inspector::{HOSTILE, foreign_page};

pub const TESTS: &[(&str, Test)] = &[
    ("the_dashboard_runs_nothing_that_it_shows", the_dashboard_runs_nothing_that_it_shows),
    ("the_dashboard_is_closed_to_other_pages", the_dashboard_is_closed_to_other_pages),
];

/// Answers everything with 500 and a hostile body. Returns its URL.
fn hostile_receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let body = HOSTILE.join("\n");
            let head =
                format!("HTTP/1.1 500 {}\r\nconnection: close\r\ncontent-length: {}\r\n", HOSTILE[0], body.len());
            let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        }
    });
    url
}

/// Fails if a text was taken for HTML or for code, or if it hides other text.
fn ran_nothing(browser: &Browser, place: &str) {
    let found = browser.run(
        "const bad = 'main img, main script, main svg, main iframe, a[href^=\"javascript:\" i]';
         return [window.pwned ?? null, ({}).x ?? null, document.querySelectorAll(bad).length,
             /[\\u202e\\u2066]/.test(document.body.textContent)]",
    );
    assert_eq!(found, json!([null, null, 0, false]), "{place}");
}

/// Calls the operator's API as the page does.
fn call(browser: &Browser, method: &str, path: &str, body: &Value) -> Value {
    let script = format!(
        "return fetch('api{path}', {{method: '{method}', body: {}, headers: {{'x-postback-page': '1',
             'content-type': 'application/json'}}}}).then(answer => answer.json())",
        json!(body.to_string())
    );
    browser.run(&script)
}

fn the_dashboard_runs_nothing_that_it_shows(browser: &mut Browser) {
    let path = "/%3Cimg%20src=x%20onerror=window.pwned=1%3E/\"'><script>window.pwned=1</script>";
    let url = json!(format!("{}{path}", hostile_receiver()));
    // The server keeps the name of the endpoint as a URL, and the settings show it.
    let server = start(&format!("[config]\nwebhook_url = {url}\n[delivery]\nschedule = [\"0s\"]\n"));
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    let mut shown = Vec::new();
    for text in HOSTILE {
        let work = json!({"text": text, (*text): text}).to_string();
        let id = submit_to(browser, "/echo", &json!({(*text): [text, {"__proto__": {"x": text}}]}).to_string());
        shown.extend([id, submit_to(browser, "/fail", &work), submit_to(browser, "/panic", &work)]);
        let told = json!({"steps": 1, "gate": "never", "detail": {(*text): text}}).to_string();
        shown.push(submit_to(browser, "/tell", &told));
        let metadata = json!({(*text): text}).to_string();
        let bytes: String = metadata.bytes().map(char::from).collect();
        let script = format!(
            "return fetch('api/requests?route=/bytes', {{method: 'POST', body: {}, headers: {{'x-postback-page': '1',
                 'postback-metadata': {}, 'x-hostile': {}}}}}).then(answer => answer.json()).then(answer => answer.id)",
            json!(text),
            json!(bytes),
            json!(text.bytes().map(char::from).collect::<String>()),
        );
        shown.push(browser.run(&script).as_str().expect("an id").to_owned());
    }
    for (n, text) in HOSTILE.iter().enumerate() {
        call(browser, "POST", "/origins/disable", &json!({"url": format!("https://{n}.example"), "reason": text}));
        let name = json!({"name": text.replace(['\u{202e}', '\u{2066}'], ""), "routes": [format!("/{text}")]});
        call(browser, "POST", "/tokens", &name);
    }
    for id in &shown {
        browser.run(&format!("location.hash = 'requests/{id}'"));
        browser.wait_until(&format!("document.querySelector('main h2')?.innerText === '{id}'"));
        ran_nothing(browser, id);
    }
    for view in [
        "requests",
        "deliveries",
        "dead",
        "origins",
        "tokens",
        "settings",
        "nodes",
        "try",
        "audit",
        "schedules",
        "overview",
    ] {
        browser.run(&format!("location.hash = '{view}'"));
        browser.wait_until(&format!("document.querySelector('nav a[aria-current]').hash === '#{view}'"));
        browser.wait_until("document.querySelector('main table, main form, main dl, main p')");
        ran_nothing(browser, view);
    }
    // One delivery with its attempts, whose answers are hostile.
    browser.run("location.hash = 'dead'");
    browser.wait_until("document.querySelector('td a')");
    browser.click("td a");
    browser.wait_for_text("webhook-id");
    browser.wait_for_text("<script>window.pwned=1</script>");
    ran_nothing(browser, "a delivery");
    // What is in the address, and what errors repeat of it.
    for text in HOSTILE {
        for address in ["requests/", "deliveries/", "try/", "requests?status=", "requests?x=", "deliveries?url=", ""] {
            browser.run(&format!("location.hash = {} + encodeURIComponent({})", json!(address), json!(text)));
            browser.wait_until("document.querySelector('main h2, main [role=alert], main p')");
            ran_nothing(browser, &format!("{address}{text}"));
        }
        browser.run(&format!("location.hash = {}", json!(format!("requests/{text}"))));
        browser.fill("#id", &text.replace(['\u{202e}', '\u{2066}'], ""));
        browser.press(crate::elements::key::ENTER);
        browser.wait_until("document.querySelector('#toast')?.hidden === false");
        ran_nothing(browser, text);
        browser.run("document.querySelector('#toast').hidden = true");
    }
    // The policy holds even if the page's own code made a mistake.
    let refused = "try { document.body.innerHTML = '<b>x</b>'; return 'shown' } catch (error) { return error.name }";
    assert_eq!(browser.run(refused), "TypeError");
    // The browser reports the refused text and the refused calls on the console.
    browser.console();
    browser.open("about:blank");
}

fn the_dashboard_is_closed_to_other_pages(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    let id = submit_to(browser, "/fail", r#"{"text":"private"}"#);
    let page = link(&server).split('#').next().unwrap().to_owned();
    let call = format!("{page}api");
    // The other page knows everything but the session, which the browser has.
    let script = format!(
        "window.results = []; const note = (name) => (value) => window.results.push(name + ': ' + value);
         const header = {{ 'x-postback-page': '1' }}, own = {{ credentials: 'include' }};
         fetch('{call}/requests/{id}', own).then(a => a.text()).then(note('read'), note('refused'));
         fetch('{call}/requests/{id}/retry', {{ method: 'POST', headers: header, ...own }}).then(a => a.text()).then(note('changed'), note('refused'));
         fetch('{call}/requests?route=/echo', {{ method: 'POST', mode: 'no-cors', body: '1', ...own }}).then(note('sent'), note('sent'));
         fetch('{page}session', {{ method: 'DELETE', mode: 'no-cors', ...own }}).then(note('sent'), note('sent'));
         const source = new EventSource('{call}/changes', {{ withCredentials: true }}); source.onmessage = note('event'); source.onerror = () => note('refused')('feed');
         const frame = document.createElement('iframe'); frame.src = '{page}'; document.body.append(frame); frame.onload = () => note('refused')('frame');",
    );
    browser.open(&foreign_page(script));
    browser.wait_until("window.results && window.results.length >= 6");
    let results = browser.run("return window.results").to_string();
    assert!(!results.contains("private") && !results.contains("changed") && !results.contains("read:"), "{results}");
    browser.console();
    // The session goes on, and nothing was made.
    browser.open(&page);
    browser.wait_for_text("delivered since the start");
    browser.click_text("Requests");
    browser.wait_until("document.querySelectorAll('tbody tr').length === 1");
    browser.leaves_without_errors();
}
