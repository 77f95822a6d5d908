//! The view "Try it" in a browser: forms of routes, which make requests and follow them.

use serde_json::json;

use crate::Test;
use crate::browser::{Browser, PHONE};
use crate::dashboard::{HOSTILE, link, start};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("a_route_is_tried_by_its_form_and_followed_to_its_end", a_route_is_tried_by_its_form_and_followed_to_its_end),
    ("a_payload_without_a_form_is_written_as_text", a_payload_without_a_form_is_written_as_text),
];

fn go(browser: &Browser, route: &str) {
    browser.run(&format!("location.hash = 'try/' + encodeURIComponent({})", json!(route)));
    browser.wait_until(&format!("document.querySelector('select[name=route]')?.value === {}", json!(route)));
}

fn a_route_is_tried_by_its_form_and_followed_to_its_end(browser: &mut Browser) {
    // The callers of this server need a token, and the operator does not.
    let hash = format!("k3v9x2m7qa:{}", "9f86d081".repeat(8));
    let server = start(&format!("[[server.token]]\nname = \"ci\"\nhash = {hash:?}\n"));
    browser.open(&link(&server));
    browser.click_text("Try it");
    go(browser, "/described");
    // The example of the route is in the form.
    browser.wait_until("document.querySelector('.field textarea').value === 'hello'");
    browser.is_accessible();
    browser.fill(".field textarea", HOSTILE);
    browser.choose(".field select", "0");
    browser.click_text("Add");
    browser.press("first");
    browser.click_text("JSON");
    browser.wait_until("document.querySelector('#editor').value.includes('\"size\": \"small\"')");
    browser.wait_until("document.querySelector('#editor').value.includes('\"first\"')");
    browser.is_accessible();
    browser.click_text("Form");
    browser.click_text("Submit");
    browser.wait_for_text("accepted as");
    browser.wait_until("document.querySelector('.tag.good:not(#live)')?.innerText === 'completed'");
    browser.wait_for_text("\"tags\": 1");
    assert_eq!(browser.run("return window.ran === undefined && document.images.length === 0"), true);
    browser.screenshot("dashboard-try");
    // A run is followed while it goes on.
    go(browser, "/gated");
    browser.fill(".field textarea", "gate");
    browser.click_text("Headers: when it runs, priority, metadata");
    browser.is_accessible();
    browser.fill("#header-1", r#"{"order":"77"}"#);
    browser.click_text("Submit");
    browser.wait_for_text("in_progress");
    std::fs::write(server.folder.path().join("gate"), "").unwrap();
    browser.wait_until("document.querySelector('.tag.good:not(#live)')?.innerText === 'completed'");
    // What the server refuses is said, and nothing is lost.
    browser.fill("#header-1", "{");
    browser.click_text("Submit");
    browser
        .wait_until("document.querySelector('form [role=alert]')?.innerText.includes('postback-metadata is not JSON')");
    browser.wait_until("document.querySelector('.field textarea').value === 'gate'");
    browser.resize(PHONE);
    assert!(browser.fits());
    browser.screenshot("dashboard-try-phone");
    // The browser logs the refused call.
    browser.console();
    browser.open("about:blank");
}

fn a_payload_without_a_form_is_written_as_text(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.click_text("Try it");
    // JSON without a schema.
    go(browser, "/echo");
    browser.fill("#editor", r#"{"large":12345678901234567890,"again":[]}"#);
    browser.click_text("Submit");
    browser.wait_for_text("completed");
    browser.wait_for_text("12345678901234567890");
    browser.fill("#editor", "{");
    browser.press(key::TAB);
    browser.click_text("Submit");
    browser.wait_until("document.querySelector('form [role=alert]')?.innerText.includes('JSON')");
    // Bytes, with a content type.
    go(browser, "/bytes");
    browser.wait_until("document.querySelector('#editor').value === \"it's text\"");
    browser.fill("#type", "text/plain");
    browser.is_accessible();
    browser.click_text("Submit");
    browser.wait_for_text("\"text/plain\"");
    // No payload.
    go(browser, "/flaky");
    browser.wait_for_text("This route takes no payload.");
    browser.click_text("Submit");
    browser.wait_for_text("run 1 goes wrong");
    browser.console();
    browser.open("about:blank");
}
