//! The dashboard: who may open it, and what a session may do.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

use super::{API, TOKEN};
use crate::support::Server;

/// Returns the token in the link that the server prints.
fn link(server: &mut Server) -> String {
    let output = server.process.output();
    let (_, rest) = output.split_once("/_postback/#token=").expect("a link");
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

async fn log_in(server: &Server, token: &str) -> Response {
    let call = server.client.post(server.path("/_postback/session")).bearer_auth(token);
    call.header("x-postback-page", "1").send().await.unwrap()
}

/// Returns the cookie of a new session, as a browser sends it.
async fn cookie(server: &Server, token: &str) -> String {
    let answer = log_in(server, token).await;
    assert_eq!(answer.status(), 204);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && cookie.contains("Path=/_postback;"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn with(server: &Server, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    server.client.request(method, server.path(path)).header("cookie", cookie)
}

async fn status(call: RequestBuilder) -> u16 {
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_printed_link_opens_the_dashboard_and_nothing_else_does() {
    let mut server = Server::start("");
    let link = link(&mut server);
    let page = server.client.get(server.path("/_postback/")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(page.status() == 200 && policy.contains("default-src 'none'"), "{policy}");
    let health = format!("{API}/health");
    // The token of the link opens sessions. It is no token of the API.
    let direct = server.client.get(server.path(&health)).bearer_auth(&link);
    assert_eq!(status(direct).await, 404);
    assert_eq!(log_in(&server, "0123456789abcdef-wrong").await.status(), 401);
    let cookie = cookie(&server, &link).await;
    assert_eq!(status(with(&server, Method::GET, &health, &cookie)).await, 200);
    assert_eq!(status(server.client.get(server.path(&health))).await, 404);
    // The link is of this process alone.
    server.stop();
    server.restart();
    assert_eq!(log_in(&server, &link).await.status(), 401);
    assert_eq!(status(with(&server, Method::GET, &health, &cookie)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_can_neither_read_nor_change_with_a_session() {
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\ncors_origins = [\"*\"]\n"));
    assert!(!server.process.output().contains(TOKEN), "the token of the settings is not printed");
    let cookie = cookie(&server, TOKEN).await;
    let id = server.submit("/fail", json!({})).await;
    server.settled("/fail", &id).await;
    let (list, retry) = (format!("{API}/requests"), format!("{API}/requests/{id}/retry"));
    let own = |method, path: &str| with(&server, method, path, &cookie);
    let page = ("x-postback-page", "1");
    for (call, expected) in [
        (own(Method::GET, &list), 200),
        (own(Method::GET, &list).header("sec-fetch-site", "cross-site"), 403),
        (own(Method::GET, &list).header("origin", "https://evil.example"), 403),
        (own(Method::GET, &list).header("host", "evil.example"), 421),
        (own(Method::POST, &retry), 403),
        (own(Method::POST, &retry).header(page.0, page.1).header("sec-fetch-site", "same-site"), 403),
        (own(Method::POST, &retry).header(page.0, page.1).header("origin", "null"), 403),
        (own(Method::DELETE, "/_postback/session"), 403),
        (own(Method::POST, &retry).header(page.0, page.1), 200),
    ] {
        let shown = format!("{call:?}");
        assert_eq!(status(call).await, expected, "{shown}");
    }
    // A form, which cannot send the header, opens no session either.
    let form = server.client.post(server.path("/_postback/session")).bearer_auth(TOKEN);
    assert_eq!(status(form).await, 403);
    // After logging out, the cookie is worth nothing.
    let out = own(Method::DELETE, "/_postback/session").header(page.0, page.1);
    assert_eq!(status(out).await, 204);
    assert_eq!(status(own(Method::GET, &list)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_the_token_of_the_dashboard_has_to_wait() {
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n"));
    let mut refused = Vec::new();
    for n in 0..25 {
        refused.push(log_in(&server, &format!("0123456789abcdef-{n}")).await.status().as_u16());
    }
    assert_eq!((refused.first(), refused.last()), (Some(&401), Some(&429)), "{refused:?}");
    assert_eq!(log_in(&server, TOKEN).await.status(), 204, "the right token is never slowed down");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_own_page_works_and_others_are_refused() {
    let server = Server::start(&format!("[server]\nadmin_token = {TOKEN:?}\n"));
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let log_in = |origin: &str| {
        let call = client.post(server.path("/_postback/session")).bearer_auth(TOKEN).header("origin", origin);
        call.header("x-postback-page", "1").send()
    };
    assert_eq!(log_in("https://evil.example").await.unwrap().status(), 403);
    let answer = log_in(&server.url).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 204));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let submit = |origin: &str| {
        let call = client.post(server.path(&format!("{API}/requests?route=/echo"))).header("cookie", &cookie);
        call.header("x-postback-page", "1").header("origin", origin).json(&1).send()
    };
    assert_eq!(submit("https://evil.example").await.unwrap().status(), 403);
    assert_eq!(submit(&server.url).await.unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_https_the_cookie_never_goes_over_http() {
    let settings = |more: &str| format!("[server]\nadmin_token = {TOKEN:?}\n{more}");
    for (more, secure) in [("trusted_proxies = ['127.0.0.0/8']\n", true), ("", false)] {
        let server = Server::start(&settings(more));
        for (name, value) in [("x-forwarded-proto", "https"), ("forwarded", "for=203.0.113.9;proto=https")] {
            let call = server.client.post(server.path("/_postback/session")).bearer_auth(TOKEN);
            let answer = call.header("x-postback-page", "1").header(name, value).send().await.unwrap();
            let cookie = answer.headers()["set-cookie"].to_str().unwrap();
            assert_eq!(cookie.ends_with("; Secure"), secure, "{cookie}");
        }
    }
}
