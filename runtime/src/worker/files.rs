//! Writes the files of a payload to disk before the run. They are removed when the run has ended.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::handler::{Multipart, Route, RunInfo};
use postback_store::ClaimedRequest;

/// A payload that is larger waits for its turn. While a payload is read, it is in memory several times.
const LARGE: usize = 1 << 20;
/// The turns of these payloads.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Adds the parts of the payload, with its large files on disk, if the handler takes files. If they cannot be written, the
/// run fails, and may be repeated as after any other error.
pub(super) async fn with_files(route: &Route, row: &ClaimedRequest, info: RunInfo) -> RunInfo {
    if !route.needs.files {
        return info;
    }
    let (headers, body) = (row.headers.clone(), row.body.clone());
    // The semaphore is never closed.
    let _turn = if body.len() > LARGE { AT_ONCE.acquire().await.ok() } else { None };
    // Reading a large body and writing its files would stop other runs for too long on this thread.
    let written = tokio::task::spawn_blocking(move || Multipart::on_disk(&headers, &body));
    let written = written.await.unwrap_or_else(|_| Err("reading the payload panicked".to_owned()));
    RunInfo { multipart: Some(written.map_err(Arc::from)), ..info }
}
