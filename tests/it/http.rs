//! HTTP/1.1 as RFC 9112 has it, rule by rule: what is legal is answered, however unusual it is; what is not is refused.
//!
//! Where the RFC leaves a choice, the case says what is chosen.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::Server;

/// What a server answers until it closes the connection: the statuses, and all of its text.
fn exchange(server: &Server, said: &[u8]) -> (Vec<u16>, String) {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(said).unwrap();
    let mut text = Vec::new();
    socket.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // An answer begins where the one before it ends, which is not always the end of a line.
    let begins = text.match_indices("HTTP/1.").filter_map(|(at, _)| text[at..].split(' ').nth(1)?.parse().ok());
    let statuses = begins.collect();
    (statuses, text)
}

/// One rule: its name, what is said, what is answered, and a word of the answer.
struct Rule(&'static str, String, &'static [u16], &'static str);

fn check(rules: Vec<Rule>) {
    let server = Server::start("");
    for Rule(rule, said, expected, word) in rules {
        let (statuses, text) = exchange(&server, said.as_bytes());
        assert_eq!(statuses, expected, "{rule}:\n{said}\n---\n{text}");
        assert!(text.contains(word), "{rule}: {word:?} is missing in\n{text}");
    }
}

/// A request for `/healthz` with these lines in its head, and the last on its connection.
fn get(lines: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\n{lines}connection: close\r\n\r\n")
}

/// A request whose line is this, and the last on its connection.
fn line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\nconnection: close\r\n\r\n")
}

/// A post with these lines in its head, and this body.
fn post(lines: &str, body: &str) -> String {
    format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n{lines}\r\n\r\n{body}"
    )
}

#[test]
fn the_request_line_and_its_target() {
    let long = "x".repeat(9_000);
    check(vec![
        Rule("2.2: empty lines before it are ignored", format!("\r\n\r\n{}", get("host: a\r\n")), &[200], "ok"),
        Rule(
            "2.2: a bare LF may end a line",
            "GET /healthz HTTP/1.1\nhost: a\nconnection: close\n\n".into(),
            &[200],
            "ok",
        ),
        Rule("2.3: a higher minor version is refused: hyper knows none", line("GET /healthz HTTP/1.2"), &[400], ""),
        Rule("2.3: so is HTTP/2 without its preface", line("GET /healthz HTTP/2.0"), &[400], ""),
        Rule("2.3: the name of the protocol is in capitals", line("GET /healthz http/1.1"), &[400], ""),
        Rule("3: HTTP/0.9 is not spoken", "GET /healthz\r\n\r\n".into(), &[400], ""),
        Rule("3: there is one space between its parts", line("GET  /healthz HTTP/1.1"), &[400], ""),
        Rule("3: the target has no space", line("GET /health z HTTP/1.1"), &[400], ""),
        Rule("3: a target that is too long", line(&format!("GET /{long} HTTP/1.1")), &[414], "8192 are allowed"),
        Rule("3.1: a method is spelled in its case", line("get /healthz HTTP/1.1"), &[501], "capitals"),
        Rule("3.1: an unknown method", line("BREW /echo HTTP/1.1"), &[501], "BREW is not implemented"),
        Rule("3.1: a known method that is not served here", line("PATCH /echo HTTP/1.1"), &[405], "allow: POST"),
        Rule("3.1: a method is a token", line("G(T /healthz HTTP/1.1"), &[400], ""),
        Rule("3.2.1: the origin form", line("GET /healthz?a=b HTTP/1.1"), &[200], "ok"),
        Rule("3.2.1: it begins with a slash", line("GET healthz HTTP/1.1"), &[400], "begins with /"),
        Rule(
            "3.2.2: the absolute form, whatever the host is",
            line("GET http://b.example/healthz HTTP/1.1"),
            &[200],
            "ok",
        ),
        Rule("3.2.2: a scheme is spelled in any case", line("GET HTTP://b.example/healthz HTTP/1.1"), &[200], "ok"),
        Rule("3.2.2: of a scheme that is not HTTP's", line("GET ftp://b.example/healthz HTTP/1.1"), &[400], "http://"),
        Rule("3.2.3: the authority form is for proxies", line("CONNECT b.example:443 HTTP/1.1"), &[501], "CONNECT"),
        Rule("3.2.4: the asterisk form", line("OPTIONS * HTTP/1.1"), &[204], "allow: GET, HEAD, POST, DELETE, OPTIONS"),
        Rule("3.2.4: is of OPTIONS alone", line("GET * HTTP/1.1"), &[400], "request target"),
        Rule("9110 9.3.2: HEAD is GET without its body", line("HEAD /healthz HTTP/1.1"), &[200], "content-length: 3"),
        Rule("3.2: a fragment, which no client may send, is ignored", line("GET /healthz#x HTTP/1.1"), &[200], "ok"),
    ]);
}

#[test]
fn the_host() {
    let one_zero = |lines: &str| format!("GET /healthz HTTP/1.0\r\n{lines}\r\n");
    check(vec![
        Rule("3.2: HTTP/1.1 has one", get(""), &[400], "host is missing"),
        Rule(
            "3.2: also in the absolute form",
            "GET http://a/healthz HTTP/1.1\r\n\r\n".into(),
            &[400],
            "host is missing",
        ),
        Rule("3.2: and only one", get("host: a\r\nHost: a\r\n"), &[400], "more than one header host"),
        Rule("3.2: which is one", get("host: a b\r\n"), &[400], "is not a valid host"),
        Rule("3.2: without a user", get("host: user@a\r\n"), &[400], "is not a valid host"),
        Rule("3.2: and without a path", get("host: a/b\r\n"), &[400], "is not a valid host"),
        Rule("3.2: it may be empty", get("host:\r\n"), &[200], "ok"),
        Rule("3.2: it may have a port", get("host: a.example:8080\r\n"), &[200], "ok"),
        Rule("3.2: it may be an address", get("host: [::1]:8080\r\n"), &[200], "ok"),
        Rule("3.2: HTTP/1.0 has none", one_zero(""), &[200], "ok"),
        Rule("3.2: or has one", one_zero("host: a\r\n"), &[200], "ok"),
        Rule("3.2: and not two", one_zero("host: a\r\nhost: a\r\n"), &[400], "more than one"),
    ]);
}

#[test]
fn the_fields() {
    let many = |n: usize| get(&format!("host: a\r\n{}", "x: y\r\n".repeat(n)));
    check(vec![
        Rule("5: white space around a value", get("host: \t a \t \r\n"), &[200], "ok"),
        Rule("5: none between name and colon", get("host : a\r\n"), &[400], ""),
        Rule("5: a name is a token", get("host: a\r\nx y: z\r\n"), &[400], ""),
        Rule("5: a name is not empty", get("host: a\r\n: z\r\n"), &[400], ""),
        Rule("5: a line has a colon", get("host: a\r\nx\r\n"), &[400], ""),
        Rule("5.2: a folded line is refused", get("host: a\r\nx: y\r\n z\r\n"), &[400], ""),
        Rule("2.2: no line before the first field begins with white space", get(" x: y\r\nhost: a\r\n"), &[400], ""),
        Rule("5.5: a value has no control characters", get("host: a\r\nx: y\u{1}z\r\n"), &[400], ""),
        Rule("5.5: it may have other bytes", get("host: a\r\nx: \u{e9}\r\n"), &[200], "ok"),
        Rule("9110 5.4: up to 100 fields, which is hyper's choice", many(98), &[200], "ok"),
        Rule("9110 5.4: more are too many", many(120), &[431], ""),
        Rule(
            "9110 5.4: a head of 32 KiB is too large",
            get(&format!("host: a\r\nx: {}\r\n", "y".repeat(40_000))),
            &[431],
            "",
        ),
        Rule("9110 7.8: an upgrade is not taken", get("host: a\r\nupgrade: websocket\r\n"), &[200], "ok"),
        Rule("9110 10.1.1: an unknown expectation is ignored", get("host: a\r\nexpect: tea\r\n"), &[200], "ok"),
    ]);
}

#[test]
fn the_length_of_a_body() {
    let two = "content-length: 2\r\ncontent-length: 2";
    check(vec![
        Rule("6.2: content-length", post("content-length: 2", "{}"), &[200], "\"id\""),
        Rule("6.2: the same twice is the same", post(two, "{}"), &[200], "\"id\""),
        Rule("6.3: a list of the same is refused, as may be", post("content-length: 2, 2", "{}"), &[400], ""),
        Rule("6.3: two that differ", post("content-length: 2\r\ncontent-length: 3", "{}"), &[400], ""),
        Rule("6.3: a sign", post("content-length: +2", "{}"), &[400], ""),
        Rule("6.3: below zero", post("content-length: -2", "{}"), &[400], ""),
        Rule("6.3: no number", post("content-length: 0x2", "{}"), &[400], ""),
        Rule("6.3: an empty one", post("content-length:", "{}"), &[400], ""),
        Rule("6.3: one beyond all numbers", post("content-length: 99999999999999999999", "{}"), &[400], ""),
        Rule("6.3: none at all is no body", post("x: y", ""), &[400], "the body is empty"),
        Rule("6.1: chunked", post("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"), &[200], "\"id\""),
        Rule("6.1: in any case", post("Transfer-Encoding: Chunked", "2\r\n{}\r\n0\r\n\r\n"), &[200], "\"id\""),
        Rule(
            "6.3: with content-length it wins, and the connection ends",
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\
             transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
                .into(),
            &[200],
            "connection: close",
        ),
        Rule("6.1: an unknown coding", post("transfer-encoding: gzip, chunked", "0\r\n\r\n"), &[501], "coding gzip"),
        Rule(
            "6.1: also on a line of its own",
            post("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            &[501],
            "coding gzip",
        ),
        Rule("6.3: chunked is the last", post("transfer-encoding: chunked, gzip", "0\r\n\r\n"), &[400], ""),
        Rule("6.3: identity is none of them", post("transfer-encoding: identity", "{}"), &[400], ""),
        Rule(
            "7: chunked is applied once",
            post("transfer-encoding: chunked, chunked", "0\r\n\r\n"),
            &[400],
            "more than once",
        ),
        Rule(
            "6.1: HTTP/1.0 has no chunks",
            "POST /echo HTTP/1.0\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
            &[400],
            "",
        ),
        Rule(
            "6.3: a body of a GET is read, and means nothing",
            format!("GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello{}", get("host: a\r\n")),
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
        Rule("7.1: several", chunked("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1: a size in capitals and with zeros", chunked("0000002\r\n{}\r\n00\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1.1: extensions are ignored", chunked("2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1.1: up to 16 KiB of them", chunked(&extension), &[400], "chunk extensions"),
        Rule("7.1.2: trailers are ignored", chunked("2\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n"), &[200], "\"id\""),
        Rule("7.1.2: a trailer is a field", chunked("2\r\n{}\r\n0\r\nx sum: 1\r\n\r\n"), &[400], "not well-formed"),
        Rule("7.1: a size that is no number", chunked("x\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: an empty size", chunked("\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: a size with a sign", chunked("+2\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: a size in the form of a program", chunked("0x2\r\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule(
            "7.1: a size beyond all numbers",
            chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            &[400],
            "the size of a chunk",
        ),
        Rule("7.1: a size that ends in a bare LF", chunked("2\n{}\r\n0\r\n\r\n"), &[400], "the size of a chunk"),
        Rule("7.1: a chunk that is longer", chunked("1\r\n{}\r\n0\r\n\r\n"), &[400], "not as long as its size says"),
        Rule("7.1: a chunk that is shorter", chunked("3\r\n{}\r\n0\r\n\r\n"), &[400], "not as long as its size says"),
    ]);
}

#[test]
fn connections_that_go_on_and_end() {
    let keep = |line: &str, fields: &str| format!("{line}\r\nhost: a\r\n{fields}\r\n");
    let last = get("host: a\r\n");
    let bad = keep("POST /echo HTTP/1.1", "content-length: x\r\n");
    check(vec![
        Rule("9.3: they go on", keep("GET /healthz HTTP/1.1", "") + &last, &[200, 200], "ok"),
        Rule(
            "9.3.2: pipelined, in order",
            keep("GET /healthz HTTP/1.1", "") + &keep("GET /x HTTP/1.1", "") + &last,
            &[200, 404, 200],
            "ok",
        ),
        Rule("9.6: unless the client says close", get("host: a\r\n") + &last, &[200], "connection: close"),
        Rule(
            "9.6: in any case, and among others",
            keep("GET /healthz HTTP/1.1", "connection: x, Close\r\n") + &last,
            &[200],
            "ok",
        ),
        Rule(
            "9.6: on any of the lines",
            keep("GET /healthz HTTP/1.1", "connection: close\r\nconnection: keep-alive\r\n") + &last,
            &[200],
            "ok",
        ),
        Rule("9.3: HTTP/1.0 ends", keep("GET /healthz HTTP/1.0", "") + &last, &[200], "ok"),
        Rule(
            "9.3: unless its client asks",
            keep("GET /healthz HTTP/1.0", "connection: keep-alive\r\n") + &last,
            &[200, 200],
            "connection: keep-alive",
        ),
        Rule("9.6: after what is not understood nothing is", bad + &last, &[400], ""),
        Rule(
            "2.2: an empty line between requests",
            keep("GET /healthz HTTP/1.1", "") + "\r\n" + &last,
            &[200, 200],
            "ok",
        ),
    ]);
}

/// The body ends with the client's side of the connection; hyper takes it for gone once it has asked.
#[test]
fn a_client_that_closes_its_side() {
    let server = Server::start("");
    let said = |said: &str| {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(said.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    // 6.3, 8: less than was announced.
    let answer = said(&post("content-length: 20", "{}"));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("ended before all of it came"), "{answer}");
    let answer = said(&post("transfer-encoding: chunked", "2\r\n{}"));
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("ended before all of it came"), "{answer}");
    // 3: half a head.
    assert_eq!(said("GET /healthz HTTP/1.1\r\nho"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_host_is_that_of_the_request() {
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
