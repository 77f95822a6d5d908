//! Tests of the program `postback`, with containers that work, fail, hang and go away.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use postback_tests::{Process, Receiver, client, eventually_async};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postback");

/// What a container got.
type Got = Arc<std::sync::Mutex<Vec<(HeaderMap, Bytes)>>>;

fn with(status: u16, content_type: &str, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).header("content-type", content_type).body(body.into()).unwrap()
}

/// A container that does what the body of each request asks for.
fn container(got: &Got) -> Router {
    let (got, failures) = (Arc::clone(got), Arc::new(AtomicUsize::new(0)));
    Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
        got.lock().unwrap().push((headers, body.clone()));
        match &*body {
            b"fail twice" if failures.fetch_add(1, Ordering::Relaxed) < 2 => with(500, "text/plain", "not yet \x1b[2J"),
            b"refuse" => with(400, "text/plain", "no such thing"),
            b"redirect" => {
                Response::builder().status(307).header("location", "/elsewhere").body(Body::empty()).unwrap()
            }
            b"created" => with(201, "application/json", "{}"),
            b"html" => with(200, "text/html", "<p>"),
            b"not json" => with(200, "application/json", "{"),
            b"without end" => {
                let chunks =
                    futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'1'; 4096])));
                with(200, "application/json", Body::from_stream(chunks))
            }
            b"hang" => std::future::pending().await,
            _ => with(200, "application/json", format!("{{ \"length\":\n {} }}", body.len())),
        }
    })
}

async fn serve(router: Router, at: &str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

fn start(folder: &Path, settings: &str) -> Process {
    std::fs::write(folder.join("postback.toml"), settings).unwrap();
    Process::start(PROGRAM, folder, &["--listen", "127.0.0.1:0"], &[])
}

async fn post(url: &str, body: &'static str) -> String {
    let post = client().post(format!("{url}/job")).header("x-mine", "1").body(body);
    let answer: Value = post.send().await.unwrap().json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

async fn ended(url: &str, id: &str) -> Value {
    let get = client().get(format!("{url}/job/{id}?wait=60"));
    get.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_does_the_work_and_its_answers_are_outcomes() {
    let (folder, receiver, got) = (tempfile::tempdir().unwrap(), Receiver::start(), Got::default());
    let (target, _container) = serve(container(&got), "127.0.0.1:0").await;
    let settings = format!(
        "[[forward]]\npath = '/job'\nurl = 'http://{target}/do?x=1'\nwebhook = '{}'\nmax_answer = '64KiB'\n\
         [route.'/job']\nmax_attempts = 3\nretry_delay = '10ms'\ntimeout = '2s'\nconcurrency = 8\n",
        receiver.url("/in")
    );
    let mut process = start(folder.path(), &settings);
    let url = process.ready();
    let output = process.output();
    assert!(output.contains(&format!("forward to http://{target}/do")), "{output}");
    let line = output.lines().find(|line| line.contains("settings, forward[0]")).unwrap();
    assert!(line.ends_with(&format!("webhook {}", receiver.url("/in"))), "{line}");

    let id = post(&url, "work").await;
    let report = receiver.wait_for(&id);
    assert_eq!(report.path, "/in");
    let report = report.json();
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!({"length": 4})));
    assert_eq!(ended(&url, &id).await, report);
    let (headers, body) = got.lock().unwrap().remove(0);
    assert_eq!((headers["x-cortex-request-id"].to_str().unwrap(), &*body), (&*id, b"work".as_slice()));
    assert_eq!(headers["x-mine"], "1");
    assert_eq!(headers["host"], *target.to_string());

    let id = post(&url, "fail twice").await;
    assert_eq!(ended(&url, &id).await["status"], "completed");
    let attempts: Vec<_> =
        got.lock().unwrap().drain(..).map(|(headers, _)| headers["postback-attempt"].clone()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);

    for (body, runs, says) in [
        ("refuse", 1, "the target answered 400 Bad Request: no such thing"),
        ("redirect", 1, "the target answered 307 Temporary Redirect"),
        ("created", 1, "the target answered 201 Created: {}"),
        ("without end", 1, "the target's answer has more than 65536 bytes"),
        ("html", 3, "the target's answer has the content type text/html"),
        ("not json", 3, "the target's answer is not valid JSON"),
    ] {
        let id = post(&url, body).await;
        assert_eq!(ended(&url, &id).await, json!({"id": id, "status": "failed"}), "{body}");
        assert_eq!(receiver.wait_for(&id).json(), json!({"id": id, "status": "failed"}));
        assert_eq!(got.lock().unwrap().drain(..).count(), runs, "{body}");
        process.wait_for(says);
    }

    // A container that hangs is left when the time of the run is over.
    let id = post(&url, "hang").await;
    assert_eq!(ended(&url, &id).await["status"], "failed");
    process.wait_for("it ran longer than 2.0 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_container_that_is_down() {
    let (folder, receiver, got) = (tempfile::tempdir().unwrap(), Receiver::start(), Got::default());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let settings = format!(
        "config.webhook_url = '{}'\n[[forward]]\npath = '/job'\nurl = 'http://{free}/'\nready = '/ready'\n",
        receiver.url("/")
    );
    let mut process = start(folder.path(), &settings);
    let url = process.ready();
    let id = post(&url, "work").await;
    process.wait_for(&format!("the target http://{free}/ cannot be reached, so its requests wait"));

    // It accepts connections, but is not ready yet.
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let unready = Router::new().fallback(async move || {
        seen.fetch_add(1, Ordering::Relaxed);
        with(503, "text/plain", "loading")
    });
    let (_, loading) = serve(unready, &free.to_string()).await;
    eventually_async("it is asked whether it is ready", async || {
        (asked.load(Ordering::Relaxed) > 0).then_some(()).ok_or("not asked")
    })
    .await;
    loading.abort();
    let _ = loading.await;

    let ready = eventually_async("the port is free", async || TcpListener::bind(free).await).await;
    let container = container(&got);
    tokio::spawn(async move { axum::serve(ready, container).await.unwrap() });
    assert_eq!(receiver.wait_for(&id).json()["result"], json!({"length": 4}));
    process.wait_for("is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cancelled_leaves_its_container() {
    let (folder, got) = (tempfile::tempdir().unwrap(), Got::default());
    let (target, _container) = serve(container(&got), "127.0.0.1:0").await;
    let mut process = start(folder.path(), &format!("[[forward]]\npath = '/job'\nurl = 'http://{target}/'\n"));
    let url = process.ready();
    let hangs = post(&url, "hang").await;
    eventually_async("the container works", async || got.lock().unwrap().pop().ok_or("nothing")).await;
    // The container gets one request at a time, so this one waits until the first is cancelled.
    let waits = post(&url, "work").await;
    client().delete(format!("{url}/job/{hangs}")).send().await.unwrap();
    assert_eq!(ended(&url, &hangs).await["status"], "cancelled");
    assert_eq!(ended(&url, &waits).await["result"], json!({"length": 4}));
}

#[test]
fn what_is_missing_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path(), "");
    assert_eq!(process.ended().code(), Some(2));
    process.wait_for("the app has no route; add one with `App::route`, or with `[[forward]]` in the settings");

    let mut process = start(folder.path(), "[[forward]]\npath = '/healthz'\nurl = 'http://127.0.0.1:1/'\n");
    assert_eq!(process.ended().code(), Some(2));
    process.wait_for("settings, forward[0]: route /healthz: `/healthz` is reserved for the server");

    let settings = "[[forward]]\npath = '/a'\nurl = 'https://127.0.0.1:1/'\nca_file = 'missing.pem'\n";
    let mut process = start(folder.path(), settings);
    assert_eq!(process.ended().code(), Some(2));
    process.wait_for("missing.pem");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_puts_a_queue_before_a_python_server() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start());
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let forward = format!("[{{ path = '/mood', url = 'http://127.0.0.1:{port}/predict', ready = '/healthz' }}]");
    let (port, hook) = (port.to_string(), receiver.url("/"));
    let variables = [
        ("PORT", port.as_str()),
        ("POSTBACK_FORWARD", &forward),
        ("POSTBACK_CONFIG__WEBHOOK_URL", &hook),
        ("POSTBACK_STORE__URL", "memory:"),
    ];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/container/start");
    let arguments = [script, PROGRAM, "--listen", "127.0.0.1:0"];
    let mut process = Process::start("bash", folder.path(), &arguments, &variables);
    let url = process.ready();
    let post = client().post(format!("{url}/mood")).json(&json!({"text": "A great, great day."}));
    let answer: Value = post.timeout(Duration::from_secs(60)).send().await.unwrap().json().await.unwrap();
    let report = receiver.wait_for(answer["id"].as_str().unwrap()).json();
    assert_eq!(report["result"], json!({"score": 2, "mood": "good"}));
    process.terminate();
    process.ended();
}
