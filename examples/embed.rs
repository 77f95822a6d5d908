//! An existing axum service that takes long work in: the app is a router below `/jobs`, behind the service's own check of
//! its callers, and the service gets the reports itself.
//!
//! Run the service. The argument, the address to listen on, is optional:
//!
//! ```sh
//! cargo run --example embed -- 127.0.0.1:3000
//! ```
//!
//! Then post a job from another terminal, and ask for it. To stop the service, press Ctrl-C: the job still ends.
//!
//! ```sh
//! curl -d '{"pages":3}' -H 'content-type: application/json' -H 'x-api-key: secret' http://127.0.0.1:3000/jobs/print
//! curl -H 'x-api-key: secret' http://127.0.0.1:3000/printed
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use postback::{App, Config, Payload, Program, ReceivedReport, RequestId, async_handler};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The state that the service already had. The handlers of the app have it, too.
#[derive(Default)]
struct Shop {
    printed: AtomicU32,
}

/// What the handlers of the app need: the URL of the service's own webhook.
struct Settings {
    webhook_url: String,
}

#[derive(Deserialize)]
struct Job {
    pages: u32,
}

#[derive(Serialize, Deserialize)]
struct Printed {
    pages: u32,
}

/// Long work. It goes on while the service answers other calls, and starts again if the service is killed.
#[async_handler(webhook = config.webhook_url, error = display)]
async fn print(config: Config<Settings>, job: Payload<Job>, request_id: RequestId) -> Result<Printed, String> {
    if job.pages == 0 {
        return Err("there is nothing to print".to_owned());
    }
    tokio::time::sleep(Duration::from_millis(100) * job.pages).await;
    Ok(Printed { pages: job.pages })
}

/// The service's own check of its callers. It applies to the jobs as to all other routes.
async fn check_key(request: Request, next: Next) -> Response {
    match request.headers().get("x-api-key") {
        Some(key) if key == "secret" => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, "send your key in the header x-api-key\n").into_response(),
    }
}

async fn printed(State(shop): State<Arc<Shop>>) -> String {
    format!("{} pages\n", shop.printed.load(Ordering::Relaxed))
}

/// Takes the reports. A service in production verifies them: see `postback::verify`.
async fn reported(State(shop): State<Arc<Shop>>, body: String) -> Result<StatusCode, String> {
    let report: ReceivedReport<Printed> = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    if let Some(Printed { pages }) = report.result {
        shop.printed.fetch_add(pages, Ordering::Relaxed);
    }
    tracing::info!("the job {} is {:?}", report.id, report.status);
    Ok(StatusCode::NO_CONTENT)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await?;
    let address = listener.local_addr()?;
    let webhook_url = format!("http://{address}/reports");

    // The app starts here. Its settings come from postback.toml, if there is one, and from the environment.
    let (jobs, postback) = App::new(Settings { webhook_url: webhook_url.clone() })
        .route("/print", print)
        .concurrency(2)
        .into_router()
        .program(Program::new("embed", "0.1.0"))
        .trust(webhook_url)
        .listens_on(address)
        .without_tokens() // `check_key` checks the callers.
        .await?;

    let service = Router::new()
        .route("/printed", get(printed))
        .nest("/jobs", jobs.with_state(()))
        .layer(from_fn(check_key))
        .route("/reports", post(reported))
        .with_state(Arc::<Shop>::default());
    tracing::info!("embed ready on http://{address}");
    let stop = async move {
        tokio::select! {
            // An error means that Ctrl-C cannot be received.
            Ok(()) = tokio::signal::ctrl_c() => tracing::info!("stopping; jobs have 25 s"),
            why = postback.broken() => tracing::error!("{why}: the service ends, to be started again"),
        }
        // The jobs end first, and the service afterwards. So callers learn how their jobs end.
        postback.shutdown().await;
    };
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    Ok(())
}
