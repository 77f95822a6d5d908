//! `GET R/{id}/result`: the result alone, whole and in parts.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::Server;

/// Sends a GET with these headers. Returns the status, the headers and the body of the answer.
async fn get(server: &Server, path: &str, fields: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let get = fields.iter().fold(server.client.get(server.path(path)), |get, (name, value)| get.header(*name, *value));
    let response = get.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone(), response.bytes().await.unwrap().to_vec())
}

async fn done(server: &Server, payload: &Value) -> (String, String) {
    let id = server.submit("/echo", payload.clone()).await;
    server.settled("/echo", &id).await;
    (format!("/echo/{id}/result"), id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_its_own_bytes_with_a_tag() {
    for store in ["", "[store]\nurl = \"memory:\"\n"] {
        let server = Server::start(store);
        for payload in [json!({"a": [1, 2.5, "ü"]}), json!("x".repeat(9_000)), json!("ü".repeat(1_000_000))] {
            let (path, _) = done(&server, &payload).await;
            let (status, headers, body) = get(&server, &path, &[]).await;
            assert_eq!((status, &headers["content-type"]), (200, &"application/json".parse().unwrap()));
            assert_eq!(body, serde_json::to_vec(&payload).unwrap());
            assert_eq!(headers["content-length"], body.len().to_string().as_str());
            assert_eq!(headers["accept-ranges"], "bytes");
            assert_eq!(headers["vary"], "accept-encoding");
            let tag = headers["etag"].to_str().unwrap();
            assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
            let (status, again, body) = get(&server, &path, &[("if-none-match", tag)]).await;
            assert_eq!((status, again["etag"].to_str().unwrap(), body.len()), (304, tag, 0));
            let (status, ..) = get(&server, &path, &[("if-none-match", "\"other\"")]).await;
            assert_eq!(status, 200);
            assert_eq!(get(&server, &path, &[("if-match", tag)]).await.0, 200);
            assert_eq!(get(&server, &path, &[("if-match", "\"other\"")]).await.0, 412);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_read_in_parts() {
    for store in ["", "[store]\nurl = \"memory:\"\n"] {
        let server = Server::start(store);
        for length in [100, 9_000, 3_000_000] {
            let text: String = (0..length).map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap())).collect();
            let whole = serde_json::to_vec(&text).unwrap();
            let (path, _) = done(&server, &json!(text)).await;
            let all = whole.len();
            for (range, from, to) in [
                ("bytes=0-0".to_owned(), 0, 1),
                (format!("bytes={}-", all - 1), all - 1, all),
                ("bytes=10-49".to_owned(), 10, 50),
                ("bytes=-20".to_owned(), all - 20, all),
                (format!("bytes=50-{}", all * 2), 50, all),
                (format!("bytes={}-{}", all / 2, all / 2 + 20), all / 2, all / 2 + 21),
            ] {
                let (status, headers, body) =
                    get(&server, &path, &[("range", &range), ("accept-encoding", "gzip")]).await;
                assert_eq!(status, 206, "{range} of {all}");
                assert_eq!(headers["content-range"], format!("bytes {from}-{}/{all}", to - 1).as_str());
                assert!(!headers.contains_key("content-encoding"), "a part is never compressed");
                assert!(body == whole[from..to], "{range} of {all}");
            }
            let (status, headers, text) = get(&server, &path, &[("range", &format!("bytes={all}-"))]).await;
            assert_eq!((status, &headers["content-range"]), (416, &format!("bytes */{all}").parse().unwrap()));
            assert!(String::from_utf8(text).unwrap().contains(&format!("it has {all} bytes")));
            for ignored in ["bytes=0-1,4-5", "bytes=9-1", "lines=1-2", "bytes=x"] {
                let (status, _, body) = get(&server, &path, &[("range", ignored)]).await;
                assert!(status == 200 && body == whole, "{ignored}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_only_with_the_same_result() {
    let server = Server::start("");
    let (path, _) = done(&server, &json!("x".repeat(5_000))).await;
    let (_, headers, whole) = get(&server, &path, &[]).await;
    let tag = headers["etag"].to_str().unwrap();
    let (status, headers, rest) = get(&server, &path, &[("range", "bytes=4000-"), ("if-range", tag)]).await;
    assert_eq!((status, headers["etag"].to_str().unwrap(), &*rest), (206, tag, &whole[4_000..]));
    let (_, other) = (done(&server, &json!("y")).await, "\"another\"");
    for not_it in [other, &format!("W/{tag}"), "Fri, 27 Nov 2026 04:10:21 GMT"] {
        let (status, _, body) = get(&server, &path, &[("range", "bytes=4000-"), ("if-range", not_it)]).await;
        assert!(status == 200 && body == whole, "{not_it}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_result_says_why() {
    let server = Server::start("");
    let problem = async |path: &str| -> (u16, Option<String>, Value) {
        let get = server.client.get(server.path(path)).header("accept", "application/problem+json");
        let response = get.send().await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry, response.json().await.unwrap())
    };
    let gated = server.submit("/gated", json!({"gate": "gate", "text": "here"})).await;
    let (status, retry, body) = problem(&format!("/gated/{gated}/result")).await;
    assert_eq!((status, retry.as_deref(), &body["code"]), (409, Some("1"), &json!("not_finished")));
    let failed = server.submit("/fail", json!({"text": "no"})).await;
    server.settled("/fail", &failed).await;
    let (status, retry, body) = problem(&format!("/fail/{failed}/result")).await;
    assert_eq!((status, retry, &body["code"]), (404, None, &json!("no_result")));
    for unknown in ["/echo/nobody/result".to_owned(), format!("/echo/{gated}/result")] {
        let (status, _, body) = problem(&unknown).await;
        assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{unknown}");
    }
    let nothing = server.submit("/guarded", json!({"gate": "gate"})).await;
    server.open("gate");
    let (status, _, body) = get(&server, &format!("/gated/{gated}/result?wait=60"), &[]).await;
    assert_eq!((status, &*body), (200, &b"\"here\""[..]), "a result can be waited for");
    let (status, headers, body) = get(&server, &format!("/guarded/{nothing}/result?wait=60"), &[]).await;
    assert_eq!((status, body.len(), headers.get("etag")), (204, 0, None), "a handler that returns () has no result");
}
