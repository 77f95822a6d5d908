//! The charts of the dashboard: drawn after work was done, still there after a restart, by route and by origin.

use postback_tests::{Answer, Receiver, eventually};

use crate::Test;
use crate::browser::{Browser, DESKTOP, PHONE};
use crate::dashboard::{Server, link, start, submit};

pub const TESTS: &[(&str, Test)] = &[
    ("what_happened_is_drawn_and_survives_a_restart", what_happened_is_drawn_and_survives_a_restart),
    ("charts_are_used_without_a_mouse_and_on_a_phone", charts_are_used_without_a_mouse_and_on_a_phone),
];

/// A server whose receiver refuses one of its reports, after the reports of these numbers of requests were attempted.
fn worked(browser: &Browser, receiver: &Receiver, requests: usize) -> Server {
    let url = receiver.url("/in");
    let server = start(&format!("[config]\nwebhook_url = {url:?}\n[delivery]\nschedule = [\"0s\"]\n"));
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    for _ in 0..requests {
        submit(browser, "x");
    }
    eventually("the reports", || match receiver.all().len() {
        seen if seen == requests => Ok(()),
        seen => Err(seen),
    });
    server
}

fn receiver() -> Receiver {
    Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }))
}

/// Asks for the range again until the charts tell what the text says. `wanted` is a regular expression.
fn wait_for_chart(browser: &Browser, range: &str, wanted: &str) {
    eventually(wanted, || {
        browser.click_text(range);
        let script = format!(
            "return new Promise(resolve => setTimeout(resolve, 100)).then(() =>
                [...document.querySelectorAll('.chart')].map(chart => chart.getAttribute('aria-label') ?? '').join('\\n'))
                .then(text => [/{wanted}/.test(text), text])"
        );
        let told = browser.run(&script);
        if told[0] == true { Ok(()) } else { Err(told[1].clone()) }
    });
}

/// The numbers of pixels with a colour, of each chart.
const DRAWN: &str = "[...document.querySelectorAll('.chart canvas')].map(canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let drawn = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) drawn += 1;
    return drawn;
})";

fn what_happened_is_drawn_and_survives_a_restart(browser: &mut Browser) {
    let receiver = receiver();
    let mut server = worked(browser, &receiver, 4);
    wait_for_chart(browser, "15 min", "accepted [0-9.<]+, at most <?[0-9.]*[1-9]");
    wait_for_chart(browser, "15 min", "failed attempts [0-9.<]+, at most <?[0-9.]*[1-9]");
    wait_for_chart(browser, "1 hour", "half within <?[0-9.]+ m?s, at most");
    assert_eq!(browser.count(".chart canvas"), 6);
    browser.wait_until(&format!("{DRAWN}.every(drawn => drawn > 300)"));
    // The ranges are told by the button that is pressed.
    browser.click_text("7 days");
    browser.wait_until("document.querySelector('button[aria-pressed=true]').innerText === '7 days'");
    // One route has its three charts, one origin its two.
    let origin = receiver.url("");
    browser.choose("select[name=scope]", "route=/echo");
    browser.wait_until("document.querySelectorAll('.chart canvas').length === 3");
    browser.choose("select[name=scope]", &format!("origin={}", origin.trim_end_matches('/')));
    browser.wait_until("document.querySelectorAll('.chart canvas').length === 2");
    browser.choose("select[name=scope]", "");
    browser.wait_until("document.querySelectorAll('.chart canvas').length === 6");

    browser.leaves_without_errors();
    server.process.terminate();
    assert_eq!(server.process.ended().code(), Some(0));
    server.restart();
    browser.open(&link(&server));
    browser.wait_for_text("delivered since the start");
    wait_for_chart(browser, "15 min", "accepted [0-9.<]+, at most <?[0-9.]*[1-9]");
    wait_for_chart(browser, "24 hours", "waiting 0, at most [0-9]+; oldest");
    browser.wait_until(&format!("{DRAWN}.every(drawn => drawn > 300)"));
    browser.wait_for_text("delivered since the start\n0");
    browser.screenshot("dashboard-charts");
    browser.leaves_without_errors();
}

fn charts_are_used_without_a_mouse_and_on_a_phone(browser: &mut Browser) {
    let receiver = receiver();
    let _server = worked(browser, &receiver, 2);
    wait_for_chart(browser, "1 hour", "accepted [0-9.<]+, at most <?[0-9.]*[1-9]");
    // The legend tells the point under the pointer.
    browser.run(
        "const over = document.querySelector('.u-over'), box = over.getBoundingClientRect();
         over.dispatchEvent(new MouseEvent('mousemove', {clientX: box.left + 5, clientY: box.top + 5, bubbles: true}))",
    );
    browser.wait_until("/accepted 0\\s[^]*\\d\\d:\\d\\d/.test(document.querySelector('.legend').innerText)");
    // The numbers are there as a table, too, and the newest comes first.
    browser.run("document.querySelector('.charts summary').focus()");
    browser.press(crate::elements::key::ENTER);
    browser.wait_until("document.querySelectorAll('.charts details[open] tbody tr').length === 60");
    browser.wait_until(
        "/[1-9]/.test([...document.querySelectorAll('.charts details[open] tbody tr')].slice(0, 3).map(row => row.querySelector('td').innerText).join())",
    );
    browser.is_accessible();
    browser.prefer_dark(true);
    browser.wait_until(&format!("{DRAWN}.every(drawn => drawn > 300)"));
    browser.screenshot("dashboard-charts-dark");
    browser.resize(PHONE);
    browser.wait_until("document.querySelector('.chart canvas').getBoundingClientRect().right <= window.innerWidth");
    assert!(browser.fits());
    browser.screenshot("dashboard-charts-phone");
    browser.resize(DESKTOP);
    browser.wait_until("document.querySelector('.chart canvas').getBoundingClientRect().width > 350");
    browser.leaves_without_errors();
}
