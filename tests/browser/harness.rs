//! Checks that the browser of the tests notices what is wrong with a page.

use crate::Test;
use crate::browser::{Browser, DESKTOP, PHONE};
use crate::elements::key;

pub const TESTS: &[(&str, Test)] = &[
    ("a_bad_page_is_noticed", a_bad_page_is_noticed),
    ("a_good_page_is_used_with_mouse_and_keyboard", a_good_page_is_used_with_mouse_and_keyboard),
];

/// A page in a `data:` URL. `body` is percent-encoded where a URL needs that.
fn page(body: &str) -> String {
    let page = format!("<!doctype html><html lang=en><title>t</title><main><h1>h</h1>{body}</main></html>");
    let escaped = page.replace('%', "%25").replace('#', "%23").replace('\n', " ");
    format!("data:text/html,{escaped}")
}

fn a_bad_page_is_noticed(browser: &mut Browser) {
    browser.open(&page("<img src='data:,'><p style='width:3000px'>wide<script>throw new Error('thrown')</script>"));
    let violations = browser.violations();
    assert!(violations.iter().any(|violation| violation.contains("image-alt")), "{violations:?}");
    browser.resize(PHONE);
    assert!(!browser.fits());
    browser.resize(DESKTOP);
    let console = browser.console();
    assert!(console.iter().any(|line| line.contains("thrown")), "{console:?}");
    // The console is read only once.
    browser.has_no_errors();
}

fn a_good_page_is_used_with_mouse_and_keyboard(browser: &mut Browser) {
    browser.open(&page(
        "<style>@media (prefers-color-scheme: dark) { body { background: black; color: white } }</style>
         <label>Name <input id=name></label> <label>Size <select id=size><option value=s>S<option value=l>L</select></label>
         <button id=b onclick='said.textContent = `hello ${document.querySelector(`input`).value} ${size.value}`'>Say</button>
         <p id=said></p>",
    ));
    browser.fill("#name", "first");
    browser.fill("#name", "you");
    browser.choose("#size", "l");
    browser.click_text("Say");
    browser.wait_for_text("hello you l");
    browser.press(&format!("x{}{}", key::TAB, key::ENTER));
    assert_eq!((browser.text("#said").as_str(), browser.count("button")), ("hello you l", 1));
    browser.prefer_dark(true);
    assert_eq!(browser.run("return getComputedStyle(document.body).backgroundColor"), "rgb(0, 0, 0)");
    browser.is_accessible();
    assert!(browser.fits());
    let image = std::fs::metadata(browser.screenshot("harness")).expect("a file");
    assert!(image.len() > 1_000);
}
