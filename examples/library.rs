//! An existing axum service with its own `main`. The service reports the outcome of one of its functions by webhook.
//!
//! Run the service. The first argument is the webhook URL; the second argument, the address to listen on, is optional:
//!
//! ```sh
//! cargo run --example library -- http://127.0.0.1:4000/orders 127.0.0.1:3000
//! ```
//!
//! Then send an order from another terminal. To stop the service, press Ctrl-C:
//!
//! ```sh
//! curl -d '{"order":"7","copies":3}' -H 'content-type: application/json' http://127.0.0.1:3000/orders
//! ```
//!
//! To see the reports, run the quickstart example with `--inspect`: it starts a receiver that prints them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use postback::{Poster, async_handler};
use serde::{Deserialize, Serialize};

/// The state that the service already had before postback was added.
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

/// The service calls this function as before, and gets the same return value as before. In addition, the function's
/// outcome is reported by webhook in the background.
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

    // `trust` says that the operator chose this webhook. So reports may go to it even if it is on this machine.
    let guard = Poster::builder().sqlite("library.db").trust(&webhook_url).install()?;

    let router = Router::new().route("/orders", post(orders)).with_state(Arc::new(Shop { webhook_url }));
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    tracing::info!("library ready on http://{}", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(stop_signal()).await?;

    // The shutdown waits up to 5 s for deliveries. Reports that are still undelivered are on disk, and the next start
    // delivers them.
    let flushed = guard.shutdown(Duration::from_secs(5)).await;
    tracing::info!("reports: {flushed}");
    Ok(())
}

async fn stop_signal() {
    // An error means that Ctrl-C cannot be received, so this future never ends.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
