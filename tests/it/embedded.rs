//! `App::into_router`: an app inside a user's own axum service, over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::RequestExt as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use postback::{App, Config, Embedded, IntoRouter, Payload, Program, RequestId, async_handler};
use postback_tests::{Receiver, client, eventually_async};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The URL of the webhook.
struct Hook {
    url: String,
}

#[async_handler(webhook = config.url, error = display)]
async fn echo(config: Config<Hook>, payload: Payload<Value>, request_id: RequestId) -> Result<Value, String> {
    if payload.is_null() { Err("there is nothing to echo".to_owned()) } else { Ok(payload.into_inner()) }
}

async fn size(body: Payload<Bytes>) -> Result<usize, String> {
    Ok(body.len())
}

/// Waits until the file with this name exists.
async fn gate(file: Payload<String>) -> Result<String, String> {
    while !Path::new(&*file).exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok("open".to_owned())
}

fn app(hook: &str) -> IntoRouter<Hook> {
    let app = App::new(Hook { url: hook.to_owned() });
    let app = app
        .route("/echo", echo)
        .route("/size", size)
        .route("/a/gate", gate)
        .timeout(std::time::Duration::from_secs(60));
    let router = app.into_router().ignore_environment().settings_text("[store]\nurl = \"memory:\"\n");
    router.program(Program::new("shop", "1.2.3")).trust(hook)
}

const NOWHERE: &str = "http://127.0.0.1:9/";

fn hook() -> Hook {
    Hook { url: NOWHERE.to_owned() }
}

/// A user's service on a free port.
struct Service {
    url: String,
    client: reqwest::Client,
}

impl Service {
    fn serve(listener: TcpListener, router: Router) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, client: client() }
    }

    /// Nests the app below `/jobs`, on a service that listens on loopback.
    async fn nesting(app: IntoRouter<Hook>) -> (Self, Embedded) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (jobs, handle) = app.listens_on(listener.local_addr().unwrap()).await.unwrap();
        (Self::serve(listener, Router::new().nest("/jobs", jobs)), handle)
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn post(&self, path: &str, payload: &Value) -> reqwest::Response {
        self.client.post(self.path(path)).json(payload).send().await.unwrap()
    }

    async fn submit(&self, path: &str, payload: &Value) -> String {
        let answer: Value = self.post(path, payload).await.json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn json(&self, path: &str) -> Value {
        self.client.get(self.path(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn text(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(self.path(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_api_works_below_a_prefix() {
    let receiver = Receiver::start();
    let (service, handle) = Service::nesting(app(&receiver.url("/in"))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate");
    let post = service.client.post(service.path("/jobs/a/gate")).json(&file).header("prefer", "respond-async");
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let pending: Value = answer.json().await.unwrap();
    assert_eq!(location, format!("/jobs/a/gate/{}", pending["id"].as_str().unwrap()));
    assert_eq!((&pending["status_url"], &pending["cancel_url"]), (&json!(location), &json!(location)));
    assert_eq!(pending["events_url"], format!("{location}/events"));
    std::fs::write(&file, "").unwrap();
    assert_eq!(service.json(&format!("{location}?wait=30")).await["result"], "open");

    let id = &service.submit("/jobs/echo", &json!({"n": 1})).await;
    let location = format!("/jobs/echo/{id}");
    let report = receiver.wait_for(id).json();
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!({"n": 1})));
    assert_eq!(service.json(&format!("{location}?wait=5")).await, report);
    // In another spelling, the path is the same.
    assert_eq!(service.json(&location.replace("echo", "%65cho")).await, report);
    let (status, events) = service.text(&format!("{location}/events")).await;
    assert!(status == 200 && events.contains("\"completed\""), "{events}");
    let list = service.json("/jobs/echo?status=completed").await;
    assert_eq!(list["items"].as_array().or(list["requests"].as_array()).map(Vec::len), Some(1), "{list}");
    let head = service.client.head(service.path(&location)).send().await.unwrap();
    assert!(head.status() == 200 && head.headers()["content-length"] != "0");

    // A large result is not in the last event, which says where it is.
    let large = "x".repeat(100 << 10);
    let id = service.submit("/jobs/echo", &json!(large)).await;
    let (_, events) = service.text(&format!("/jobs/echo/{id}/events")).await;
    let url = format!("/jobs/echo/{id}/result");
    assert!(events.contains(&format!("\"result_url\":\"{url}\"")), "{events}");
    assert_eq!(service.json(&url).await, json!(large));

    let document = service.json("/jobs/openapi.json").await;
    assert_eq!((&document["servers"], &document["info"]["title"]), (&json!([{"url": "/jobs"}]), &json!("shop")));
    assert_eq!(
        service.text("/jobs/Echo").await,
        (404, "error: nothing is served at /jobs/Echo; use /jobs/echo\n".into())
    );
    assert_eq!(service.text("/jobs/healthz").await, (200, "ok\n".into()));
    assert_eq!(service.text("/jobs/readyz").await, (200, "ready\n".into()));
    assert_eq!(service.text("/jobs/_postback/").await.0, 404, "the operator has a router of its own");
    assert_eq!(handle.not_ready().await, None);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_state_and_other_routes_of_the_service_apply() {
    let (seen, listener) = (Arc::new(AtomicUsize::new(0)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    // Where the service listens is not said, so it has to say that it checks its callers.
    let (jobs, handle) = app(NOWHERE).without_tokens().await.unwrap();
    let count = |State(seen): State<Arc<AtomicUsize>>, request: Request, next: Next| async move {
        seen.fetch_add(1, Ordering::SeqCst);
        let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let mut response: Response = next.run(request).await;
        if let Some(matched) = matched {
            response.headers_mut().insert("x-matched", matched.parse().unwrap());
        }
        response
    };
    let jobs = jobs.layer(DefaultBodyLimit::max(10)).layer(from_fn_with_state(Arc::clone(&seen), count));
    let limit = async |request: Request, next: Next| next.run(request.with_limited_body()).await;
    let limited = jobs.clone().layer(from_fn(limit)).layer(DefaultBodyLimit::max(1_000));
    let router = Router::<Arc<str>>::new()
        .route("/", get(async |State(own): State<Arc<str>>| own.to_string()))
        .nest("/{tenant}/jobs", jobs.clone().with_state(()))
        .nest("/limited", limited.with_state(()))
        .fallback_service(jobs);
    let service = Service::serve(listener, router.with_state(Arc::from("of the service")));

    assert_eq!(service.text("/").await.1, "of the service");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    // A limit for axum's own extractors is none for the routes of the app.
    let id = service.submit("/acme/jobs/echo", &json!("longer than ten bytes")).await;
    let found = service.client.get(service.path(&format!("/acme/jobs/echo/{id}?wait=5"))).send().await.unwrap();
    assert_eq!(found.headers()["x-matched"], "/{tenant}/jobs/echo/{id}");
    assert_eq!(found.json::<Value>().await.unwrap()["status"], "completed");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    // At the root, the router is the service's fallback.
    assert_eq!(service.json(&format!("/echo/{id}")).await["status"], "completed");

    // A limit on the body itself holds, and says so.
    let put = |bytes: usize| service.client.post(service.path("/limited/size")).body(vec![b'x'; bytes]).send();
    assert_eq!(put(1_000).await.unwrap().status(), 200);
    let refused = put(1_001).await.unwrap();
    assert_eq!(refused.status(), 413);
    assert_eq!(
        refused.text().await.unwrap(),
        "error: the body is larger than this service allows; nothing was accepted\n"
    );
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_tokens_and_the_operator_are_checked_as_by_a_server() {
    let admin = "0123456789abcdef0123456789abcdef";
    let app = app(NOWHERE).set("server.admin_token", admin).set("server.hosts", "[\"shop.example\"]");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let internal = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (jobs, handle) = app.listens_on(listener.local_addr().unwrap()).await.unwrap();
    let service = Service::serve(listener, Router::new().nest("/jobs", jobs));
    let operator = Service::serve(internal, handle.operator());
    assert_eq!(handle.dashboard_token(), None, "server.admin_token opens it");

    let by_name = |host: &str| service.client.get(service.path("/jobs/echo")).header("host", host).send();
    assert_eq!(by_name("shop.example").await.unwrap().status(), 200);
    assert_eq!(by_name("evil.example").await.unwrap().status(), 421);

    // The operator makes a token. From now on callers need one.
    let tokens = operator.path("/_postback/api/tokens");
    let made = || operator.client.post(&tokens).json(&json!({"name": "ci"}));
    assert_eq!(made().send().await.unwrap().status(), 401);
    let made: Value = made().bearer_auth(admin).send().await.unwrap().json().await.unwrap();
    let token = made["token"].as_str().or(made["secret"].as_str()).unwrap_or_else(|| panic!("{made}"));
    assert_eq!(service.post("/jobs/echo", &json!(1)).await.status(), 401);
    let post = service.client.post(service.path("/jobs/echo")).bearer_auth(token).json(&json!(1));
    assert_eq!(post.send().await.unwrap().status(), 200);
    assert_eq!(operator.text("/_postback/").await.0, 200, "the dashboard");
    assert_eq!(operator.text("/echo").await.0, 401, "callers have another router");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_drains_and_the_next_start_goes_on() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let app = || app(&receiver.url("/in")).settings_text("").set("store.url", format!("sqlite:{}", file("jobs.db")));
    let (service, handle) = Service::nesting(app()).await;
    let in_progress = async |service: &Service, id: &str| {
        eventually_async("the run", async || {
            let status = service.json(&format!("/jobs/a/gate/{id}")).await;
            if status["status"] == "in_progress" { Ok(()) } else { Err(status) }
        })
        .await;
    };
    let id = service.submit("/jobs/a/gate", &json!(file("gate"))).await;
    in_progress(&service, &id).await;
    assert!(folder.path().join("jobs.db").exists());
    let stopping = tokio::spawn(handle.shutdown());
    eventually_async("the drain", async || {
        let (status, text) = service.text("/jobs/readyz").await;
        if status == 503 && text.contains("draining") { Ok(()) } else { Err(text) }
    })
    .await;
    let refused = service.post("/jobs/echo", &json!(1)).await;
    assert_eq!(refused.status(), 503, "{}", refused.text().await.unwrap());
    // What waits for the run learns how it ends.
    let waiting = service.path(&format!("/jobs/a/gate/{id}?wait=30"));
    let waiting = tokio::spawn(service.client.get(waiting).send());
    std::fs::write(file("gate"), "").unwrap();
    let ended: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(ended["result"], "open");
    stopping.await.unwrap();
    let (status, text) = service.text("/jobs/echo").await;
    assert_eq!(status, 503, "{text}");

    // The next start has the same store. Its handle is dropped, which cuts off the run.
    let (service, handle) = Service::nesting(app()).await;
    assert_eq!(service.json(&format!("/jobs/a/gate/{id}")).await["result"], "open");
    let id = service.submit("/jobs/a/gate", &json!(file("second"))).await;
    in_progress(&service, &id).await;
    drop(handle);
    let again = eventually_async("the store is free", async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let started = app().listens_on(listener.local_addr().unwrap()).await;
        started.map(|(jobs, handle)| (listener, jobs, handle))
    });
    let (listener, jobs, handle) = again.await;
    let service = Service::serve(listener, Router::new().nest("/jobs", jobs));
    std::fs::write(file("second"), "").unwrap();
    assert_eq!(service.json(&format!("/jobs/a/gate/{id}?wait=30")).await["result"], "open");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_at_the_start() {
    let refused = async |app: IntoRouter<Hook>| app.await.unwrap_err().to_string();
    let told = refused(app(NOWHERE)).await;
    assert!(told.starts_with("nothing says who may call the router: ") && told.contains("without_tokens"), "{told}");
    let told = refused(app(NOWHERE).listens_on("0.0.0.0:80".parse().unwrap())).await;
    assert!(told.contains("must not listen on 0.0.0.0:80"), "{told}");
    let told = refused(app(NOWHERE).set("worker.concurrency", "many").set("nonsense", "1")).await;
    assert!(told.contains("set(\"worker.concurrency\")") && told.contains("nonsense"), "{told}");
    let told = refused(app(NOWHERE).settings_text("[worker]\nthreads = 0\n")).await;
    assert!(told.contains("the text of the settings") && told.contains("worker.threads"), "{told}");
    let told = refused(app(NOWHERE).settings_file("/nonexistent/postback.toml")).await;
    assert!(told.contains("/nonexistent/postback.toml"), "{told}");
    let told = refused(app(NOWHERE).trust("htp://x")).await;
    assert!(told.starts_with("the trusted URL "), "{told}");
    let told = refused(App::new(hook()).into_router().ignore_environment()).await;
    assert!(told.contains("the app has no route"), "{told}");
    let two = App::new(hook()).route("/echo", size).route("/echo", size).into_router().ignore_environment();
    let told = refused(two).await;
    assert!(told.contains("this path has a route already"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_nothing_or_all_of_its_request() {
    let (service, handle) = Service::nesting(app(NOWHERE)).await;
    let address = service.url.trim_start_matches("http://");
    // The client leaves within its body: nothing is accepted.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /jobs/size HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\nhalf");
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    // The client leaves while it waits: its request is kept.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let payload = json!(folder.path().join("gate").to_str().unwrap()).to_string();
    let head = format!(
        "POST /jobs/a/gate HTTP/1.1\r\nhost: {address}\r\nprefer: wait=30\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{payload}",
        payload.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let id = eventually_async("the request", async || {
        let list = service.json("/jobs/a/gate").await;
        list.to_string().split("\"id\":\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned()).ok_or(list)
    })
    .await;
    drop(socket);
    std::fs::write(folder.path().join("gate"), "").unwrap();
    assert_eq!(service.json(&format!("/jobs/a/gate/{id}?wait=30")).await["result"], "open");
    let list = service.json("/jobs/size").await.to_string();
    assert!(!list.contains("\"id\""), "{list}");

    // A stream that its client leaves does not hold the shutdown up.
    let mut socket = TcpStream::connect(address).await.unwrap();
    let get = format!("GET /jobs/a/gate/{id}/events HTTP/1.1\r\nhost: {address}\r\n\r\n");
    socket.write_all(get.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    handle.shutdown().await;
}
