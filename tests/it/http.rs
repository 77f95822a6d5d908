//! The rules of HTTP/1.1 in RFC 9112. Legal requests are answered, even unusual ones. Illegal requests are refused.
//!
//! The name of each rule begins with its section of RFC 9112, or of RFC 9110. If the RFC allows a choice, the name says
//! what this server does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::Server;

/// Writes this text on a new connection, and reads until the server closes it. Returns the statuses and the whole text.
pub fn exchange(server: &Server, request: &[u8]) -> (Vec<u16>, String) {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(request).unwrap();
    let mut text = Vec::new();
    socket.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // An answer begins where the answer before it ends. That is not always at the beginning of a line.
    let begins = text.match_indices("HTTP/1.").filter_map(|(at, _)| text[at..].split(' ').nth(1)?.parse().ok());
    let statuses = begins.collect();
    (statuses, text)
}

/// One rule: its name, the request, the statuses of the answers, and a text that the answers must contain.
pub struct Rule(pub &'static str, pub String, pub &'static [u16], pub &'static str);

pub fn check(rules: Vec<Rule>) {
    let server = Server::start("");
    for Rule(rule, request, expected, word) in rules {
        let (statuses, text) = exchange(&server, request.as_bytes());
        assert_eq!(statuses, expected, "{rule}:\n{request}\n---\n{text}");
        assert!(text.contains(word), "{rule}: {word:?} is missing in\n{text}");
    }
}

/// A GET of `/healthz` with these lines in its head. It is the last request of its connection.
fn get(lines: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\n{lines}connection: close\r\n\r\n")
}

/// A request with this request line. It is the last request of its connection.
pub fn line(line: &str) -> String {
    format!("{line}\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// A POST to `/echo` with these lines in its head and this body. It is the last request of its connection.
fn post(lines: &str, body: &str) -> String {
    format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n{lines}\r\n\r\n{body}"
    )
}

#[test]
fn the_request_line_and_its_target() {
    let long = "x".repeat(9_000);
    check(vec![
        Rule(
            "2.2: empty lines before the request line are ignored",
            format!("\r\n\r\n{}", get("host: localhost\r\n")),
            &[200],
            "ok",
        ),
        Rule(
            "2.2: a bare LF may end a line",
            "GET /healthz HTTP/1.1\nhost: localhost\nconnection: close\n\n".into(),
            &[200],
            "ok",
        ),
        Rule(
            "2.3: a higher minor version is refused, because hyper does not know it",
            line("GET /healthz HTTP/1.2"),
            &[400],
            "",
        ),
        Rule("2.3: HTTP/2 without its preface is refused", line("GET /healthz HTTP/2.0"), &[400], ""),
        Rule("2.3: the name of the protocol must be in capitals", line("GET /healthz http/1.1"), &[400], ""),
        Rule("3: HTTP/0.9 is refused", "GET /healthz\r\n\r\n".into(), &[400], ""),
        Rule(
            "3: two spaces between the parts of the request line are refused",
            line("GET  /healthz HTTP/1.1"),
            &[400],
            "",
        ),
        Rule("3: a target with a space is refused", line("GET /health z HTTP/1.1"), &[400], ""),
        Rule(
            "3: a target that is too long is refused",
            line(&format!("GET /{long} HTTP/1.1")),
            &[414],
            "8192 are allowed",
        ),
        Rule("3.1: a method in lower case is unknown", line("get /healthz HTTP/1.1"), &[501], "capitals"),
        Rule("3.1: an unknown method", line("BREW /echo HTTP/1.1"), &[501], "BREW is not implemented"),
        Rule(
            "3.1: a known method that this path does not serve",
            line("PATCH /echo HTTP/1.1"),
            &[405],
            "allow: GET, HEAD, POST, OPTIONS",
        ),
        Rule("3.1: a method must be a token", line("G(T /healthz HTTP/1.1"), &[400], ""),
        Rule("3.2.1: the origin form", line("GET /healthz?a=b HTTP/1.1"), &[200], "ok"),
        Rule("3.2.1: the origin form must begin with a slash", line("GET healthz HTTP/1.1"), &[400], "begins with /"),
        Rule("3.2.2: the absolute form with any host", line("GET http://b.example/healthz HTTP/1.1"), &[200], "ok"),
        Rule(
            "3.2.2: the absolute form with a scheme in capitals",
            line("GET HTTP://b.example/healthz HTTP/1.1"),
            &[200],
            "ok",
        ),
        Rule(
            "3.2.2: the absolute form with another scheme than HTTP",
            line("GET ftp://b.example/healthz HTTP/1.1"),
            &[400],
            "http://",
        ),
        Rule("3.2.3: the authority form is for proxies", line("CONNECT b.example:443 HTTP/1.1"), &[501], "CONNECT"),
        Rule("3.2.4: the asterisk form", line("OPTIONS * HTTP/1.1"), &[204], "allow: GET, HEAD, POST, DELETE, OPTIONS"),
        Rule(
            "3.2.4: the asterisk form with another method than OPTIONS",
            line("GET * HTTP/1.1"),
            &[400],
            "request target",
        ),
        Rule(
            "9110 9.3.2: HEAD is answered like GET, without the body",
            line("HEAD /healthz HTTP/1.1"),
            &[200],
            "content-length: 3",
        ),
        Rule(
            "3.2: a fragment, which a client must not send, is ignored",
            line("GET /healthz#x HTTP/1.1"),
            &[200],
            "ok",
        ),
    ]);
}

#[test]
fn the_host() {
    let one_zero = |lines: &str| format!("GET /healthz HTTP/1.0\r\n{lines}\r\n");
    check(vec![
        Rule("3.2: HTTP/1.1 needs a host", get(""), &[400], "host is missing"),
        Rule(
            "3.2: the absolute form needs a host too",
            "GET http://a/healthz HTTP/1.1\r\n\r\n".into(),
            &[400],
            "host is missing",
        ),
        Rule(
            "3.2: two hosts are refused",
            get("host: localhost\r\nHost: localhost\r\n"),
            &[400],
            "more than one header host",
        ),
        Rule("3.2: a host with a space is refused", get("host: a b\r\n"), &[400], "is not a valid host"),
        Rule("3.2: a host with a user is refused", get("host: user@a\r\n"), &[400], "is not a valid host"),
        Rule("3.2: a host with a path is refused", get("host: a/b\r\n"), &[400], "is not a valid host"),
        Rule("3.2: the host may be empty", get("host:\r\n"), &[200], "ok"),
        Rule("3.2: the host may have a port", get("host: a.example:8080\r\n"), &[200], "ok"),
        Rule("3.2: the host may be an IP address", get("host: [::1]:8080\r\n"), &[200], "ok"),
        Rule("3.2: HTTP/1.0 needs no host", one_zero(""), &[200], "ok"),
        Rule("3.2: HTTP/1.0 may have a host", one_zero("host: localhost\r\n"), &[200], "ok"),
        Rule(
            "3.2: HTTP/1.0 with two hosts is refused",
            one_zero("host: localhost\r\nhost: localhost\r\n"),
            &[400],
            "more than one",
        ),
    ]);
}

#[test]
fn the_fields() {
    let many = |n: usize| get(&format!("host: localhost\r\n{}", "x: y\r\n".repeat(n)));
    check(vec![
        Rule("5: white space around a value is ignored", get("host: \t a \t \r\n"), &[200], "ok"),
        Rule("5: white space between name and colon is refused", get("host : a\r\n"), &[400], ""),
        Rule("5: a name must be a token", get("host: localhost\r\nx y: z\r\n"), &[400], ""),
        Rule("5: an empty name is refused", get("host: localhost\r\n: z\r\n"), &[400], ""),
        Rule("5: a line without a colon is refused", get("host: localhost\r\nx\r\n"), &[400], ""),
        Rule("5.2: a folded line is refused", get("host: localhost\r\nx: y\r\n z\r\n"), &[400], ""),
        Rule("2.2: white space before the first field is refused", get(" x: y\r\nhost: localhost\r\n"), &[400], ""),
        Rule("5.5: a value with a control character is refused", get("host: localhost\r\nx: y\u{1}z\r\n"), &[400], ""),
        Rule("5.5: a value may have bytes beyond ASCII", get("host: localhost\r\nx: \u{e9}\r\n"), &[200], "ok"),
        Rule("9110 5.4: up to 100 fields are allowed, which is the limit of hyper", many(98), &[200], "ok"),
        Rule("9110 5.4: more than 100 fields are refused", many(120), &[431], ""),
        Rule(
            "9110 5.4: a head of 32 KiB is too large",
            get(&format!("host: localhost\r\nx: {}\r\n", "y".repeat(40_000))),
            &[431],
            "",
        ),
        Rule("9110 7.8: an upgrade is ignored", get("host: localhost\r\nupgrade: websocket\r\n"), &[200], "ok"),
        Rule("9110 10.1.1: an unknown expectation is ignored", get("host: localhost\r\nexpect: tea\r\n"), &[200], "ok"),
    ]);
}

#[test]
fn the_length_of_a_body() {
    let two = "content-length: 2\r\ncontent-length: 2";
    check(vec![
        Rule("6.2: content-length", post("content-length: 2", "{}"), &[200], "\"id\""),
        Rule("6.2: the same content-length twice is allowed", post(two, "{}"), &[200], "\"id\""),
        Rule(
            "6.3: a list of equal lengths is refused, which the RFC allows",
            post("content-length: 2, 2", "{}"),
            &[400],
            "",
        ),
        Rule("6.3: two different lengths", post("content-length: 2\r\ncontent-length: 3", "{}"), &[400], ""),
        Rule("6.3: a length with a sign", post("content-length: +2", "{}"), &[400], ""),
        Rule("6.3: a length below zero", post("content-length: -2", "{}"), &[400], ""),
        Rule("6.3: a length that is not a decimal number", post("content-length: 0x2", "{}"), &[400], ""),
        Rule("6.3: an empty length", post("content-length:", "{}"), &[400], ""),
        Rule("6.3: a length above 64 bits", post("content-length: 99999999999999999999", "{}"), &[400], ""),
        Rule("6.3: without a length there is no body", post("x: y", ""), &[400], "the body is empty"),
        Rule("6.1: chunked", post("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"), &[200], "\"id\""),
        Rule(
            "6.1: chunked in any case of letters",
            post("Transfer-Encoding: Chunked", "2\r\n{}\r\n0\r\n\r\n"),
            &[200],
            "\"id\"",
        ),
        Rule(
            "6.3: chunked wins over content-length, and the connection ends",
            "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\
             transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
                .into(),
            &[200],
            "connection: close",
        ),
        Rule("6.1: an unknown coding", post("transfer-encoding: gzip, chunked", "0\r\n\r\n"), &[501], "coding gzip"),
        Rule(
            "6.1: an unknown coding on a separate line",
            post("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            &[501],
            "coding gzip",
        ),
        Rule("6.3: chunked must be the last coding", post("transfer-encoding: chunked, gzip", "0\r\n\r\n"), &[400], ""),
        Rule("6.3: identity is not a transfer coding", post("transfer-encoding: identity", "{}"), &[400], ""),
        Rule(
            "7: chunked twice is refused",
            post("transfer-encoding: chunked, chunked", "0\r\n\r\n"),
            &[400],
            "more than once",
        ),
        Rule(
            "6.1: HTTP/1.0 with chunks is refused",
            "POST /echo HTTP/1.0\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
            &[400],
            "",
        ),
        Rule(
            "6.3: the body of a GET is read and ignored",
            format!(
                "GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello{}",
                get("host: localhost\r\n")
            ),
            &[200, 200],
            "ok",
        ),
    ]);
}

#[test]
fn chunks() {
    let chunked = |body: &str| post("transfer-encoding: chunked", body);
    let extension = format!("2;a=\"{}\"\r\n{{}}\r\n0\r\n\r\n", "x".repeat(20_000));
    check(vec![
        Rule("7.1: several chunks", chunked("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1: a size in capitals and with zeros", chunked("0000002\r\n{}\r\n00\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1.1: extensions are ignored", chunked("2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1.1: extensions of more than 16 KiB are refused", chunked(&extension), &[400], "chunk extensions"),
        Rule("7.1.2: trailers are ignored", chunked("2\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n"), &[200], "\"id\""),
        Rule(
            "7.1.2: a trailer must be a valid field",
            chunked("2\r\n{}\r\n0\r\nx sum: 1\r\n\r\n"),
            &[400],
            "not well-formed",
        ),
        Rule("7.1: a size that is not a number", chunked("x\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: an empty size", chunked("\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: a size with a sign", chunked("+2\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: a size with the prefix 0x", chunked("0x2\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule(
            "7.1: a size above 64 bits",
            chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            &[400],
            "the size of a chunk",
        ),
        Rule("7.1: a size that ends in a bare LF", chunked("2\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule(
            "7.1: a chunk that is longer than its size",
            chunked("1\r\n{}\r\n0\r\n\r\n"),
            &[400],
            "not as long as its size says",
        ),
        Rule(
            "7.1: a chunk that is shorter than its size",
            chunked("3\r\n{}\r\n0\r\n\r\n"),
            &[400],
            "not as long as its size says",
        ),
    ]);
}

#[test]
fn connections_that_go_on_and_end() {
    let keep = |line: &str, fields: &str| format!("{line}\r\nhost: localhost\r\n{fields}\r\n");
    let last = get("host: localhost\r\n");
    let bad = keep("POST /echo HTTP/1.1", "content-length: x\r\n");
    check(vec![
        Rule("9.3: a connection goes on", keep("GET /healthz HTTP/1.1", "") + &last, &[200, 200], "ok"),
        Rule(
            "9.3.2: pipelined requests are answered in order",
            keep("GET /healthz HTTP/1.1", "") + &keep("GET /x HTTP/1.1", "") + &last,
            &[200, 404, 200],
            "ok",
        ),
        Rule(
            "9.6: a connection ends if the client sends close",
            get("host: localhost\r\n") + &last,
            &[200],
            "connection: close",
        ),
        Rule(
            "9.6: close in any case of letters, beside another value",
            keep("GET /healthz HTTP/1.1", "connection: x, Close\r\n") + &last,
            &[200],
            "ok",
        ),
        Rule(
            "9.6: close on one of several lines",
            keep("GET /healthz HTTP/1.1", "connection: close\r\nconnection: keep-alive\r\n") + &last,
            &[200],
            "ok",
        ),
        Rule("9.3: an HTTP/1.0 connection ends", keep("GET /healthz HTTP/1.0", "") + &last, &[200], "ok"),
        Rule(
            "9.3: an HTTP/1.0 connection goes on if the client asks",
            keep("GET /healthz HTTP/1.0", "connection: keep-alive\r\n") + &last,
            &[200, 200],
            "connection: keep-alive",
        ),
        Rule("9.6: a connection ends after an invalid request", bad + &last, &[400], ""),
        Rule(
            "2.2: an empty line between requests is ignored",
            keep("GET /healthz HTTP/1.1", "") + "\r\n" + &last,
            &[200, 200],
            "ok",
        ),
    ]);
}

/// A client closes its side of the connection before the body or the head is complete.
#[test]
fn a_client_that_closes_its_side() {
    let server = Server::start("");
    let exchange = |request: &str| {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    // Sections 6.3 and 8: the body is shorter than announced.
    let answer = exchange(&post("content-length: 20", "{}"));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("ended before all of it came"), "{answer}");
    let answer = exchange(&post("transfer-encoding: chunked", "2\r\n{}"));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("ended before all of it came"), "{answer}");
    // Section 3: the head is incomplete.
    assert_eq!(exchange("GET /healthz HTTP/1.1\r\nho"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_host_must_be_that_of_the_request() {
    let server = Server::start("");
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for (host, status) in [(None, 200), (Some("a.example"), 200), (Some("A.example"), 200), (Some("b.example"), 400)] {
        client = client.ready().await.unwrap();
        let mut get = http::Request::get("http://a.example/healthz");
        if let Some(host) = host {
            get = get.header("host", host);
        }
        let (response, _) = client.send_request(get.body(()).unwrap(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), status, "{host:?}");
    }
}
