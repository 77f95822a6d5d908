//! A result that is not JSON: bytes, a file or a stream, with a content type of their own.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{AfterError, Ended};
use crate::panics::contain;
use crate::results::{Content, Results};
use postback_wire::report::Json;

/// The content type of a reply that says nothing else.
const BYTES: &str = "application/octet-stream";
/// The largest content type, in bytes.
const MAX_TYPE: usize = 255;

/// A result with a content type of its own, such as an image: `async fn render(…) -> Result<Reply, E>`.
///
/// The bytes are kept outside the store, in the place that the setting `results.url` names. `GET ROUTE/{id}/result`
/// answers with them. Reports and answers about the request have a [`StoredResult`](crate::StoredResult) in their place:
/// where the bytes are, how many, and their digest. They are deleted with the request.
///
/// ```
/// use postback::{Payload, Reply, RequestId, async_handler};
///
/// #[async_handler(webhook = "\"https://example.com/hooks\"")]
/// async fn dot(color: Payload<[u8; 3]>, request_id: RequestId) -> Result<Reply, String> {
///     let mut pixmap = b"P6 1 1 255\n".to_vec();
///     pixmap.extend(*color);
///     Ok(Reply::new(pixmap).content_type("image/x-portable-pixmap"))
/// }
/// ```
///
/// If the place does not take the bytes, the worker tries again until it does, and the request stays in progress. If
/// there is no such place, if a file cannot be read, or if there are more bytes than `results.max_size`, the request
/// fails. A handler of a batch may return replies, too.
pub struct Reply {
    source: Source,
    content_type: String,
}

type Bytestream = Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> + Send>>;

enum Source {
    Bytes(Bytes),
    File(PathBuf),
    /// The lock lets threads share a reply. It is never contended.
    Stream(Mutex<Bytestream>),
}

impl Reply {
    /// Makes a reply of bytes that are in memory.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Bytes(bytes.into()))
    }

    /// Makes a reply of a file, which is read after the handler has returned, in pieces. The file stays where it is.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(path.into()))
    }

    /// Makes a reply of a stream. It is read to its end as a part of the run, and written to a file first. An error of
    /// the stream fails the run, as an error of the handler does.
    pub fn stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream: Bytestream = Box::pin(stream.map(|piece| piece.map(Into::into).map_err(Into::into)));
        Self::of(Source::Stream(Mutex::new(stream)))
    }

    fn of(source: Source) -> Self {
        Self { source, content_type: BYTES.to_owned() }
    }

    /// Sets the content type, for example `image/png`. The default is `application/octet-stream`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match &self.source {
            Source::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Source::File(path) => path.display().to_string(),
            Source::Stream(_) => "a stream".to_owned(),
        };
        write!(f, "Reply({of}, {})", self.content_type)
    }
}

/// Where no server keeps the bytes, reports say only what they are.
impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Reply", 2)?;
        shown.serialize_field("content_type", &self.content_type)?;
        let size = if let Source::Bytes(bytes) = &self.source { Some(bytes.len()) } else { None };
        shown.serialize_field("size", &size)?;
        shown.end()
    }
}

/// A reply that a handler has returned.
#[derive(Debug)]
pub(crate) struct Replied {
    reply: Reply,
    /// The reply as JSON, as the attribute shows it if it shows the whole result.
    json: Option<Json>,
}

/// A reply whose bytes can be read without code of the user.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) content: Arc<Content>,
    pub(crate) content_type: String,
    pub(crate) json: Option<Json>,
}

/// Takes the reply out of a result, if the result is one.
pub(super) fn taken<T: 'static>(result: &mut Option<T>) -> Option<Replied> {
    let reply = (result as &mut dyn Any).downcast_mut::<Option<Reply>>()?.take()?;
    let json = Json::of(&reply).ok().flatten();
    Some(Replied { reply, json })
}

impl Replied {
    /// Writes what a stream yields into a file without a name. The code of the stream runs here. Without a place for
    /// results, no stream is read.
    pub(crate) async fn ready(self, results: Option<&Arc<Results>>) -> Ended {
        let Self { reply: Reply { source, content_type }, json } = self;
        let failed = |text: String| Ended::Failed { text, after: AfterError::Permanent };
        if content_type.len() > MAX_TYPE || HeaderValue::from_str(&content_type).is_err() || content_type.is_empty() {
            let wanted = "the content type of its reply is no value of a header; use one such as image/png";
            return failed(wanted.to_owned());
        }
        let content = match source {
            Source::Bytes(bytes) => Content::Bytes(bytes),
            Source::File(path) => Content::File(path),
            Source::Stream(stream) => match results {
                None => Content::Bytes(Bytes::new()),
                Some(results) => match contain(spooled(unlocked(stream), results)).await {
                    Ok(Ok(content)) => content,
                    Ok(Err(SpoolError::TooLarge(max))) => {
                        return failed(format!("the stream of its reply has more than {max} bytes (results.max_size)"));
                    }
                    Ok(Err(error)) => return Ended::Failed { text: error.to_string(), after: AfterError::Usual },
                    Err(message) => return Ended::Panicked(message),
                },
            },
        };
        Ended::Replied(Box::new(Ready { content: Arc::new(content), content_type, json }))
    }
}

fn unlocked(stream: Mutex<Bytestream>) -> Bytestream {
    stream.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Why a stream was not read to its end.
#[derive(Debug, thiserror::Error)]
enum SpoolError {
    #[error("the stream of its reply has more than {0} bytes")]
    TooLarge(u64),
    #[error("the stream of its reply has failed: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
    #[error("the stream of its reply cannot be written to a file: {0}")]
    Unwritten(#[from] io::Error),
}

async fn spooled(mut stream: Bytestream, results: &Arc<Results>) -> Result<Content, SpoolError> {
    let max = results.max_size();
    let results = Arc::clone(results);
    let mut file = tokio::task::spawn_blocking(move || results.spool()).await.map_err(io::Error::other)??;
    let mut size = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(SpoolError::Failed)?;
        size += piece.len() as u64;
        if size > max {
            return Err(SpoolError::TooLarge(max));
        }
        let written = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file));
        file = written.await.map_err(io::Error::other)??;
    }
    Ok(Content::Spooled(file))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::results::{self, Place};

    async fn ended(reply: Reply, max: u64) -> Ended {
        let options = results::Options { place: Some(Place::memory()), max_size: max, ..results::Options::default() };
        let results = Results::of(&options, std::time::Duration::MAX).map(Arc::new);
        let mut result = Some(reply);
        taken(&mut result).unwrap().ready(results.as_ref()).await
    }

    fn text(ended: Ended) -> String {
        match ended {
            Ended::Failed { text, .. } | Ended::Panicked(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_reply_is_taken() {
        assert!(taken(&mut Some(1)).is_none() && taken(&mut Some("x")).is_none());
        let replied = taken(&mut Some(Reply::new("abc").content_type("text/plain"))).unwrap();
        assert_eq!(&replied.json.unwrap().bytes()[..], br#"{"content_type":"text/plain","size":3}"#);
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end_and_is_bounded() {
        let pieces = |n: usize| stream::iter((0..n).map(|_| Ok::<_, std::io::Error>("0123456789")));
        let Ended::Replied(ready) = ended(Reply::stream(pieces(3)), 30).await else { panic!("it is a reply") };
        assert!(matches!(*ready.content, Content::Spooled(_)));
        assert_eq!(ready.content_type, BYTES);
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>("0123456789"));
        let why = text(ended(Reply::stream(endless), 1_000).await);
        assert!(why.contains("more than 1000 bytes (results.max_size)"), "{why}");
    }

    #[tokio::test]
    async fn an_error_and_a_panic_of_a_stream_end_the_run() {
        let failing = stream::iter([Ok("x"), Err("no more ink")]);
        assert_eq!(text(ended(Reply::stream(failing), 9).await), "the stream of its reply has failed: no more ink");
        let panicking = stream::poll_fn(|_| -> std::task::Poll<Option<Result<&str, String>>> { panic!("in a stream") });
        assert_eq!(text(ended(Reply::stream(panicking), 9).await), "in a stream");
    }

    #[tokio::test]
    async fn a_content_type_that_is_no_header_fails_the_run() {
        for wrong in ["", "image/png\r\nx: y", &"x".repeat(256)] {
            let why = text(ended(Reply::new("x").content_type(wrong), 9).await);
            assert!(why.contains("no value of a header"), "{why}");
        }
    }
}
