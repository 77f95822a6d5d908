//! The pages are light. With `POSTBACK_FIGURES=1`, this also prints their weight and when they are first painted.

use serde_json::{Value, json};

use crate::Test;
use crate::browser::Browser;
use crate::dashboard::{link, start};
use crate::inspector::Inspector;

pub const TESTS: &[(&str, Test)] = &[("both_pages_are_light", both_pages_are_light)];

/// The most bytes that a page may load, without compression.
const MOST: u64 = 200 << 10;
/// How often a page is loaded for the figures.
const LOADS: usize = 15;

fn both_pages_are_light(browser: &mut Browser) {
    let server = start("");
    browser.open(&link(&server));
    browser.wait_until("document.querySelectorAll('.chart canvas').length === 6");
    is_light(browser, "the dashboard", "main h2");
    browser.leaves_without_errors();
    let inspector = Inspector::listen();
    browser.open(&inspector.page());
    is_light(browser, "the inspector", "h1");
    browser.leaves_without_errors();
}

/// Fails if the page that is open has loaded too much. `shown` is there as soon as the page is.
fn is_light(browser: &Browser, name: &str, shown: &str) {
    browser.wait_until(&format!("document.querySelector({shown:?})"));
    // Answers of the server's own API are data, and no part of the page.
    let sizes = "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
        .filter(one => !/[/](api|session)([/]|$)/.test(new URL(one.name).pathname))
        .map(one => one.decodedBodySize).reduce((sum, size) => sum + size, 0)";
    let bytes = browser.run(sizes).as_u64().expect("a number");
    assert!((10_000..MOST).contains(&bytes), "{name} has loaded {bytes} bytes");
    if std::env::var_os("POSTBACK_FIGURES").is_none() {
        return;
    }
    let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
    let mut times = Vec::new();
    for load in 0..LOADS {
        // The first half of the loads finds nothing in the cache of the browser.
        let cached = load >= LOADS / 2;
        browser.devtools("Network.enable", json!({}));
        browser.devtools("Network.setCacheDisabled", json!({"cacheDisabled": !cached}));
        browser.reload();
        browser.wait_until("performance.getEntriesByName('first-contentful-paint').length === 1");
        times.push((cached, browser.run(paint).as_f64().expect("a time")));
    }
    let median = |of: bool| {
        let mut times: Vec<f64> = times.iter().filter(|(cached, _)| *cached == of).map(|(_, time)| *time).collect();
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let files: Value = browser.run("return performance.getEntriesByType('resource').length");
    println!(
        "{name}: {:.1} KiB in all, {files} loads; first contentful paint after {:.0} ms with an empty cache, {:.0} ms with a full one",
        f64::from(u32::try_from(bytes).expect("few")) / 1024.0,
        median(false),
        median(true)
    );
}
