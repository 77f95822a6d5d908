//! The paths and methods of the API over raw sockets: which spellings of a path are the same path, and what each path
//! answers to each method.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::http::{Rule, check, exchange, line};
use crate::support::Server;

#[test]
fn a_path_is_the_same_path_only_if_its_characters_are() {
    let greet = |path: &str| line(&format!("GET {path} HTTP/1.1"));
    check(vec![
        Rule("3986 6.2.2.2: letters that are encoded", greet("/%65ch%6f"), &[200], "\"requests\""),
        Rule(
            "3986 6.2.2.1: the digits of an encoding in lower case",
            greet("/%6e%65sted/plain"),
            &[200],
            "\"requests\"",
        ),
        Rule("an encoded probe", greet("/%68ealthz?x=%zz"), &[200], "ok"),
        Rule(
            "3986 2.2: an encoded slash is no slash",
            greet("/nested%2Fplain"),
            &[404],
            "nothing is served at /nested%2Fplain",
        ),
        Rule("3986 2.2: nor within an id", greet("/echo/a%2fresult"), &[404], "id a%2Fresult not found"),
        Rule("an encoded character that no id has", greet("/echo/a%20b"), &[404], "id a%20b not found"),
        Rule("an encoded NUL", greet("/echo/%00"), &[404], "id %00 not found"),
        Rule("an encoding is decoded once", greet("/%2565cho"), &[404], "nothing is served at /%2565cho"),
        Rule("3986 2.1: half an encoding", greet("/ech%6"), &[400], "two hexadecimal digits"),
        Rule("3986 2.1: an encoding without digits", greet("/echo/%"), &[400], "two hexadecimal digits"),
        Rule("3986 2.1: an encoding with other letters", greet("/ech%6g"), &[400], "two hexadecimal digits"),
        Rule("3986 3.3: a slash at the end is another path", greet("/echo/"), &[404], "at /echo/; use /echo\n"),
        Rule("a slash at the end of an id", greet("/echo/a/"), &[404], "at /echo/a/; use /echo/a\n"),
        Rule("a slash at the end of a result", greet("/echo/a/result/"), &[404], "; use /echo/a/result\n"),
        Rule("two slashes are not one", greet("//echo"), &[404], "at //echo; use /echo\n"),
        Rule("two slashes within a path", greet("/nested//plain"), &[404], "; use /nested/plain\n"),
        Rule("two slashes before an id", greet("/echo//a"), &[404], "; use /echo/a\n"),
        Rule("capitals are other letters", greet("/Echo"), &[404], "at /Echo; use /echo\n"),
        Rule("capitals of a probe", greet("/HEALTHZ"), &[404], "; use /healthz\n"),
        Rule("dots are not resolved", greet("/x/../echo"), &[404], "nothing is served at /x/../echo; the program"),
        Rule("dots of one segment", greet("/./echo"), &[404], "nothing is served at /./echo; the program"),
        Rule("dots that are encoded", greet("/x/%2e%2e/echo"), &[404], "nothing is served at /x/../echo; the program"),
        Rule("dots are no id", greet("/echo/.."), &[404], "id .. not found"),
        Rule(
            "a path below a request that is neither result nor events",
            greet("/echo/a/b"),
            &[404],
            "nothing is served",
        ),
        Rule("a path below a probe", greet("/healthz/a"), &[404], "nothing is served at /healthz/a; the program"),
    ]);
}

#[test]
fn each_path_says_its_methods() {
    let ask = |method: &str, path: &str| line(&format!("{method} {path} HTTP/1.1"));
    let route = "allow: GET, HEAD, POST, OPTIONS\r\n";
    let request = "allow: GET, HEAD, DELETE, OPTIONS\r\n";
    let read = "allow: GET, HEAD, OPTIONS\r\n";
    let mut rules = Vec::new();
    for (path, allow) in [
        ("/echo", route),
        ("/nested/plain", route),
        ("/echo/a", request),
        ("/echo/a/result", read),
        ("/echo/a/events", read),
        ("/healthz", read),
        ("/readyz", read),
        ("/openapi.json", read),
        ("/.well-known/jwks.json", read),
    ] {
        rules.push(Rule("9110 9.3.7: OPTIONS", ask("OPTIONS", path), &[204], allow));
        rules.push(Rule("9110 15.5.6: another method", ask("PATCH", path), &[405], allow));
        rules.push(Rule("9110 9.3.8: TRACE is not served", ask("TRACE", path), &[405], "TRACE is not served"));
    }
    rules.push(Rule("POST to a request", ask("POST", "/echo/a"), &[405], request));
    rules.push(Rule("DELETE of a route", ask("DELETE", "/echo"), &[405], route));
    rules.push(Rule("POST to a result", ask("POST", "/echo/a/result"), &[405], read));
    rules.push(Rule("OPTIONS where nothing is", ask("OPTIONS", "/nowhere"), &[404], "nothing is served"));
    rules.push(Rule("a method where nothing is", ask("PATCH", "/nowhere"), &[404], "nothing is served"));
    check(rules);
}

/// The head of an answer without the header `date`, and the body. The answer ends with its connection.
fn parts(server: &Server, method: &str, path: &str) -> (Vec<String>, String) {
    let (_, text) = exchange(server, line(&format!("{method} {path} HTTP/1.1")).as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let fields = head.lines().filter(|field| !field.starts_with("date: ")).map(str::to_owned).collect();
    (fields, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_like_a_get_without_its_body() {
    let server = Server::start("");
    let small = server.submit("/echo", json!({"a": 1})).await;
    let large = server.submit("/echo", json!("x".repeat(100_000))).await;
    let never = server.submit("/gated", json!({"gate": "never"})).await;
    server.settled("/echo", &small).await;
    server.settled("/echo", &large).await;
    server.running("/gated", &never).await;
    for path in [
        "/healthz".to_owned(),
        "/readyz".to_owned(),
        "/openapi.json".to_owned(),
        "/.well-known/jwks.json".to_owned(),
        "/nowhere".to_owned(),
        "/echo".to_owned(),
        "/echo?limit=x".to_owned(),
        format!("/echo/{small}"),
        format!("/echo/{large}?include=delivery"),
        format!("/echo/{small}/result"),
        format!("/echo/{large}/result"),
        format!("/gated/{never}/result"),
        "/echo/nobody/events".to_owned(),
    ] {
        let (get, body) = parts(&server, "GET", &path);
        let (head, nothing) = parts(&server, "HEAD", &path);
        assert_eq!((&head, nothing.as_str()), (&get, ""), "{path}");
        assert!(!body.is_empty(), "{path}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{path}: {head:?}");
    }
    let (head, nothing) = parts(&server, "HEAD", &format!("/gated/{never}/events"));
    assert!(head.contains(&"content-type: text/event-stream".to_owned()) && nothing.is_empty(), "{head:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_head_has_no_body_either() {
    let server = Server::start("");
    let id = server.submit("/echo", json!("x".repeat(100_000))).await;
    server.settled("/echo", &id).await;
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for (path, length) in [(format!("/echo/{id}/result"), "100002"), ("/nowhere".to_owned(), "80")] {
        client = client.ready().await.unwrap();
        let head = http::Request::head(server.path(&path)).body(()).unwrap();
        let response = client.send_request(head, true).unwrap().0.await.unwrap();
        assert_eq!(response.headers()["content-length"], length, "{path}");
        assert!(response.into_body().data().await.is_none(), "{path}");
    }
}

/// A client waits for `100 Continue` before it sends its body. An answer without it means that the body is not wanted.
#[test]
fn the_body_is_asked_for_only_if_it_is_read() {
    let server = Server::start("");
    let begun = |path: &str, fields: &str| {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n{fields}\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut line = [0; 12];
        socket.read_exact(&mut line).unwrap();
        (String::from_utf8(line.to_vec()).unwrap(), socket)
    };
    let json = "content-type: application/json\r\n";
    let (line, mut socket) = begun("/%65cho", json);
    assert_eq!(line, "HTTP/1.1 100");
    socket.write_all(b"{}").unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    for (path, fields, status) in [
        ("/echo/", json, 404),
        ("/echo/a", json, 405),
        ("/ech%", json, 400),
        ("/echo", "content-type: text/plain\r\n", 415),
        ("/echo", "content-type: application/json\r\ncontent-encoding: br\r\n", 415),
    ] {
        let (line, _) = begun(path, fields);
        assert_eq!(line, format!("HTTP/1.1 {status}"), "{path} {fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_include_names_members_of_the_status() {
    let server = Server::start("");
    let id = server.submit("/echo", json!(1)).await;
    server.settled("/echo", &id).await;
    let status = async |query: &str| -> (u16, Value) {
        let get = server.client.get(server.path(&format!("/echo/{id}?{query}")));
        let response = get.header("accept", "application/problem+json").send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    for query in ["include=delivery,progress", "include=progress&include=delivery", "include=delivery%2Cprogress"] {
        let (code, status) = status(query).await;
        assert_eq!((code, &status["delivery"]["state"]), (200, &json!("none")), "{query}");
        assert!(status.as_object().unwrap().contains_key("progress"), "{status}");
    }
    for query in ["include=", "include=all", "include=delivery,all", "include=delivery,"] {
        let (code, problem) = status(query).await;
        assert_eq!((code, &problem["parameter"]), (400, &json!("include")), "{query}: {problem}");
    }
}
