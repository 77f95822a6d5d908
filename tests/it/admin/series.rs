//! What happened over time: counted while the server works, and still there after a restart.

use postback_tests::{Answer, Receiver, eventually_async};
use serde_json::{Value, json};

use super::{get, refused};
use crate::support::Server;

fn sum(series: &Value, group: &str, line: &str) -> u64 {
    series[group][line].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).sum()
}

/// The number of values of a line that are known.
fn known(series: &Value, group: &str, line: &str) -> usize {
    series[group][line].as_array().unwrap().iter().filter(|value| !value.is_null()).count()
}

/// The numbers that this test makes: accepted, completed and failed requests, deliveries, failed attempts, dead ones.
fn numbers(series: &Value) -> [u64; 6] {
    [
        sum(series, "requests", "accepted"),
        sum(series, "requests", "completed"),
        sum(series, "requests", "failed"),
        sum(series, "deliveries", "delivered"),
        sum(series, "deliveries", "failed_attempts"),
        sum(series, "deliveries", "dead"),
    ]
}

async fn wait_for(server: &Server, query: &str, expected: [u64; 6]) -> Value {
    let path = format!("/series?{query}");
    eventually_async("the numbers", async || {
        let series = get(server, &path).await;
        if numbers(&series) == expected { Ok(series) } else { Err(series) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_counted_and_survives_a_restart() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 1 { 500 } else { 204 }));
    let url = receiver.url("/in");
    let origin = url.trim_end_matches("/in");
    let settings = format!("[config]\nwebhook_url = {url:?}\n[delivery]\nschedule = [\"0s\"]\n");
    let mut server = Server::start(&settings);
    for state in ["delivered", "dead"] {
        let id = server.submit("/echo", json!("x")).await;
        server.delivery("/echo", &id, |delivery| delivery["state"] == state).await;
    }
    let id = server.submit("/fail", json!({})).await;
    server.settled("/fail", &id).await;
    let expected = [3, 2, 1, 2, 1, 1];
    let all = wait_for(&server, "range=15m", expected).await;
    // What is not written yet is seen, but what waits is known at the end of a minute only.
    assert_eq!((all["at"].as_array().unwrap().len(), &all["step_seconds"]), (15, &json!(60)));
    assert!(known(&all, "runs", "p50") >= 1 && known(&all, "delivery_times", "p99") >= 1, "{all}");
    assert_eq!((&all["routes"], &all["origins"]), (&json!(["/echo", "/fail"]), &json!([origin])));
    let of_route = wait_for(&server, "route=/echo", [2, 2, 0, 0, 0, 0]).await;
    assert_eq!((of_route["at"].as_array().unwrap().len(), known(&of_route, "runs", "mean") >= 1), (60, true));
    let of_origin = format!("origin={origin}&range=24h");
    let deliveries = [0, 0, 0, expected[3], 1, 1];
    wait_for(&server, &of_origin, deliveries).await;

    server.stop();
    server.restart();
    for (query, expected, points) in
        [("range=15m", expected, 15), ("range=7d", expected, 168), (&*of_origin, deliveries, 144)]
    {
        let series = get(&server, &format!("/series?{query}")).await;
        assert_eq!(numbers(&series), expected, "{query}: {series}");
        assert_eq!(series["at"].as_array().unwrap().len(), points);
        assert!(query.starts_with("origin") || known(&series, "waiting", "queued") >= 1, "{series}");
    }
    let id = server.submit("/echo", json!("y")).await;
    server.settled("/echo", &id).await;
    let more = [expected[0] + 1, expected[1] + 1];
    eventually_async("what came after the restart", async || {
        let series = get(&server, "/series?range=24h").await;
        if numbers(&series)[..2] == more { Ok(()) } else { Err(series) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_about_the_past_is_refused_and_an_unknown_name_has_zeros() {
    let server = Server::start("");
    let path = |query: &str| format!("/series?{query}");
    for (query, said) in [
        ("range=30d", "`range` must be `15m`, `1h`, `24h` or `7d`"),
        ("route=/echo&origin=https://example.com", "give one of them"),
        ("rout=/echo", "unknown query parameter `rout`"),
    ] {
        let why = refused(&server, "GET", &path(query), "", 400).await;
        assert!(why.contains(said), "{why}");
    }
    let series = get(&server, &path("route=/%3Cimg%20src=x%3E")).await;
    assert_eq!((numbers(&series), known(&series, "waiting", "queued")), ([0; 6], 0));
}
