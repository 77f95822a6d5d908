//! Handlers that ask for more than their payload: for what an earlier run has left, and for metadata.

use postback::{Checkpoint, HandlerError, IntoHandlerError as _, Metadata, Payload};
use serde::Serialize;

use super::Gate;

#[derive(Serialize)]
pub(crate) struct Ran {
    begun_at: u32,
    ended_at: u32,
}

/// Counts three further, saves each number, and then waits until the gate is open.
pub(crate) async fn resuming(gate: Payload<Gate>, checkpoint: Checkpoint<u32>) -> Result<Ran, HandlerError> {
    let begun_at = checkpoint.last().copied().unwrap_or(0);
    let ended_at = begun_at + 3;
    for number in begun_at + 1..=ended_at {
        checkpoint.save(&number).await?;
    }
    println!("saved {ended_at}");
    gate.opened().await;
    Ok(Ran { begun_at, ended_at })
}

/// Returns the metadata of its request.
pub(crate) async fn about(metadata: Metadata) -> Result<Option<serde_json::Value>, HandlerError> {
    Ok(metadata.read()?)
}

/// Saves a value that is too large.
pub(crate) async fn oversized(checkpoint: Checkpoint<String>) -> Result<(), HandlerError> {
    let value = "x".repeat(300 << 10);
    checkpoint.save(&value).await.map_err(|error| error.permanent())
}
