//! The answers of the HTTP API to wrong requests.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Server;

/// The status and the text of a refusal. The text must be one line.
async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(text.starts_with("error: ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    (status, text.trim_start_matches("error: ").trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_each_bad_request_says_what_was_wrong() {
    let mut server = Server::start("[server]\nmax_payload = \"1KiB\"\n");
    let post = |path: &str| server.client.post(server.path(path));
    let json_post = |body: &str| post("/wait").header("content-type", "application/json").body(body.to_owned());
    let check = async |request: reqwest::RequestBuilder, status: u16, says: &str| {
        let (answered, text) = refusal(request.send().await.unwrap()).await;
        assert_eq!(answered, status, "{text}");
        assert!(text.contains(says), "{text:?} does not say {says:?}");
    };
    check(json_post("{\"text\":"), 400, "not valid JSON").await;
    check(json_post(""), 400, "the body is empty").await;
    check(json_post("hello"), 400, "expected value at line 1 column 1, where `h` stands").await;
    check(json_post("{\"text\":\"a\"} {"), 400, "trailing characters at line 1 column 14").await;
    check(json_post("{\"text\":\"a\","), 400, "it ends, at line 1 column 12, before its value does").await;
    let bytes = |body: &[u8]| post("/wait").header("content-type", "application/json").body(body.to_vec());
    check(bytes(b"\x1f\x8b\x08\0"), 400, "it is compressed with gzip").await;
    check(bytes(b"\xef\xbb\xbf{}"), 400, "it begins with a byte order mark (EF BB BF)").await;
    check(bytes(b"{\0}\0"), 400, "it is UTF-16; send UTF-8").await;
    check(bytes(b"\xff\xfe{\0}\0"), 400, "it is UTF-16; send UTF-8").await;
    check(bytes(b"{\"text\":\"\xe9\"}"), 400, "it is not UTF-8, from byte 9 on").await;
    check(bytes(b"\x80"), 400, "it is not UTF-8, from byte 0 on").await;
    check(json_post("{\"text\":\"a\",\"text\":\"b\"}"), 422, "duplicate field `text`").await;
    check(json_post(&"[".repeat(500)), 422, "invalid type").await;
    check(json_post("{\"work_ms\":\"soon\"}"), 422, "work_ms: invalid type").await;
    check(json_post("\"x\""), 422, "invalid type").await;
    check(json_post(&format!("{{\"text\":\"{}\"}}", "x".repeat(2_000))), 413, "1024 bytes").await;
    check(post("/wait").body("{}"), 415, "content-type is missing").await;
    check(post("/wait").header("content-type", "text/plain").body("{}"), 415, "content-type is text/plain").await;
    check(post("/nowhere").json(&json!({})), 404, "nothing is served at /nowhere").await;
    check(post("/").json(&json!({})), 404, "nothing is served at /").await;
    check(server.client.delete(server.path("/wait")), 405, "DELETE is not served at this path").await;
    check(server.client.put(server.path("/wait/x")), 405, "PUT is not served at this path").await;
    check(server.client.get(server.path("/wait/nobody")), 404, "id nobody not found").await;
    check(server.client.get(server.path("/wait/a%20b")), 404, "id a%20b not found").await;
    check(server.client.get(server.path("/wait/x?wait=soon")), 400, "`wait` takes a whole number").await;
    check(server.client.get(server.path("/wait/x?include=all")), 400, "`include` takes `delivery`, `progress`").await;

    for coding in ["deflate", "br, identity", "gzip, gzip", "x-own"] {
        let sent = json_post("{}").header("content-encoding", coding).send().await.unwrap();
        assert_eq!(sent.headers()["accept-encoding"], "gzip, zstd");
        let (status, text) = refusal(sent).await;
        assert_eq!(status, 415);
        assert!(text.contains(&format!("content-encoding is {coding}; ")), "{text}");
    }
    assert_eq!(json_post("{}").header("content-encoding", "identity").send().await.unwrap().status(), 200);
    // A route for bytes takes a body with a coding that the server does not know as it is.
    let coded = post("/bytes").header("content-encoding", "br").body("x");
    assert_eq!(coded.send().await.unwrap().status(), 200);

    // The length of a chunked body is unknown until the body ends.
    let chunks = reqwest::Body::wrap_stream(Chunks(3_000));
    check(post("/bytes").body(chunks), 413, "server.max_payload").await;
    assert_eq!(server.client.get(server.path("/readyz")).send().await.unwrap().status(), 200);
    server.stop();
    assert_eq!(server.count("request").await, 2, "only two of these requests may be accepted");
}

/// A stream of this many bytes, in pieces of at most 500 bytes.
struct Chunks(usize);

impl futures_core::Stream for Chunks {
    type Item = Result<bytes::Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let n = self.0.min(500);
        self.0 -= n;
        std::task::Poll::Ready((n > 0).then(|| Ok(bytes::Bytes::from(vec![0; n]))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_route_is_not_found() {
    let server = Server::start("");
    let id = server.submit("/echo", json!(1)).await;
    let response = server.client.get(server.path(&format!("/wait/{id}"))).send().await.unwrap();
    assert_eq!(refusal(response).await, (404, format!("id {id} not found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_accepts_problem_json_gets_it() {
    let server = Server::start("");
    let get = server.client.get(server.path("/wait/nobody")).header("accept", "application/problem+json");
    let response = get.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(404), &json!("id nobody not found")));
    assert_eq!(problem["code"], "not_found");
    let url = problem["type"].as_str().unwrap();
    assert!(url.starts_with("https://docs.rs/postback/") && url.ends_with("/problems/index.html#not_found"), "{url}");
    let get = server.client.get(server.path("/wait/nobody?wait=soon")).header("accept", "application/problem+json");
    let problem: Value = get.send().await.unwrap().json().await.unwrap();
    assert_eq!((&problem["code"], &problem["parameter"]), (&json!("invalid_parameter"), &json!("wait")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_wrong_method_names_the_right_methods() {
    let server = Server::start("");
    let response = server.client.delete(server.path("/wait")).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD, POST, OPTIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_complete_request_is_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start("");
    let address = server.url.trim_start_matches("http://");
    let mut sockets = Vec::new();
    // Three clients: one sends nothing, one half a preface of HTTP/2, and one half a head of HTTP/1.1.
    for said in [&b""[..], b"PRI * HTT", b"POST /echo HTTP/1.1\r\nhost:"] {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(said).await.unwrap();
        sockets.push((said, socket));
    }
    for (said, mut socket) in sockets {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(std::time::Duration::from_mins(1), socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection must be closed or reset after {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_http_end_their_connection_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start("");
    let address = server.url.trim_start_matches("http://");
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
    {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    server.submit("/echo", json!(1)).await;
}
