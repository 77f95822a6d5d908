//! An existing axum service with a `main` of its own, which reports the outcome of one of its functions.
//!
//! Run with, naming where to report to and, if need be, where to listen:
//!
//! ```sh
//! cargo run --example library -- http://127.0.0.1:4000/orders 127.0.0.1:3000
//! ```
//!
//! then order something, and stop it with Ctrl-C:
//!
//! ```sh
//! curl -d '{"order":"7","copies":3}' -H 'content-type: application/json' http://127.0.0.1:3000/orders
//! ```
//!
//! A receiver to watch the reports with is the inspector of the quickstart example.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use postback::{Poster, async_handler};
use serde::{Deserialize, Serialize};

/// What the service had before.
struct Shop {
    webhook_url: String,
}

#[derive(Deserialize)]
struct Order {
    order: String,
    copies: u32,
}

#[derive(Serialize)]
struct Printed {
    pages: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("nothing was ordered")]
struct NothingOrdered;

/// Called as before, and returns what it returned before; the report goes out behind it.
#[async_handler(webhook = shop.webhook_url, request_id = order.order, error = display)]
async fn print(shop: &Shop, order: Order) -> Result<Printed, NothingOrdered> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    if order.copies == 0 {
        return Err(NothingOrdered);
    }
    Ok(Printed { pages: order.copies * 12 })
}

async fn orders(State(shop): State<Arc<Shop>>, Json(order): Json<Order>) -> Result<Json<Printed>, String> {
    print(&shop, order).await.map(Json).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let mut arguments = std::env::args().skip(1);
    let webhook_url = arguments.next().ok_or("usage: library WEBHOOK_URL [LISTEN]")?;
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());

    // Trusted: this webhook is the operator's own, so it may be on this machine.
    let guard = Poster::builder().sqlite("library.db").trust(&webhook_url).install()?;

    let router = Router::new().route("/orders", post(orders)).with_state(Arc::new(Shop { webhook_url }));
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    tracing::info!("library ready on http://{}", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(told_to_stop()).await?;

    // What is not delivered by then is on disk, and the next start goes on with it.
    let flushed = guard.shutdown(Duration::from_secs(5)).await;
    tracing::info!("reports: {flushed}");
    Ok(())
}

async fn told_to_stop() {
    // An error means that no signal will come.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
