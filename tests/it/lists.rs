//! `GET R`: the requests of a route, page by page.

use serde_json::{Value, json};

use crate::support::Server;

async fn list(server: &Server, path: &str) -> (u16, Value) {
    let get = server.client.get(server.path(path)).header("accept", "application/problem+json");
    let response = get.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn ids(page: &Value) -> Vec<&str> {
    page["requests"].as_array().unwrap().iter().map(|request| request["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_lists_its_requests_newest_first() {
    for store in ["", "[store]\nurl = \"memory:\"\n"] {
        let server = Server::start(store);
        let (status, empty) = list(&server, "/echo").await;
        assert_eq!((status, empty), (200, json!({"requests": [], "next": null})));
        let mut submitted = Vec::new();
        for n in 0..25 {
            submitted.push(server.submit("/echo", json!(n)).await);
            server.submit("/fail", json!({"text": "no"})).await;
        }
        submitted.reverse();
        for id in &submitted {
            server.settled("/echo", id).await;
        }
        let (_, all) = list(&server, "/echo").await;
        assert_eq!(ids(&all), submitted);
        let first = &all["requests"][0];
        assert_eq!((&first["status"], all["next"].is_null()), (&json!("completed"), true));
        assert!(first["created"].as_str().unwrap() <= first["finished"].as_str().unwrap(), "{first}");
        let (mut paged, mut path) = (Vec::new(), "/echo?limit=10".to_owned());
        loop {
            let (_, page) = list(&server, &path).await;
            paged.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/echo?limit=10&cursor={next}");
        }
        assert_eq!(paged, submitted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered() {
    let server = Server::start("[worker]\nconcurrency = 1\n");
    let runs = server.submit("/gated", json!({"gate": "gate"})).await;
    server.running("/gated", &runs).await;
    let waits = server.submit("/gated", json!({"gate": "gate"})).await;
    let cancelled = server.submit("/gated", json!({"gate": "gate"})).await;
    server.client.delete(server.path(&format!("/gated/{cancelled}"))).send().await.unwrap();
    for (query, expected) in [
        ("status=in_queue", vec![&waits]),
        ("status=in_progress", vec![&runs]),
        ("status=cancelled", vec![&cancelled]),
        ("status=completed", vec![]),
        ("status=in_queue,in_progress", vec![&waits, &runs]),
        ("status=cancelled&status=in_queue", vec![&cancelled, &waits]),
        ("created_after=2020-01-01T00:00:00Z", vec![&cancelled, &waits, &runs]),
        ("created_before=2020-01-01T00:00:00%2B01:00", vec![]),
    ] {
        let (status, page) = list(&server, &format!("/gated?{query}")).await;
        assert_eq!((status, ids(&page)), (200, expected.into_iter().map(String::as_str).collect()), "{query}");
    }
    let (_, all) = list(&server, "/gated").await;
    let created = |n: usize| all["requests"][n]["created"].as_str().unwrap();
    let (_, between) =
        list(&server, &format!("/gated?created_after={}&created_before={}", created(2), created(0))).await;
    assert_eq!(ids(&between), [&waits], "both times are left out");
    for (query, parameter) in [
        ("status=done", "status"),
        ("created_after=yesterday", "created_after"),
        ("created_before=1", "created_before"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
    ] {
        let (status, problem) = list(&server, &format!("/gated?{query}")).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{query}: {problem}");
    }
}
