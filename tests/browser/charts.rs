//! The charts of the dashboard: drawn after work was done, still there after a restart, by route and by origin.

use postback_tests::{Answer, Receiver, eventually};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::Test;
use crate::browser::{Browser, DESKTOP, PHONE};
use crate::dashboard::{Server, link, start, submit};

pub const TESTS: &[(&str, Test)] = &[
    ("what_happened_is_drawn_and_survives_a_restart", what_happened_is_drawn_and_survives_a_restart),
    ("charts_are_used_without_a_mouse_and_on_a_phone", charts_are_used_without_a_mouse_and_on_a_phone),
    ("a_day_is_drawn_from_the_store", a_day_is_drawn_from_the_store),
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

/// The figures of ten minutes of a day: quiet at night, with one trouble of the receiver in the afternoon.
fn figures(minute: u32) -> String {
    let day = f64::from(minute) / 1440.0;
    let busy = 1.0 - (day * std::f64::consts::TAU).cos();
    let trouble = if (900..960).contains(&minute) { 1.0 } else { 0.0 };
    let noise = f64::from(minute.wrapping_mul(2_654_435_761) >> 24) / 256.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers, none below zero")]
    let count = |value: f64| value as u64;
    let accepted = count(4_000.0 + 14_000.0 * busy + 2_000.0 * noise);
    let (failed, dead) = (accepted / 100, count(trouble * 90.0));
    let late = accepted * count(trouble * 100.0) / 140;
    json!({
        "accepted": accepted, "completed": accepted - failed, "failed": failed, "delivered": accepted - late,
        "failed_attempts": late + accepted / 200, "dead": dead,
        "runs": {"us": accepted * 40_000, "n": [0, accepted / 9, accepted / 3, accepted / 2, 300, 90, 40, 20, 10]},
        "deliveries": {"us": accepted * 20_000, "n": [0, accepted / 4, accepted / 2, accepted / 5, late, late / 2, 40, 20, 10]},
        "waiting": {"queued": count(4.0 + 9.0 * busy * noise), "running": count(2.0 + 3.0 * busy), "undelivered": 6 + late,
            "oldest_request_ms": 40 + count(200.0 * busy), "oldest_delivery_ms": 30 + late * 6},
    })
    .to_string()
}

fn a_day_is_drawn_from_the_store(browser: &mut Browser) {
    let mut server = start("[store]\nurl = \"sqlite:postback.db\"\n");
    server.process.terminate();
    assert_eq!(server.process.ended().code(), Some(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = server.folder.path().join("postback.db");
        let mut store = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        let mut rows = store.begin().await.unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 600;
        for minute in (0..1_440_u32).step_by(10) {
            let at = i64::try_from((now - 144 + u64::from(minute) / 10) * 600_000_000).unwrap();
            let insert = "INSERT OR REPLACE INTO series (kind, name, step, at, figures) VALUES (0, '', 10, ?, ?)";
            sqlx::query(insert).bind(at).bind(figures(minute)).execute(&mut *rows).await.unwrap();
        }
        rows.commit().await.unwrap();
        store.close().await.unwrap();
    });
    server.restart();
    browser.open(&link(&server));
    browser.click_text("24 hours");
    wait_for_chart(browser, "24 hours", "accepted [0-9.]+, at most [2-9][0-9]");
    browser.wait_until(&format!("{DRAWN}.every(drawn => drawn > 2000)"));
    browser.is_accessible();
    // The README shows this picture.
    let image = browser.screenshot("dashboard-day");
    assert!(std::fs::metadata(image).unwrap().len() < 250 << 10, "the screenshot is too large for the README");
    browser.leaves_without_errors();
}
