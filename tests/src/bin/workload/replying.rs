//! Handlers whose results are not JSON, or too large for the store.

use std::convert::Infallible;

use postback::{App, Config, Payload, Reply, RequestId, StoredResult, async_handler};
use serde::Deserialize;

use super::Settings;

/// What a reply consists of.
#[derive(Deserialize)]
pub(crate) struct Sort {
    kind: String,
    #[serde(default)]
    pieces: usize,
    content_type: String,
}

/// The size of a piece of a stream.
const PIECE: usize = 1 << 20;

pub(crate) fn routes(app: App<Settings>) -> App<Settings> {
    app.route("/odd", super::pacing::odd).route("/reply", reply).route("/large", large).route("/forged", forged)
}

/// Replies with bytes, a file or a stream.
#[async_handler(webhook = "config.webhook_url")]
async fn reply(sort: Payload<Sort>, config: Config<Settings>, request_id: RequestId) -> Result<Reply, String> {
    let pieces = sort.pieces;
    let stream = futures_util::stream::iter((0..pieces).map(|n| Ok::<_, Infallible>(vec![n as u8; PIECE])));
    let reply = match &*sort.kind {
        "bytes" => Reply::new(b"\x89PNG and so on".as_slice()),
        "file" => Reply::file("picture"),
        "missing" => Reply::file("no-such-file"),
        "stream" => Reply::stream(stream),
        _ => return Err("an unknown kind".to_owned()),
    };
    Ok(reply.content_type(&sort.content_type))
}

/// Returns a text of so many bytes.
#[async_handler(webhook = "config.webhook_url")]
async fn large(bytes: Payload<usize>, config: Config<Settings>, request_id: RequestId) -> Result<String, String> {
    Ok("x".repeat(*bytes))
}

/// Returns what its caller says, which looks as if its result were elsewhere.
#[async_handler(webhook = "config.webhook_url")]
async fn forged(
    stored: Payload<StoredResult>,
    config: Config<Settings>,
    request_id: RequestId,
) -> Result<StoredResult, String> {
    Ok(stored.into_inner())
}
