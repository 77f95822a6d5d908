//! Who may use the API: tokens, their scopes, routes, rates and bounds; the names of the server; pages of other sites.

mod edges;

use std::path::Path;
use std::time::{Duration, Instant};

use postback_tests::{Process, eventually_async};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_workload");

/// Runs a command in this folder. Returns its exit code and its output.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut process = Process::start(PROGRAM, folder, arguments, &[]);
    let code = process.ended().code().unwrap();
    (code, process.output())
}

/// Makes a token. Returns its text.
fn new_token(folder: &Path, arguments: &[&str]) -> String {
    let (code, output) = run(folder, &[&["tokens", "new"], arguments].concat());
    assert_eq!(code, 0, "{output}");
    let token = output.split_whitespace().find(|word| word.starts_with("pbk_"));
    token.unwrap_or_else(|| panic!("no token: {output}")).to_owned()
}

/// A server with these settings, and the tokens that these arguments of `tokens new` make before it starts.
fn serving(settings: &str, tokens: &[&[&str]]) -> (Server, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let tokens = tokens.iter().map(|arguments| new_token(folder.path(), arguments)).collect();
    let mut process = Server::launch(folder.path());
    let url = process.ready();
    (Server { process, url, client: postback_tests::client(), folder }, tokens)
}

fn call(server: &Server, method: Method, path: &str, token: &str) -> RequestBuilder {
    let call = server.client.request(method, server.path(path)).header("accept", "application/problem+json");
    if token.is_empty() { call } else { call.bearer_auth(token) }
}

async fn get(server: &Server, path: &str, token: &str) -> Response {
    call(server, Method::GET, path, token).send().await.unwrap()
}

async fn post(server: &Server, path: &str, token: &str) -> Response {
    call(server, Method::POST, path, token).json(&json!("x")).send().await.unwrap()
}

async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status, "{response:?}");
    response.json().await.unwrap()
}

async fn id(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_and_a_wrong_one_is_told_apart() {
    let (mut server, tokens) = serving("", &[&["ci"], &["old", "--expires", "1s"]]);
    let (token, old) = (&tokens[0], &tokens[1]);
    for path in ["/echo/x", "/openapi.json", "/nothing"] {
        let response = get(&server, path, "").await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"postback\"");
        let answer = problem(response, 401).await;
        assert_eq!((&answer["code"], &answer["reason"]), (&"unauthorized".into(), &"missing".into()), "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&server, path, "").await.status(), 200, "{path}");
    }
    let typo = format!("{}{}", &token[..token.len() - 1], if token.ends_with('a') { "b" } else { "a" });
    let other = new_token(server.folder.path(), &["x", "--settings"]);
    for (wrong, reason) in [("hello", "malformed"), (&typo, "mistyped"), (&other, "unknown")] {
        let response = get(&server, "/echo/x", wrong).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"postback\", error=\"invalid_token\"");
        assert_eq!(problem(response, 401).await["reason"], reason);
    }
    eventually_async("the end of the token", async || {
        let answer: Value = get(&server, "/echo/x", old).await.json().await.unwrap();
        if answer["reason"] == "expired" { Ok(()) } else { Err(answer) }
    })
    .await;
    let id = id(post(&server, "/echo", token).await).await;
    let done = get(&server, &format!("/echo/{id}?wait=10"), token).await;
    assert_eq!(done.json::<Value>().await.unwrap()["status"], "completed");
    assert_eq!(get(&server, "/openapi.json", token).await.status(), 200);
    server.stop();
    let (_, listed) = run(server.folder.path(), &["tokens", "list"]);
    assert!(listed.contains("ci") && listed.contains("last used 20"), "{listed}");
    for secret in [token.as_str(), old, &other, &typo] {
        assert!(!listed.contains(secret) && !server.process.output().contains(secret));
    }
    assert!(server.process.output().contains("had no valid token"), "{}", server.process.output());
    assert_eq!(run(server.folder.path(), &["tokens", "revoke", "ci"]).0, 0);
    server.restart();
    assert_eq!(problem(get(&server, "/echo/x", token).await, 401).await["reason"], "revoked");
    assert_eq!(problem(get(&server, "/echo/x", "").await, 401).await["reason"], "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_its_scopes_and_routes_allow() {
    let arguments: [&[&str]; 4] = [
        &["submits", "--scopes", "submit"],
        &["reads", "--scopes", "read"],
        &["cancels", "--scopes", "cancel"],
        &["gated", "--routes", "/gated"],
    ];
    let (server, tokens) = serving("", &arguments);
    let [submits, reads, cancels, gated] = tokens.as_slice() else { panic!("{tokens:?}") };
    let id = id(post(&server, "/echo", submits).await).await;
    let path = format!("/echo/{id}");
    for (method, path, token, scope) in [
        (Method::POST, "/echo", reads, "submit"),
        (Method::POST, "/echo", cancels, "submit"),
        (Method::GET, path.as_str(), submits, "read"),
        (Method::GET, path.as_str(), cancels, "read"),
        (Method::GET, "/echo", submits, "read"),
        (Method::GET, &format!("{path}/result"), submits, "read"),
        (Method::GET, &format!("{path}/events"), cancels, "read"),
        (Method::DELETE, path.as_str(), reads, "cancel"),
    ] {
        let response = call(&server, method, path, token).body("{}").send().await.unwrap();
        let challenge = format!("Bearer realm=\"postback\", error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(response.headers()["www-authenticate"], challenge.as_str());
        let answer = problem(response, 403).await;
        assert_eq!((&answer["code"], &answer["scope"]), (&"forbidden".into(), &scope.into()));
    }
    // The id of a request is unknown to other tokens, whatever they may do.
    for (method, token) in [(Method::GET, reads), (Method::DELETE, cancels)] {
        let response = call(&server, method, &path, token).send().await.unwrap();
        assert_eq!(problem(response, 404).await["code"], "not_found");
    }
    let answer = problem(post(&server, "/echo", gated).await, 403).await;
    assert_eq!((&answer["code"], &answer["route"]), (&"forbidden".into(), &"/echo".into()));
    // A body is not read before the token is known: the answer comes although the body does not.
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {reads}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    );
    let mut socket = server.saying(&head).await;
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut socket, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 403");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_belongs_to_its_token() {
    let (mut server, tokens) = serving("", &[&["one"], &["other"]]);
    let (one, other) = (&tokens[0], &tokens[1]);
    let response = call(&server, Method::POST, "/gated", one).json(&json!({"gate": "g"})).send().await.unwrap();
    let id = id(response).await;
    let path = format!("/gated/{id}");
    // A foreign caller is answered at once, so not even the time says that there is such a request.
    let begun = Instant::now();
    let unknown = problem(get(&server, "/gated/0193a4c2-7b1e-7c3a-9c1d-0123456789ab?wait=20", other).await, 404).await;
    let foreign = problem(get(&server, &format!("{path}?wait=20"), other).await, 404).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(unknown["title"], foreign["title"]);
    let cancelled = call(&server, Method::DELETE, &path, other).send().await.unwrap();
    assert_eq!(cancelled.status(), 404);
    for below in ["result", "result?wait=20", "events"] {
        let foreign = problem(get(&server, &format!("{path}/{below}"), other).await, 404).await;
        assert_eq!(foreign["code"], "not_found", "{below}");
    }
    let list = async |token: &str| -> Value { get(&server, "/gated", token).await.json().await.unwrap() };
    assert_eq!(list(one).await["requests"][0]["id"], id.as_str());
    assert_eq!(list(other).await["requests"], json!([]));
    let status: Value = get(&server, &path, one).await.json().await.unwrap();
    assert!(status["status"] == "in_progress" || status["status"] == "in_queue", "{status}");
    server.kill_and_restart();
    assert_eq!(get(&server, &path, other).await.status(), 404, "the owner is stored");
    let cancelled = call(&server, Method::DELETE, &path, one).send().await.unwrap();
    assert!(cancelled.status().is_success(), "{cancelled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_over_its_rate_waits_and_others_do_not() {
    let (server, tokens) = serving("", &[&["slow", "--rate", "2/h"], &["fast"]]);
    let (slow, fast) = (&tokens[0], &tokens[1]);
    let first = get(&server, "/echo/x", slow).await;
    assert_eq!(first.headers()["ratelimit-policy"], "\"rate\";q=2;w=3600");
    assert_eq!(first.headers()["ratelimit"], "\"rate\";r=1;t=1800");
    assert_eq!(get(&server, "/echo/x", slow).await.status(), 404);
    let refused = post(&server, "/echo", slow).await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1_700..=1_800).contains(&wait), "{wait}");
    assert!(refused.headers()["ratelimit"].to_str().unwrap().starts_with("\"rate\";r=0;t="));
    assert_eq!(problem(refused, 429).await["code"], "rate_limited");
    for _ in 0..5 {
        let response = get(&server, "/echo/x", fast).await;
        assert!(response.status() == 404 && !response.headers().contains_key("ratelimit"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_a_bound_on_what_waits() {
    let settings = "[worker]\nconcurrency = 1\n";
    let (mut server, tokens) = serving(settings, &[&["small", "--max-queued", "2"], &["other"]]);
    let (small, other) = (&tokens[0], &tokens[1]);
    let gated = async |server: &Server, token: &str| {
        call(server, Method::POST, "/gated", token).json(&json!({"gate": "g"})).send().await.unwrap()
    };
    // The first request runs; the next two wait.
    let running = id(gated(&server, small).await).await;
    eventually_async("the run", async || {
        let status: Value = get(&server, &format!("/gated/{running}"), small).await.json().await.unwrap();
        if status["status"] == "in_progress" { Ok(()) } else { Err(status) }
    })
    .await;
    let waiting = [id(gated(&server, small).await).await, id(gated(&server, small).await).await];
    let refused = gated(&server, small).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit-policy"], "\"queued\";q=2;qu=\"requests\"");
    assert_eq!(problem(refused, 429).await["code"], "quota_exceeded");
    id(gated(&server, other).await).await;
    let cancelled = call(&server, Method::DELETE, &format!("/gated/{}", waiting[0]), small).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    id(gated(&server, small).await).await;
    // The count goes on after a restart. The request that ran waits or runs again.
    server.kill_and_restart();
    assert_eq!(problem(gated(&server, small).await, 429).await["code"], "quota_exceeded");
    server.open("g");
    for id in [&running, &waiting[1]] {
        let done: Value = get(&server, &format!("/gated/{id}?wait=20"), small).await.json().await.unwrap();
        assert_eq!(done["status"], "completed", "{done}");
    }
    id(gated(&server, small).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_harms_nobody() {
    let (server, tokens) = serving("", &[&["ci"]]);
    let other = new_token(server.folder.path(), &["x", "--settings"]);
    let guesses = (0..400).map(|_| call(&server, Method::GET, "/echo/x", &other).send());
    let begun = Instant::now();
    let answers = futures_util::future::join_all(guesses).await;
    let took = begun.elapsed();
    let slowed = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 429)).count();
    let refused = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 401)).count();
    assert!(slowed >= 300 && refused <= 60, "{slowed} {refused} in {took:?}");
    let limited = get(&server, "/echo/x", &other).await;
    assert!(limited.headers().contains_key("retry-after") && limited.headers()["connection"] == "close");
    // The right token is accepted from the same address all the same.
    id(post(&server, "/echo", &tokens[0]).await).await;
    let lines = server.process.output().matches("had no valid token").count();
    assert!((1..=2).contains(&lines), "{}", server.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_answers_to_its_own_names_only() {
    let server = Server::start("server.hosts = ['api.example.com', '*.internal']\n");
    let status = async |host: &str, path: &str| {
        let response = server.client.get(server.path(path)).header("host", host).send().await.unwrap();
        response.status().as_u16()
    };
    for own in ["localhost", "127.0.0.1:9", "[::1]:80", "10.9.8.7", "API.example.com:443", "a.b.internal"] {
        assert_eq!(status(own, "/echo/x").await, 404, "{own}");
    }
    for other in ["evil.example", "example.com", "internal", "api.example.com.evil.example:80"] {
        assert_eq!(status(other, "/echo/x").await, 421, "{other}");
        assert_eq!(status(other, "/healthz").await, 200, "probes come by any name");
    }
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = server.path("/echo/x");
    let refused = h2.get(url).header("host", "evil.example").send().await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| matches!(answer.status().as_u16(), 400 | 421)));
    let absolute = "GET http://evil.example/echo/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = crate::support::answer(server.saying(absolute).await).await;
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("server.hosts"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_may_hold_tokens_and_open_the_description() {
    let folder = tempfile::tempdir().unwrap();
    let [file, variable, hash] = ["file", "variable", "hash"]
        .map(|name| Process::start(PROGRAM, folder.path(), &["tokens", "new", name, "--settings"], &[]));
    let made = |mut process: Process| {
        assert_eq!(process.ended().code(), Some(0));
        process.output()
    };
    let token_of = |output: &str| output.split_whitespace().find(|word| word.starts_with("pbk_")).unwrap().to_owned();
    let [file, variable, hash] = [file, variable, hash].map(made);
    let table = &hash[hash.find("[[server.token]]").unwrap()..];
    let table: String =
        table.lines().filter(|line| !line.starts_with("pbk_")).map(|line| format!("{line}\n")).collect();
    let (file, variable, hash) = (token_of(&file), token_of(&variable), token_of(&hash));
    std::fs::write(folder.path().join("secret"), format!("{file}\n")).unwrap();
    let settings = format!(
        "server.public = ['openapi']\n{table}[[server.token]]\nname = 'file'\nfile = 'secret'\nscopes = ['read']\n\
         [[server.token]]\nname = 'variable'\nenv = 'MY_TOKEN'\n"
    );
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    // Such a server may listen on every address, because it knows its callers.
    let arguments = ["serve", "--listen", "0.0.0.0:0"];
    let mut process = Process::start(PROGRAM, folder.path(), &arguments, &[("MY_TOKEN", &variable)]);
    let url = process.ready();
    let server = Server { process, url, client: postback_tests::client(), folder };
    for token in [&variable, &hash] {
        id(post(&server, "/echo", token).await).await;
    }
    assert_eq!(problem(post(&server, "/echo", &file).await, 403).await["scope"], "submit");
    assert_eq!(get(&server, "/openapi.json", "").await.status(), 200);
    let output = server.process.output();
    assert!([file, variable, hash].iter().all(|token| !output.contains(token.as_str())), "{output}");
}

#[test]
fn without_a_token_the_server_is_for_its_own_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output) = run(folder.path(), &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(code, 1, "{output}");
    for part in ["there is no token", "tokens new", "server.auth", "server.listen"] {
        assert!(output.contains(part), "{part}: {output}");
    }
    std::fs::write(folder.path().join("postback.toml"), "server.auth = 'none'\n").unwrap();
    let mut open = Process::start(PROGRAM, folder.path(), &["serve", "--listen", "0.0.0.0:0"], &[]);
    open.ready();
    open.wait_for("put a gateway in front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_calls_if_the_settings_name_it() {
    let page = "https://app.example.com";
    let (server, tokens) = serving(&format!("server.cors_origins = ['{page}']\n"), &[&["ci"]]);
    let preflight = async |origin: &str| {
        let call = server.client.request(Method::OPTIONS, server.path("/echo")).header("origin", origin);
        let call = call.header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
    };
    let allowed = preflight(page).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["access-control-allow-origin"], page);
    assert_eq!(allowed.headers()["access-control-allow-headers"], "authorization,content-type");
    assert!(allowed.headers()["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    assert!(!preflight("https://evil.example").await.headers().contains_key("access-control-allow-origin"));
    // The page can read an answer, and why it got none. It needs a token like any other caller.
    let answer = call(&server, Method::POST, "/echo", &tokens[0]).header("origin", page).json(&json!(1)).send().await;
    assert_eq!(answer.unwrap().headers()["access-control-allow-origin"], page);
    let refused = call(&server, Method::GET, "/echo/x", "").header("origin", page).send().await.unwrap();
    assert_eq!(refused.headers()["access-control-allow-origin"], page);
    assert_eq!(refused.status(), 401);
    let closed = Server::start("");
    let call = closed.client.request(Method::OPTIONS, closed.path("/echo")).header("origin", page);
    let answer = call.header("access-control-request-method", "POST").send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"), "off by default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_the_caller_is() {
    let (server, _) = serving("server.trusted_proxies = ['127.0.0.0/8']\n", &[&["ci"]]);
    let refused = async |client: &str| {
        let call = server.client.get(server.path("/echo/x")).header("x-forwarded-for", client);
        call.send().await.unwrap().status().as_u16()
    };
    for _ in 0..20 {
        assert_eq!(refused("1.1.1.1, 203.0.113.9").await, 401);
    }
    assert_eq!(refused("9.9.9.9, 203.0.113.9").await, 429, "the caller cannot choose its address");
    // Two addresses may share a limiter by chance, several do not.
    let mut free = 0;
    for n in 0..4 {
        free += u16::from(refused(&format!("198.51.100.{n}")).await == 401);
    }
    assert!(free >= 3, "{free}");
    assert!(server.process.output().contains("203.0.113.9"), "{}", server.process.output());
}
