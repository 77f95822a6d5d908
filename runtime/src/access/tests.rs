//! Tests of [`Access`] as a whole, on a store in memory.

use super::*;
use postback_store::{Location, Options as StoreOptions};
use postback_wire::id::NodeId;

const HERE: &str = "127.0.0.1:8080";
const EVERYWHERE: &str = "0.0.0.0:8080";

async fn store() -> Store {
    let place = Location::Memory { reports: 100, bytes: 1 << 20, kept: 100 };
    Store::open(StoreOptions::at(place), NodeId::generate(), Clock::system()).await.unwrap()
}

async fn start(options: &Options, store: &Store, listen: &str) -> Result<Arc<Access>, StartError> {
    Access::start(options, store, Clock::system(), Some(listen.parse().unwrap())).await
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

async fn new(store: &Store, access: &Access, name: &str) -> Created {
    let request = TokenRequest { name: name.to_owned(), ..TokenRequest::default() };
    create(store, Some(access), &Clock::system(), "tester", &request).await.unwrap_or_else(|error| panic!("{error}"))
}

fn of_settings(secret: &NewSecret) -> TokenInfo {
    TokenInfo::new(secret.id(), "ci", secret.hash(), Source::Settings, Terms::default())
}

#[tokio::test]
async fn without_a_token_the_server_is_for_this_machine_only() {
    let (store, options) = (store().await, Options::default());
    let error = start(&options, &store, EVERYWHERE).await.err().unwrap().to_string();
    // The same holds for a reload that takes `server.auth = "none"` away.
    let open = Options { auth: Auth::None, ..Options::default() };
    let access = start(&open, &store, EVERYWHERE).await.unwrap();
    assert!(access.check(&options, EVERYWHERE.parse().ok()).is_err());
    assert!(access.check(&options, HERE.parse().ok()).is_ok());
    for part in [EVERYWHERE, "tokens new", "[[server.token]]", "server.auth = \"none\"", "server.listen"] {
        assert!(error.contains(part), "{error}");
    }
    let here = start(&options, &store, HERE).await.unwrap();
    assert!(!here.needs_tokens() && here.caller(&HeaderMap::new()).unwrap().token.is_none());
    assert!(start(&options, &store, "[::ffff:127.0.0.1]:80").await.is_ok());
    let gateway = Options { auth: Auth::None, ..options.clone() };
    let open = start(&gateway, &store, EVERYWHERE).await.unwrap();
    assert!(open.caller(&bearer("of the gateway")).unwrap().token.is_none());
    let secret = NewSecret::generate().unwrap();
    let with_token = Options { tokens: vec![of_settings(&secret)], ..options };
    let access = start(&with_token, &store, EVERYWHERE).await.unwrap();
    assert_eq!(access.caller(&HeaderMap::new()).err(), Some(Unauthenticated::Missing));
    assert_eq!(access.caller(&bearer(secret.reveal())).unwrap().sees(), Some(secret.id()));
}

#[tokio::test]
async fn a_token_that_is_made_live_is_needed_from_then_on_and_after_its_end() {
    let (store, options) = (store().await, Options::default());
    let access = start(&options, &store, HERE).await.unwrap();
    assert!(access.caller(&HeaderMap::new()).is_ok());
    let created = new(&store, &access, "ci").await;
    assert_eq!(access.caller(&HeaderMap::new()).err(), Some(Unauthenticated::Missing));
    let caller = access.caller(&bearer(&created.token)).unwrap();
    assert_eq!(caller.sees(), Some(&*created.view.id));
    let revoked = revoke(&store, &options, Some(&access), "tester", "ci").await.unwrap();
    assert_eq!((&revoked.id, revoked.revoked.is_some()), (&created.view.id, true));
    let refused = access.caller(&bearer(&created.token)).err().unwrap();
    assert!(matches!(refused, Unauthenticated::Revoked(_)), "{refused}");
    assert_eq!(access.caller(&HeaderMap::new()).err(), Some(Unauthenticated::Missing), "the server stays closed");
    // The next start knows the revoked token, so it does not open the server either.
    let again = start(&options, &store, HERE).await.unwrap();
    assert!(matches!(again.caller(&bearer(&created.token)).err(), Some(Unauthenticated::Revoked(_))));
    assert!(again.needs_tokens());
}

#[tokio::test]
async fn what_is_no_token_is_told_apart() {
    let (store, secret) = (store().await, NewSecret::generate().unwrap());
    let options = Options { tokens: vec![of_settings(&secret)], ..Options::default() };
    let access = start(&options, &store, HERE).await.unwrap();
    let reason = |headers: &HeaderMap| access.caller(headers).err().map(|why| why.reason());
    assert_eq!(reason(&HeaderMap::new()), Some("missing"));
    assert_eq!(reason(&bearer("hello")), Some("malformed"));
    assert_eq!(reason(&bearer(&secret.reveal().replace("pbk_", "pbk_0"))), Some("malformed"));
    assert_eq!(reason(&bearer(&format!("{}x", secret.reveal()))), Some("mistyped"));
    assert_eq!(reason(&bearer(NewSecret::generate().unwrap().reveal())), Some("unknown"));
    for scheme in ["Basic dXNlcjpwYXNz", "Bearer", secret.reveal()] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, scheme.parse().unwrap());
        assert_eq!(reason(&headers), Some("malformed"), "{scheme}");
    }
    let mut twice = bearer(secret.reveal());
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    assert_eq!(reason(&twice), Some("malformed"));
    let mut lower = HeaderMap::new();
    lower.insert(AUTHORIZATION, format!("bearer  {} ", secret.reveal()).parse().unwrap());
    assert_eq!(reason(&lower), None);
}

#[tokio::test]
async fn a_token_of_the_store_is_listed_with_its_last_use_and_without_its_secret() {
    let (store, secret) = (store().await, NewSecret::generate().unwrap());
    let options = Options { tokens: vec![of_settings(&secret)], ..Options::default() };
    let access = start(&options, &store, HERE).await.unwrap();
    let created = new(&store, &access, "nightly").await;
    assert!(!format!("{:?}", created.view).contains(&created.token));
    let listed = list(&store, &options, None).await.unwrap();
    assert_eq!(listed.iter().map(|view| view.last_used.clone()).collect::<Vec<_>>(), [None, None]);
    access.caller(&bearer(&created.token)).unwrap();
    access.caller(&bearer(secret.reveal())).unwrap();
    let live = list(&store, &options, Some(&access)).await.unwrap();
    assert!(live.iter().all(|view| view.last_used.is_some()));
    access.write_last_use(&store).await;
    assert_eq!(list(&store, &options, None).await.unwrap(), live);
    let names: Vec<_> = live.iter().map(|view| (view.name.as_str(), view.source)).collect();
    assert_eq!(names, [("ci", Source::Settings), ("nightly", Source::Store)]);
    let of_settings = revoke(&store, &options, None, "tester", "ci").await.err().unwrap().to_string();
    assert!(of_settings.contains("[[server.token]]"), "{of_settings}");
    assert!(revoke(&store, &options, None, "tester", "nobody").await.err().unwrap().to_string().contains("nobody"));
    let audited = store.audited(None, 10).await.unwrap();
    assert!(audited.len() == 1 && !format!("{audited:?}").contains(&created.token));
}

#[test]
fn a_request_for_a_token_is_checked() {
    let now = parse_time("2026-11-27T00:00:00Z").unwrap();
    let check = |json: &str| {
        let request: TokenRequest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.check(now).map_err(|error| error.to_string())
    };
    let (name, terms, expires) = check(r#"{"name":" ci "}"#).unwrap();
    assert_eq!((name.as_str(), terms, expires), ("ci", Terms::default(), None));
    let full = r#"{"name":"ci","scopes":["read"],"routes":["/a"],"expires":"2027-01-31","rate":"5/s",
        "webhook_hosts":["*.example.com"],"max_queued":5,"max_queued_bytes":6}"#;
    let (_, terms, expires) = check(full).unwrap();
    assert_eq!(terms.scopes, [Scope::Read].into());
    assert_eq!(expires, parse_time("2027-01-31T00:00:00Z"));
    for (wrong, says) in [
        (r#"{"name":""}"#, "name"),
        ("{\"name\":\"a\\nb\"}", "name"),
        (r#"{"name":"a","scopes":[]}"#, "scopes"),
        (r#"{"name":"a","scopes":["admin"]}"#, "admin"),
        (r#"{"name":"a","routes":["a"]}"#, "\"a\" is not a route"),
        (r#"{"name":"a","expires":"soon"}"#, "\"soon\" is not a time"),
        (r#"{"name":"a","expires":"2020-01-01"}"#, "expire"),
        (r#"{"name":"a","rate":"fast"}"#, "a rate is"),
        (r#"{"name":"a","max_queued":0}"#, "max_queued"),
        (r#"{"name":"a","webhook_hosts":["http://a"]}"#, "a host is"),
        (r#"{"name":"a","colour":"red"}"#, "colour"),
    ] {
        let error = check(wrong).unwrap_err();
        assert!(error.contains(says), "{wrong}: {error}");
    }
}

#[test]
fn the_server_answers_to_its_own_names() {
    let access = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        Access::new(&Options { hosts, ..Options::default() }, Clock::system())
    };
    let plain = access(&[]);
    for own in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "[::1]", "10.9.8.7", "[2001:db8::1]"] {
        assert!(plain.is_own_host(own), "{own}");
    }
    for other in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "", "0x7f000001"]
    {
        assert!(!plain.is_own_host(other), "{other}");
    }
    let named = access(&["api.example.com", "*.internal"]);
    assert!(named.is_own_host("API.example.com") && named.is_own_host("a.internal."));
    assert!(!named.is_own_host("internal") && !named.is_own_host("example.com"));
    assert!(access(&["*"]).is_own_host("anything.example"));
}

#[tokio::test]
async fn a_rate_is_counted_for_its_own_token_and_survives_a_reload() {
    let (store, secret) = (store().await, NewSecret::generate().unwrap());
    let terms = Terms { rate: Some("2/h".parse().unwrap()), ..Terms::default() };
    let limited = TokenInfo { terms, ..of_settings(&secret) };
    let options = Options { tokens: vec![limited], ..Options::default() };
    let access = start(&options, &store, HERE).await.unwrap();
    let count = || {
        let caller = access.caller(&bearer(secret.reveal())).unwrap();
        access.count(&caller).unwrap().refused_for.is_none()
    };
    assert!(count());
    access.replace(&options);
    assert!(count() && !count());
    let free = new(&store, &access, "free").await;
    assert_eq!(access.count(&access.caller(&bearer(&free.token)).unwrap()), None);
}
