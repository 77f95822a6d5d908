//! What a person does with the elements of a page. Each element is named by a CSS selector, and waited for.

use postback_tests::eventually;
use serde_json::{Value, json};

use crate::browser::Browser;

/// The name that WebDriver gives to the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are not characters, as WebDriver names them.
pub mod key {
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const TAB: &str = "\u{e004}";
}

impl Browser {
    /// Does something with the first element that matches. Waits until there is such an element, and it can be used.
    fn with(&self, selector: &str, what: &str, body: &Value) -> Value {
        eventually(&format!("{what} of {selector}"), || {
            let found = self.send("/element", Some(json!({"using": "css selector", "value": selector})))?;
            let id = found[ELEMENT].as_str().ok_or("no id")?;
            self.send(&format!("/element/{id}/{what}"), (!body.is_null()).then(|| body.clone()))
        })
    }

    pub fn click(&self, selector: &str) {
        self.with(selector, "click", &json!({}));
    }

    /// Clicks the button, link, tab or label with this visible text or accessible name.
    pub fn click_text(&self, text: &str) {
        let mark = "for (const old of document.querySelectorAll('[data-test-mark]')) old.removeAttribute('data-test-mark');
            const found = [...document.querySelectorAll('button, a, summary, label, [role=tab], [role=option]')].find(one =>
                one.checkVisibility() && [one.innerText.trim(), one.getAttribute('aria-label')].includes(TEXT));
            if (found) found.setAttribute('data-test-mark', '');
            return Boolean(found)";
        let script = mark.replace("TEXT", &json!(text).to_string());
        eventually(&format!("something to click with the text {text:?}"), || {
            match self.send("/execute/sync", Some(json!({"script": script, "args": []}))) {
                Ok(Value::Bool(true)) => Ok(()),
                other => Err(other),
            }
        });
        self.click("[data-test-mark]");
    }

    /// Replaces the text of a field.
    pub fn fill(&self, selector: &str, text: &str) {
        self.with(selector, "clear", &json!({}));
        if !text.is_empty() {
            self.with(selector, "value", &json!({"text": text}));
        }
    }

    /// Chooses the option of a `select` by its value.
    pub fn choose(&self, selector: &str, value: &str) {
        self.click(&format!("{selector} option[value={}]", json!(value)));
    }

    /// Presses keys, without a click before. They go to the element that has the focus.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            [json!({"type": "keyDown", "value": key.to_string()}), json!({"type": "keyUp", "value": key.to_string()})]
        });
        let actions = json!([{"type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>()}]);
        self.send("/actions", Some(json!({"actions": actions}))).unwrap();
    }

    /// The visible text of the first element that matches.
    pub fn text(&self, selector: &str) -> String {
        self.with(selector, "text", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// The number of elements that match now.
    pub fn count(&self, selector: &str) -> u64 {
        self.run(&format!("return document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }
}
