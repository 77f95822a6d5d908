//! The answer with the state of a request, or with its result alone. A large result is read from the store piece by
//! piece, as the client reads it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::answer_memory::{AnswerMemory, AnswerSlot, PIECE};
use super::answer_source::AnswerSource;
use super::coding::{Coding, Encoder};
use super::open_connections::Connection;
use super::response::status_of;
use crate::results::Results;
use postback_store::{Error, Kept, Member, RequestClaim, Stage, Store, Summary};
use postback_wire::id::RequestId;
use postback_wire::report;

/// The smallest answer, in bytes, that is compressed if its client asks for that. A smaller answer is sent as one
/// packet in any case.
const MIN_CODED: usize = 1 << 10;

/// The JSON text of an answer. Some parts of the text are in memory, and other parts are still in the store.
pub(super) struct AnswerText {
    parts: VecDeque<Part>,
    /// Whether line breaks of the stored parts become spaces. JSON allows line breaks between its tokens, but an event
    /// has one line.
    is_one_line: bool,
}

enum Part {
    InMemory(Bytes),
    /// A part of the text that is not in memory: the result or the error of the request. The bytes from `at` to `len`
    /// must still be sent.
    Stored {
        source: AnswerSource,
        at: usize,
        len: usize,
        /// All bytes of the part. `None` unless the part is so short that the store has already returned all of its
        /// bytes.
        whole: Option<Bytes>,
    },
}

/// The reason why an answer cannot be sent, or ends before the whole answer was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("there was not enough memory for the answer")]
    NoMemory,
    #[error("the request was deleted while its result was read")]
    Purged,
    #[error("the client was too slow")]
    TooSlow,
    #[error("the place of the results does not answer: {0}")]
    Elsewhere(String),
    #[error("the store does not answer")]
    Store(#[source] Error),
    #[error("the answer cannot be compressed")]
    Coding(#[source] std::io::Error),
}

/// The client of an answer: what it asks for, beside the text.
pub(super) struct Reader {
    pub(super) connection: Option<Arc<Connection>>,
    /// The coding that the client asks for.
    pub(super) coding: Option<Coding>,
    /// Whether the client asks for the head of the answer alone.
    is_head: bool,
}

impl Reader {
    pub(super) fn of(request: &mut Request) -> Self {
        let is_head = request.method() == Method::HEAD;
        let coding = Coding::accepted(request.headers()).filter(|_| !is_head);
        Self { connection: request.extensions_mut().remove(), coding, is_head }
    }

    /// Makes the reader of the answer to a `POST` with these headers.
    pub(super) fn of_post(connection: Option<Arc<Connection>>, headers: &HeaderMap) -> Self {
        Self { connection, coding: Coding::accepted(headers), is_head: false }
    }
}

/// The body of an answer, and its coding. `None`: the body is not compressed.
pub(super) struct Coded {
    pub(super) body: Body,
    pub(super) coding: Option<Coding>,
}

impl AnswerText {
    /// Makes the text with the state of a request. If the request is over, the text consists of the bytes of the
    /// request's report and a line break. `more` is the text of another member of the JSON object, and begins with a
    /// comma.
    pub(super) fn of(id: &RequestId, summary: &Summary, more: Option<Vec<u8>>) -> Self {
        Self::framed(id, summary, "", more, "\n")
    }

    /// Makes the text of an event. The text is that of the answer with the state of a request, on one line, between
    /// `before` and `after`.
    pub(super) fn of_event(
        id: &RequestId,
        summary: &Summary,
        before: &str,
        more: Option<Vec<u8>>,
        after: &str,
    ) -> Self {
        Self { is_one_line: true, ..Self::framed(id, summary, before, more, after) }
    }

    fn framed(id: &RequestId, summary: &Summary, before: &str, more: Option<Vec<u8>>, after: &str) -> Self {
        let mut text = Self { parts: VecDeque::new(), is_one_line: false };
        let mut own = before.as_bytes().to_vec();
        own.push(b'{');
        report::write_id_and_status(id.as_str(), status_of(&summary.stage), &mut own);
        if let Stage::Settled(end) = &summary.stage {
            report::write_reason(end.reason.as_ref(), &mut own);
            if let Some(result) = &end.result {
                own.extend_from_slice(b",\"result\":");
                text.push_stored(&mut own, id, Member::Result, result);
                // The result of `write!` is ignored, because writing to a `Vec` cannot fail.
                let _ = write!(own, ",\"timestamp\":\"{}\"", end.finished);
            }
            if let Some(error) = &end.error {
                own.extend_from_slice(b",\"error\":");
                text.push_stored(&mut own, id, Member::Error, error);
            }
        }
        report::write_metadata(summary.extras.as_ref().and_then(|extras| extras.metadata.as_deref()), &mut own);
        own.extend(more.unwrap_or_default());
        own.push(b'}');
        own.extend_from_slice(after.as_bytes());
        text.parts.push_back(Part::InMemory(own.into()));
        text
    }

    /// Makes a text that is a part of the result of a request: the bytes of `range`, which must be within the result.
    pub(super) fn of_result(id: RequestId, result: &Kept, range: Range<usize>) -> Self {
        let whole = result.whole.as_ref().map(|whole| whole.slice(range.clone()));
        let source = AnswerSource::Store(id, Member::Result);
        let part = Part::Stored { source, at: range.start, len: range.end, whole };
        Self { parts: VecDeque::from([part]), is_one_line: false }
    }

    /// Makes a text that is a part of a result outside the store.
    pub(super) fn of_elsewhere(results: Arc<Results>, claim: RequestClaim, range: Range<usize>) -> Self {
        let source = AnswerSource::Elsewhere(results, claim);
        let part = Part::Stored { source, at: range.start, len: range.end, whole: None };
        Self { parts: VecDeque::from([part]), is_one_line: false }
    }

    /// Makes an answer from a text.
    pub(super) fn of_text(text: Vec<u8>) -> Self {
        Self { parts: VecDeque::from([Part::InMemory(text.into())]), is_one_line: false }
    }

    fn push_stored(&mut self, own: &mut Vec<u8>, id: &RequestId, member: Member, kept: &Kept) {
        self.parts.push_back(Part::InMemory(std::mem::take(own).into()));
        let source = AnswerSource::Store(id.clone(), member);
        self.parts.push_back(Part::Stored { source, at: 0, len: kept.len, whole: kept.whole.clone() });
    }

    fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// Returns the whole text if the text has at most [`PIECE`] bytes and all parts of the text are in memory.
    /// Otherwise returns `None`.
    fn whole(&self) -> Option<Vec<u8>> {
        let mut whole = Vec::with_capacity(self.len().min(PIECE));
        for part in &self.parts {
            match part {
                Part::InMemory(own) => whole.extend_from_slice(own),
                Part::Stored { whole: kept, .. } => whole.extend_from_slice(&self.shown(kept.as_ref()?.clone())),
            }
        }
        (whole.len() <= PIECE).then_some(whole)
    }

    /// Returns bytes of a stored part as this text has them.
    fn shown(&self, stored: Bytes) -> Bytes {
        if self.is_one_line { on_one_line(stored) } else { stored }
    }

    /// Makes a body whose memory is counted by `slot`. Reads nothing from the store before the client reads.
    pub(super) fn into_stream(self, slot: Arc<AnswerSlot>, store: &Store) -> StreamedBody {
        let left = self.len();
        StreamedBody { text: self, slot, store: store.clone(), window: None, left, encoder: None, is_coded: false }
    }

    /// Makes the body of the answer. Reads the first bytes from the store before this function returns. If this read
    /// fails, the server can still send an error answer.
    pub(super) async fn into_body(
        self,
        answers: &Arc<AnswerMemory>,
        reader: Reader,
        store: &Store,
    ) -> Result<Coded, AnswerError> {
        let Reader { connection, coding, is_head } = reader;
        if is_head {
            return Ok(Coded { body: Body::new(Unsent(self.len())), coding: None });
        }
        let coding = coding.filter(|_| self.len() >= MIN_CODED);
        if let Some(whole) = self.whole() {
            let slot = answers.enter(connection, 0).await.ok_or(AnswerError::NoMemory)?;
            let coded = coding.map(|coding| coding.encode(&whole)).transpose().map_err(AnswerError::Coding)?;
            return Ok(Coded { body: Body::from(slot.piece(coded.as_ref().unwrap_or(&whole))), coding });
        }
        let encoder = coding.and_then(|coding| answers.encoders.take(coding));
        let coding = coding.filter(|_| encoder.is_some());
        let fixed = self.parts.iter().map(|part| if let Part::InMemory(own) = part { own.len() } else { 0 }).sum();
        let slot = answers.enter(connection, fixed).await.ok_or(AnswerError::NoMemory)?;
        let left = self.len();
        let is_coded = encoder.is_some();
        let streamed = StreamedBody { text: self, slot, store: store.clone(), window: None, left, encoder, is_coded };
        if let Some(window) = streamed.first_window() {
            window.await?;
        }
        Ok(Coded { body: Body::new(streamed), coding })
    }
}

/// Replaces line breaks between the tokens of a JSON text by spaces.
fn on_one_line(json: Bytes) -> Bytes {
    let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !json.iter().any(breaks) {
        return json;
    }
    json.iter().map(|byte| if breaks(byte) { b' ' } else { *byte }).collect()
}

impl Part {
    /// Returns the number of bytes that must still be sent.
    fn len(&self) -> usize {
        match self {
            Self::InMemory(own) => own.len(),
            Self::Stored { at, len, .. } => len - at,
        }
    }
}

/// The body of the answer to a `HEAD`: a length without bytes. It is never sent.
struct Unsent(usize);

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}

/// The body of a large answer, which is read from the store while the client reads the answer.
pub(super) struct StreamedBody {
    text: AnswerText,
    slot: Arc<AnswerSlot>,
    store: Store,
    /// A future that reads the next bytes from the store. `None` while no read is in progress.
    window: Option<BoxFuture<'static, Result<(), AnswerError>>>,
    /// The number of bytes that must still be sent, before they are compressed.
    left: usize,
    /// Compresses the answer. `None` if the answer is not compressed, or if all of its bytes are compressed.
    encoder: Option<Encoder>,
    is_coded: bool,
}

impl StreamedBody {
    fn first_window(&self) -> Option<BoxFuture<'static, Result<(), AnswerError>>> {
        self.text.parts.iter().find(|part| matches!(part, Part::Stored { .. })).and_then(|part| self.read_from(part))
    }

    /// Returns a future that reads the next bytes of `part` from the store. Returns `None` if the part is in memory, or
    /// if all bytes of the part were sent.
    fn read_from(&self, part: &Part) -> Option<BoxFuture<'static, Result<(), AnswerError>>> {
        let Part::Stored { source, at, len, .. } = part else { return None };
        let (slot, store, source) = (Arc::clone(&self.slot), self.store.clone(), source.clone());
        let (at, left, is_one_line) = (*at, len - at, self.text.is_one_line);
        let read = async move {
            let bytes = slot.reserve_window(left).await.ok_or(AnswerError::NoMemory)?;
            match source.read(store, at, bytes).await? {
                Some(piece) if piece.len() == bytes => {
                    slot.fill_window(if is_one_line { on_one_line(piece) } else { piece });
                    Ok(())
                }
                _ => Err(AnswerError::Purged),
            }
        };
        (left > 0).then(|| read.boxed())
    }

    /// Returns the next piece of the text. Returns `Poll::Pending` while the piece is read from the store.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnswerError>>> {
        loop {
            if self.slot.is_ended() {
                return Poll::Ready(Some(Err(AnswerError::TooSlow)));
            }
            if let Some(window) = &mut self.window {
                let read = ready!(window.as_mut().poll(cx));
                self.window = None;
                if let Err(error) = read {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let piece = match self.text.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::InMemory(own)) if !own.is_empty() => {
                    let next = own.split_to(own.len().min(PIECE));
                    Some(self.slot.piece(&next))
                }
                Some(Part::Stored { at, len, .. }) if *at < *len => {
                    let next = self.slot.next_piece();
                    *at += next.as_ref().map_or(0, Bytes::len);
                    next
                }
                Some(_) => {
                    self.text.parts.pop_front();
                    continue;
                }
            };
            match piece {
                Some(piece) => return Poll::Ready(Some(Ok(piece))),
                // No bytes of this part are in memory, so the next bytes must be read from the store. Either no bytes
                // were read yet, or all bytes that were read are sent, or the bytes were dropped because there was not
                // enough memory.
                None => self.window = self.text.parts.front().and_then(|part| self.read_from(part)),
            }
        }
    }
}

impl Drop for StreamedBody {
    fn drop(&mut self) {
        self.slot.ended_early();
    }
}

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = AnswerError;

    /// Returns the next piece of the body. An error ends the connection or the HTTP/2 stream before the announced
    /// number of bytes was sent, or before the end of the last chunk. So no client mistakes an incomplete answer for a
    /// complete one.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(Ok(piece)) = &piece {
            self.left -= piece.len();
        }
        let Some(mut encoder) = self.encoder.take() else {
            return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
        };
        let coded = match piece {
            Some(Ok(piece)) => encoder.push(&piece).inspect(|_| self.encoder = Some(encoder)),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => encoder.finish(),
        };
        match coded {
            // The encoder has kept the piece. Other tasks of this thread have their turn before the next piece, because
            // a text that shrinks well has many pieces for each byte that is sent.
            Ok(coded) if coded.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(coded) => Poll::Ready(Some(Ok(Frame::data(self.slot.piece(&coded))))),
            Err(error) => Poll::Ready(Some(Err(AnswerError::Coding(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.encoder.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_coded { SizeHint::default() } else { SizeHint::with_exact(self.left as u64) }
    }
}

#[cfg(test)]
mod tests;
