//! The dashboard while the server works: rows change where they are, and a flood costs the server little.

use postback_tests::{Answer, Receiver};
use serde_json::json;

use crate::Test;
use crate::browser::{Browser, PHONE};
use crate::dashboard::{link, start, start_program, submit, submit_to};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("rows_change_where_they_are", rows_change_where_they_are),
    ("a_flood_of_changes_is_few_calls", a_flood_of_changes_is_few_calls),
    ("a_page_that_was_hidden_or_cut_off_misses_nothing", a_page_that_was_hidden_or_cut_off_misses_nothing),
    ("keys_go_everywhere", keys_go_everywhere),
    ("the_nodes_and_the_audit_are_shown", the_nodes_and_the_audit_are_shown),
    ("schedules_are_shown", schedules_are_shown),
];

const LIVE: &str = "document.getElementById('live').innerText === 'live'";

/// Waits for this number of rows with this text in the first table.
fn rows(browser: &Browser, count: usize, text: &str) {
    let text = json!(text);
    let all = "[...document.querySelectorAll('tbody tr')]";
    browser.wait_until(&format!("{all}.filter(row => row.innerText.includes({text})).length === {count}"));
}

fn rows_change_where_they_are(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_until(LIVE);
    browser.click_text("Requests");
    let first = submit_to(browser, "/gated", r#"{"gate":"gate"}"#);
    rows(browser, 1, "in_progress");
    // The row has the focus. It stays where it is, and says that there are new ones.
    browser.press("j");
    submit(browser, "second");
    submit(browser, "third");
    browser.wait_for_text("2 new");
    rows(browser, 1, "");
    browser.is_accessible();
    std::fs::write(server.folder.path().join("gate"), "").unwrap();
    rows(browser, 1, "completed");
    let focus = browser.run("return document.activeElement.innerText");
    assert_eq!(focus, json!(first), "a row that changes keeps the focus of its link");
    browser.click_text("2 new");
    rows(browser, 3, "completed");
    // Without the focus on a row, new rows come by themselves.
    browser.run("document.activeElement.blur()");
    submit(browser, "fourth");
    rows(browser, 4, "completed");
    browser.leaves_without_errors();
}

fn a_flood_of_changes_is_few_calls(browser: &mut Browser) {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let server = start(&format!("[config]\nwebhook_url = {:?}\n", receiver.url("/")));
    browser.open(&link(&server));
    browser.wait_until(LIVE);
    browser.click_text("Deliveries");
    browser.wait_for_text("Nothing here.");
    let flood = "const before = performance.getEntriesByType('resource').length, begun = performance.now();
        const one = n => fetch('/echo', {method: 'POST', headers: {'content-type': 'application/json'}, body: String(n)});
        const all = [];
        for (let turn = 0; turn < 10; turn += 1) all.push(...await Promise.all([...Array(40).keys()].map(one)));
        if (!all.every(answer => answer.ok)) throw new Error('a request was refused');
        const read = performance.getEntriesByType('resource').slice(before).filter(one => one.name.includes('/api/'));
        return [read.length, Math.ceil((performance.now() - begun) / 1000)];";
    let counted = browser.run(&format!("return (async () => {{{flood}}})()"));
    let (calls, seconds) = (counted[0].as_u64().unwrap(), counted[1].as_u64().unwrap());
    assert!(calls <= seconds + 2, "{calls} calls in {seconds} s");
    // What is shown at the end is true.
    browser.wait_until("document.querySelectorAll('tbody tr').length === 50");
    rows(browser, 50, "delivered");
    browser.leaves_without_errors();
}

fn a_page_that_was_hidden_or_cut_off_misses_nothing(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_until(LIVE);
    browser.click_text("Requests");
    submit(browser, "first");
    rows(browser, 1, "completed");
    let hide = |hidden: bool| {
        let script = "Object.defineProperty(document, 'hidden', {value: HIDDEN, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'))";
        browser.run(&script.replace("HIDDEN", if hidden { "true" } else { "false" }));
    };
    hide(true);
    submit(browser, "while it is hidden");
    browser.run("performance.clearResourceTimings()");
    hide(false);
    rows(browser, 2, "completed");
    browser.devtools("Network.enable", json!({}));
    let cut = |offline: bool| {
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        browser.devtools("Network.emulateNetworkConditions", conditions);
    };
    cut(true);
    hide(true);
    hide(false);
    browser.wait_for_text("not live");
    cut(false);
    submit(browser, "while it was cut off");
    rows(browser, 3, "completed");
    browser.wait_until(LIVE);
    // The browser logs the calls that found no server.
    browser.console();
    browser.open("about:blank");
}

fn keys_go_everywhere(browser: &mut Browser) {
    let receiver = Receiver::answering(|_, _| Answer::Status(204));
    let server = start(&format!("[config]\nwebhook_url = {:?}\n", receiver.url("/")));
    browser.open(&link(&server));
    browser.wait_until(LIVE);
    let id = submit(browser, "x");
    browser.press("?");
    browser.wait_for_text("search by id");
    browser.is_accessible();
    browser.press(key::ESCAPE);
    browser.wait_until("!document.querySelector('dialog')");
    browser.press("3");
    rows(browser, 1, "delivered");
    browser.press(&format!("j{}", key::ENTER));
    browser.wait_for_text("webhook-id");
    // The search finds requests by the begin of their ids, and deliveries.
    let delivery = browser.run("return location.hash.split('/')[1]").as_str().unwrap().to_owned();
    browser.press(&format!("/{}{}", &id[..30], key::ENTER));
    browser.wait_until(&format!("location.hash === '#requests/{id}'"));
    browser.fill("#id", &delivery);
    browser.press(key::ENTER);
    browser.wait_until(&format!("location.hash === '#deliveries/{delivery}'"));
    browser.fill("#id", "nobody");
    browser.press(key::ENTER);
    browser.wait_for_text("no request and no delivery has this id");
    submit(browser, "y");
    browser.fill("#id", &id[..3]);
    browser.press(key::ENTER);
    browser.wait_until(&format!("location.hash === '#requests?id={}'", &id[..3]));
    rows(browser, 2, "completed");
    // The search for an id that is not found is a refused call, which the browser logs.
    browser.console();
    browser.open("about:blank");
}

fn schedules_are_shown(browser: &mut Browser) {
    let server = start_program(env!("CARGO_BIN_EXE_schedule"), "config.webhook_url = \"http://127.0.0.1:1/\"\n");
    browser.open(&link(&server));
    browser.click_text("Schedules");
    rows(browser, 1, "/cron/measure\t*/10 * * * * *\tUTC\t");
    rows(browser, 1, "/cron/clean_up\t30 2 * * *\tEurope/Berlin\tnot yet\t");
    browser.is_accessible();
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.leaves_without_errors();
    // A program without schedules says so.
    let server = start("");
    browser.open(&link(&server));
    browser.click_text("Schedules");
    browser.wait_for_text("The program has no schedules.");
    browser.leaves_without_errors();
}

fn the_nodes_and_the_audit_are_shown(browser: &mut Browser) {
    let settings =
        "[delivery]\nper_origin = 9\n[[delivery.endpoint]]\nurl = \"https://a.example/in\"\nconcurrency = 2\n";
    let server = start(settings);
    browser.open(&link(&server));
    browser.click_text("Nodes");
    browser.wait_for_text("One node uses the store.");
    rows(browser, 1, "\tlive\t");
    rows(browser, 1, "delivery.per_origin\t9\t9");
    rows(browser, 1, "concurrency of https://a.example/in\t2\t2");
    browser.is_accessible();
    // The audit has what was just done.
    browser.click_text("Tokens");
    browser.fill("input[name=name]", "ci");
    browser.click_text("New token");
    browser.click_text("Make it");
    browser.wait_for_text("Nobody can show it again");
    browser.click_text("Audit");
    rows(browser, 1, "token.new");
    browser.is_accessible();
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.leaves_without_errors();
}
