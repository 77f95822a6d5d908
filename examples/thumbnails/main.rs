//! A server that makes a thumbnail of each PNG or JPEG file that a caller posts.
//!
//! Run the server. The variable lets the webhooks of callers reach this machine, which they usually may not:
//!
//! ```sh
//! POSTBACK_DELIVERY__ALLOW_NETWORKS=127.0.0.0/8 cargo run --example thumbnails -- serve --inspect
//! ```
//!
//! Then post a picture from another terminal. The header `x-webhook-url` says where the report goes:
//!
//! ```sh
//! curl --data-binary @examples/thumbnails/landscape.jpg -H 'content-type: image/jpeg' \
//!     -H 'x-webhook-url: http://127.0.0.1:4000/thumbnails' http://127.0.0.1:8080/thumbnail
//! ```
//!
//! The report has the path of the thumbnail as `result_url`. Open it in a browser.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageReader, Limits};
use postback::{App, Headers, Payload, Reply, RequestId, State, async_handler};
use serde::Deserialize;

/// The settings of this program: the table `[config]` in postback.toml. Every setting has a default.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The length of a thumbnail's longer side, in pixels.
    max_side: u32,
    /// The quality of a thumbnail's JPEG, from 1 to 100.
    quality: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_side: 160, quality: 80 }
    }
}

/// Makes thumbnails. The encoder is created once, and all requests share it.
struct Encoder {
    max_side: u32,
    quality: u8,
    limits: Limits,
}

#[derive(Debug, thiserror::Error)]
enum ThumbnailError {
    #[error("the file cannot be read as a PNG or JPEG: {0}")]
    Image(#[from] image::ImageError),
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the work was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The caller chooses the webhook URL. So the reports are unsigned, and they go only to public addresses and to the
/// networks that the operator allows with `delivery.allow_networks`.
#[async_handler(webhook = headers.text("x-webhook-url"), error = display)]
async fn thumbnail(
    headers: Headers,
    encoder: State<Encoder>,
    payload: Payload<Bytes>,
    request_id: RequestId,
) -> Result<Reply, ThumbnailError> {
    let encoder = encoder.into_inner();
    // Decoding a picture needs much CPU time, so it must not run on the threads that all handlers share.
    let jpeg = tokio::task::spawn_blocking(move || encoder.make(payload.into_inner())).await??;
    // The picture is kept beside the database, and the report says where callers get it.
    Ok(Reply::new(jpeg).content_type("image/jpeg"))
}

impl Encoder {
    fn new(settings: &Settings) -> Self {
        // A small file may decode to an enormous picture, so the size of a picture is limited.
        let mut limits = Limits::default();
        limits.max_image_width = Some(12_000);
        limits.max_image_height = Some(12_000);
        limits.max_alloc = Some(512 << 20);
        Self { max_side: settings.max_side.max(1), quality: settings.quality.clamp(1, 100), limits }
    }

    fn make(&self, file: Bytes) -> Result<Vec<u8>, ThumbnailError> {
        let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
        reader.limits(self.limits.clone());
        let small = reader.decode()?.thumbnail(self.max_side, self.max_side).into_rgb8();
        let mut jpeg = Vec::new();
        small.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, self.quality))?;
        Ok(jpeg)
    }
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    let encoder = Encoder::new(&settings);
    App::new(settings).state(encoder).route("/thumbnail", thumbnail)
}
