//! The view "Try it" in a browser: forms of routes, which make requests and follow them.

use serde_json::json;

use crate::Test;
use crate::browser::{Browser, PHONE};
use crate::dashboard::{HOSTILE, link, start};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("a_route_is_tried_by_its_form_and_followed_to_its_end", a_route_is_tried_by_its_form_and_followed_to_its_end),
    ("a_form_follows_its_schema_and_is_bounded", a_form_follows_its_schema_and_is_bounded),
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

fn a_form_follows_its_schema_and_is_bounded(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    let tree = json!({"type": "object", "required": ["left"], "properties": {
        "left": {"$ref": "#/components/schemas/Tree"}, "right": {"anyOf": [{"$ref": "#/components/schemas/Tree"}, {"type": "null"}]}}});
    let many: serde_json::Map<_, _> = (0..500)
        .map(|n| (format!("m{n}"), json!({"type": "object", "properties": {"x": {"type": "string"}}})))
        .collect();
    let schemas = json!({
        "Tree": tree,
        "Loop": {"$ref": "#/components/schemas/Loop"},
        "Many": {"type": "object", "properties": many},
        "Size": {"oneOf": [{"const": "small", "description": "a small one"}, {"enum": ["large", "huge"]}]},
        "All": {"type": "object", "required": ["name", "count", "price", "on", "size", "maybe", "inner", "list"], "properties": {
            "name": {"type": "string"}, "count": {"type": "integer", "format": "uint64"}, "price": {"type": "number"},
            "on": {"type": "boolean"}, "size": {"$ref": "#/components/schemas/Size"}, "maybe": {"type": ["string", "null"]},
            "inner": {"type": "object", "required": ["at"], "properties": {"at": {"type": "string", "format": "date-time"}, "note": {"type": "string"}}},
            "list": {"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}}, "other": {"type": "integer", "default": 7},
            (HOSTILE): {"type": "string", "description": HOSTILE}, "__proto__x": {"type": "string"}}},
    });
    let script = format!(
        "return import('/_postback/form.js').then(({{formOf}}) => {{
            const schemas = {schemas}, of = name => formOf({{$ref: '#/components/schemas/' + name}}, schemas);
            const value = {{name: 'n\"', count: 3, price: 1.5, on: true, size: 'huge', maybe: null, inner: {{at: 'now'}},
                list: [{{k: 1}}, {{k: 2}}], map: {{a: 1}}}};
            const all = of('All');
            all.write(value);
            document.querySelector('main').replaceChildren(all.element);
            const first = all.read();
            const count = [...all.element.querySelectorAll('label')].find(one => one.innerText === 'count');
            const field = document.getElementById(count.htmlFor);
            field.value = '18446744073709551615';
            const large = all.read().includes('\"count\":18446744073709551615,');
            field.value = '1.5';
            let refused = '';
            try {{ all.read(); }} catch (error) {{ refused = error.message; }}
            const many = of('Many'), tree = of('Tree');
            return [JSON.parse(first), large, refused, many.element.querySelectorAll('input, textarea').length < 1200,
                tree.element.querySelectorAll('textarea').length > 0, of('Loop'), formOf({{}}, {{}})];
        }})"
    );
    let found = browser.run(&script);
    let expected = json!({"name": "n\"", "count": 3, "price": 1.5, "on": true, "size": "huge", "maybe": null,
        "inner": {"at": "now"}, "list": [{"k": 1}, {"k": 2}], "map": {"a": 1}});
    assert_eq!(found[0], expected, "{found}");
    assert_eq!((&found[1], &found[2]), (&json!(true), &json!("count: “1.5” is not a whole number")));
    assert_eq!((&found[3], &found[4]), (&json!(true), &json!(true)), "deep and wide types end in fields for JSON");
    assert_eq!((&found[5], &found[6]), (&json!(null), &json!(null)), "what says nothing has no form");
    browser.is_accessible();
    assert_eq!(browser.run("return window.ran === undefined && document.images.length === 0"), true);
    browser.leaves_without_errors();
}
