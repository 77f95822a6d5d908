//! A workload server with the handlers that the tests need.

#[path = "workload/choosing.rs"]
mod choosing;
#[path = "workload/ends.rs"]
mod ends;
#[path = "workload/measured.rs"]
mod measured;
#[path = "workload/pacing.rs"]
mod pacing;
#[path = "workload/replying.rs"]
mod replying;
#[path = "workload/resuming.rs"]
mod resuming;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postback::{App, Config, Headers, Payload, Progress, RequestId, State, async_handler};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument as _;

#[derive(Deserialize)]
struct Settings {
    webhook_url: Option<String>,
    /// The webhook URL of spawned tasks.
    side_url: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Work {
    #[serde(default)]
    work_ms: u64,
    #[serde(default)]
    text: String,
}

/// A payload with the name of a gate: a file in the current folder. The run waits until the file exists.
#[derive(Deserialize, JsonSchema)]
struct Gate {
    gate: String,
    #[serde(default)]
    text: String,
}

impl Gate {
    const LOOK_EVERY: Duration = Duration::from_millis(10);

    fn is_open(&self) -> bool {
        Path::new(&self.gate).exists()
    }

    async fn opened(&self) {
        while !self.is_open() {
            tokio::time::sleep(Self::LOOK_EVERY).await;
        }
    }
}

#[async_handler(webhook = config.webhook_url)]
async fn echo(config: Config<Settings>, payload: Payload<Value>, request_id: RequestId) -> Result<Value, String> {
    Ok(payload.into_inner())
}

#[async_handler(webhook = config.webhook_url)]
async fn wait(config: Config<Settings>, payload: Payload<Work>, request_id: RequestId) -> Result<String, String> {
    tokio::time::sleep(Duration::from_millis(payload.work_ms)).await;
    Ok(payload.into_inner().text)
}

/// Runs until its gate is open.
#[async_handler(webhook = config.webhook_url)]
async fn gated(config: Config<Settings>, payload: Payload<Gate>, request_id: RequestId) -> Result<String, String> {
    payload.opened().await;
    Ok(payload.into_inner().text)
}

/// Prints a line when it is dropped.
struct Dropped(RequestId);

impl Drop for Dropped {
    fn drop(&mut self) {
        println!("{} is dropped", self.0);
    }
}

/// Runs until its gate is open. Prints a line when it begins, and a line when the future is dropped.
#[async_handler(webhook = config.webhook_url)]
async fn guarded(config: Config<Settings>, payload: Payload<Gate>, request_id: RequestId) -> Result<(), String> {
    println!("{request_id} begins");
    let _dropped = Dropped(request_id);
    payload.opened().await;
    Ok(())
}

/// Blocks its thread until its gate is open. It never yields to the runtime. Prints a line when it has its thread.
#[async_handler(webhook = config.webhook_url)]
async fn block(config: Config<Settings>, payload: Payload<Gate>, request_id: RequestId) -> Result<(), String> {
    println!("a thread is blocked");
    while !payload.is_open() {
        std::thread::sleep(Gate::LOOK_EVERY);
    }
    Ok(())
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn fail(config: Config<Settings>, payload: Payload<Work>, request_id: RequestId) -> Result<(), String> {
    Err(payload.into_inner().text)
}

#[async_handler(webhook = config.webhook_url)]
async fn panic(config: Config<Settings>, payload: Payload<Work>, request_id: RequestId) -> Result<(), String> {
    panic!("{}", payload.text)
}

/// Logs in its run, in a task and on a blocking thread that it starts. Then panics.
#[async_handler(webhook = config.webhook_url)]
async fn logging(config: Config<Settings>, payload: Payload<Work>, request_id: RequestId) -> Result<(), String> {
    tracing::info!(n = 1, "at the start");
    tokio::time::sleep(Duration::from_millis(payload.work_ms)).await;
    tracing::info!(request_id = "another", "of another");
    let task = async { tracing::info!("in a task") };
    tokio::spawn(task.in_current_span()).await.map_err(|error| error.to_string())?;
    let span = tracing::Span::current();
    let blocking = tokio::task::spawn_blocking(move || span.in_scope(|| tracing::info!("on a thread")));
    blocking.await.map_err(|error| error.to_string())?;
    panic!("{}", payload.text)
}

/// Ends its process when its gate is open.
#[async_handler(webhook = config.webhook_url)]
async fn abort(config: Config<Settings>, payload: Payload<Gate>, request_id: RequestId) -> Result<(), String> {
    payload.opened().await;
    std::process::abort()
}

/// A payload that says what the run tells, and the gate at which it waits afterwards.
#[derive(Deserialize)]
struct Tell {
    steps: u32,
    gate: String,
    #[serde(default)]
    detail: Value,
}

/// Tells its steps at full speed, and one more when its gate is open.
#[async_handler(webhook = config.webhook_url)]
async fn tell(
    config: Config<Settings>,
    payload: Payload<Tell>,
    progress: Progress,
    request_id: RequestId,
) -> Result<u32, String> {
    let Tell { steps, gate, detail } = payload.into_inner();
    for step in 0..steps {
        progress.report_with(f64::from(step) / f64::from(steps), format!("step {step}"), &detail);
    }
    Gate { gate, text: String::new() }.opened().await;
    progress.report(1.0, "the gate is open");
    Ok(steps)
}

/// Returns a result that cannot be serialised, because JSON has no maps with such keys.
#[async_handler(webhook = config.webhook_url)]
async fn unserializable(config: Config<Settings>, request_id: RequestId) -> Result<HashMap<(u8, u8), u8>, String> {
    Ok(HashMap::from([((1, 2), 3)]))
}

/// A payload that says how the run must end.
#[derive(Deserialize)]
struct Wanted {
    end: String,
    /// The run waits for this gate first, if it is given.
    gate: Option<String>,
}

/// Ends as its payload says, and reports the reason.
#[async_handler(webhook = config.webhook_url, error = reason)]
async fn reasoned(
    config: Config<Settings>,
    payload: Payload<Wanted>,
    request_id: RequestId,
) -> Result<HashMap<(u8, u8), u8>, String> {
    let Wanted { end, gate } = payload.into_inner();
    println!("{request_id} begins");
    if let Some(gate) = gate {
        Gate { gate, text: String::new() }.opened().await;
    }
    match &*end {
        "completed" => Ok(HashMap::new()),
        "unserializable" => Ok(HashMap::from([((1, 2), 3)])),
        "panic" => panic!("on purpose"),
        "lost" => std::process::abort(),
        "dropped" => {
            let left = half_way(&config, format!("left-by-{request_id}"));
            drop(tokio::time::timeout(Duration::from_millis(1), left).await);
            Ok(HashMap::new())
        }
        other => Err(other.to_owned()),
    }
}

#[async_handler(webhook = config.webhook_url, request_id = id, on = [dropped], error = reason)]
async fn half_way(config: &Config<Settings>, id: String) -> Result<(), String> {
    std::future::pending().await
}

#[async_handler(webhook = config.side_url, request_id = id)]
async fn side(config: Config<Settings>, id: String) -> Result<&'static str, String> {
    Ok("from the side")
}

/// A payload with the webhook URL of the caller. The run waits for the gate, if it is given.
#[derive(Deserialize)]
struct Named {
    webhook: String,
    gate: Option<String>,
}

#[async_handler(webhook = payload.webhook)]
async fn named(payload: Payload<Named>, request_id: RequestId) -> Result<&'static str, String> {
    println!("{request_id} begins");
    if let Some(gate) = payload.into_inner().gate {
        Gate { gate, text: String::new() }.opened().await;
    }
    Ok("as the caller named it")
}

fn pick(named: &Named) -> &str {
    &named.webhook
}

/// Reports to the caller's URL. The expression calls a function, so it is evaluated only in a run.
#[async_handler(webhook = pick(&payload))]
async fn picked(payload: Payload<Named>, request_id: RequestId) -> Result<(), String> {
    Ok(())
}

/// Reports to the URL in a request header.
#[async_handler(webhook = headers.text("x-hook"))]
async fn headed(headers: Headers, request_id: RequestId) -> Result<(), String> {
    Ok(())
}

#[async_handler(webhook = hook, request_id = id)]
async fn report_from_within(hook: &str, id: String) -> Result<&'static str, String> {
    Ok("from within")
}

/// Passes the caller's webhook URL and the operator's as texts to an annotated function.
#[async_handler(webhook = config.webhook_url)]
async fn within(config: Config<Settings>, payload: Payload<Named>, request_id: RequestId) -> Result<(), String> {
    report_from_within(&payload.webhook, format!("callers-of-{request_id}")).await?;
    let of_settings = config.webhook_url.as_deref().unwrap_or_default();
    report_from_within(of_settings, format!("texts-of-{request_id}")).await?;
    Ok(())
}

/// Starts a task that reports under another id.
#[async_handler(webhook = config.webhook_url)]
async fn spawn(config: Config<Settings>, request_id: RequestId) -> Result<String, String> {
    let id = format!("side-of-{request_id}");
    tokio::spawn(side(config, id.clone()));
    Ok(id)
}

/// Has no attribute, so it reports to the webhook of its route.
async fn plain(payload: Payload<Work>) -> Result<String, String> {
    Ok(payload.into_inner().text)
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Size {
    Small,
    Large,
}

/// A payload with a schema.
#[derive(Deserialize, JsonSchema)]
struct Order {
    text: String,
    size: Size,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Bill {
    text: String,
    size: Size,
    /// The number of tags of the order.
    tags: usize,
}

/// Has schemas of its payload and its result.
#[async_handler(webhook = config.webhook_url, error = display)]
async fn described(config: Config<Settings>, payload: Payload<Order>, request_id: RequestId) -> Result<Bill, String> {
    let Order { text, size, tags } = payload.into_inner();
    if text == "fail" { Err(text) } else { Ok(Bill { text, size, tags: tags.len() }) }
}

async fn bytes(headers: Headers, payload: Payload<Bytes>) -> Result<(usize, Option<String>), String> {
    Ok((payload.len(), headers.text("content-type").map(str::to_owned)))
}

/// Returns the headers of its request, when its gate is open.
async fn headers(headers: Headers, payload: Payload<Gate>) -> Result<Vec<String>, String> {
    payload.opened().await;
    Ok(headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect())
}

/// The number of runs of each request of [`flaky`], and of all its runs.
#[derive(Default)]
struct Flaky(Mutex<HashMap<RequestId, u32>>, AtomicU32);

#[derive(Serialize, JsonSchema)]
struct Runs {
    runs: u32,
}

/// Fails in the first run of each request.
#[async_handler(webhook = config.webhook_url)]
async fn flaky(config: Config<Settings>, flaky: State<Flaky>, request_id: RequestId) -> Result<Runs, String> {
    flaky.1.fetch_add(1, Ordering::Relaxed);
    let runs = {
        let mut all = flaky.0.lock().map_err(|error| error.to_string())?;
        let runs = all.entry(request_id.clone()).or_default();
        *runs += 1;
        *runs
    };
    if runs < 2 { Err(format!("run {runs} goes wrong")) } else { Ok(Runs { runs }) }
}

#[postback::main(worker_threads = 2)]
async fn app(settings: Settings) -> App<Settings> {
    postback_tests::breaking::install();
    let of_route = settings.webhook_url.clone();
    let ends_of_route = of_route.as_ref().map(|url| format!("{url}/route"));
    let app = choosing::routes(replying::routes(measured::routes(App::new(settings))))
        .state(Flaky::default())
        .route("/echo", echo)
        .route("/wait", wait)
        .example(r#"{"work_ms":10}"#)
        .schema::<Work, String>()
        .route("/gated", gated)
        .schema::<Gate, String>()
        .route("/guarded", guarded)
        .route("/open", gated)
        .caller_webhook()
        .allow_priority()
        .route("/by_process", ends::by_process)
        .route("/block", block)
        .route("/fail", fail)
        .schema::<Work, ()>()
        .route("/panic", panic)
        .route("/abort", abort)
        .route("/logging", logging)
        .route("/unserializable", unserializable)
        .route("/tell", tell)
        .route("/paced", pacing::paced)
        .route("/watched", pacing::watched)
        .route("/reasoned", reasoned)
        .route("/spawn", spawn)
        .route("/named", named)
        .route("/picked", picked)
        .route("/headed", headed)
        .route("/within", within)
        .route("/flaky", flaky)
        .schema::<(), Runs>()
        .route("/resuming", resuming::resuming)
        .route("/oversized", resuming::oversized)
        .route("/about", resuming::about)
        .route("/bytes", bytes)
        .example("it's text")
        .route("/headers", headers)
        .route("/described", described)
        .example(r#"{"text":"hello","size":"large"}"#)
        .schema::<Order, Bill>()
        .caller_webhook()
        .route("/nested/plain", plain)
        .schema::<Work, String>()
        .webhook(of_route);
    // With this file, the program acts as a later version that no longer has the routes `/ends/…`.
    if Path::new("without_ends").exists() {
        return app;
    }
    app.route("/ends/config", ends::by_config)
        .route("/ends/payload", ends::by_payload)
        .route("/ends/function", ends::by_function)
        .route("/ends/hidden", ends::hidden)
        .route("/ends/route", ends::by_route)
        .webhook(ends_of_route)
}
