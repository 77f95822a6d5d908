//! The answer with the state of a request. A large result is read from the store piece by piece, as the client reads
//! it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::answer_memory::{AnswerMemory, AnswerSlot, PIECE};
use super::open_connections::Connection;
use super::response::status_of;
use postback_store::{Error, Kept, Member, Stage, Store, Summary};
use postback_wire::id::RequestId;
use postback_wire::report;

/// The JSON text of an answer. Some parts of the text are in memory, and other parts are still in the store.
pub(super) struct AnswerText {
    id: RequestId,
    parts: VecDeque<Part>,
}

enum Part {
    InMemory(Bytes),
    /// A part of the JSON text that is in the store: the result or the error of the request. The bytes from `at` to
    /// `len` must still be sent.
    Stored {
        member: Member,
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
    #[error("the store does not answer")]
    Store(#[source] Error),
}

impl AnswerText {
    /// Makes the text with the state of a request. If the request is over, the text consists of the bytes of the
    /// request's report and a line break. `more` is the text of another member of the JSON object, and begins with a
    /// comma.
    pub(super) fn of(id: RequestId, summary: &Summary, more: Option<Vec<u8>>) -> Self {
        let mut text = Self { id, parts: VecDeque::new() };
        let mut own = vec![b'{'];
        report::write_id_and_status(text.id.as_str(), status_of(&summary.stage), &mut own);
        if let Stage::Settled(end) = &summary.stage {
            report::write_reason(end.reason.as_ref(), &mut own);
            if let Some(result) = &end.result {
                own.extend_from_slice(b",\"result\":");
                text.push_stored(&mut own, Member::Result, result);
                // The result of `write!` is ignored, because writing to a `Vec` cannot fail.
                let _ = write!(own, ",\"timestamp\":\"{}\"", end.finished);
            }
            if let Some(error) = &end.error {
                own.extend_from_slice(b",\"error\":");
                text.push_stored(&mut own, Member::Error, error);
            }
        }
        report::write_metadata(summary.extras.as_ref().and_then(|extras| extras.metadata.as_deref()), &mut own);
        own.extend(more.unwrap_or_default());
        own.extend_from_slice(b"}\n");
        text.parts.push_back(Part::InMemory(own.into()));
        text
    }

    fn push_stored(&mut self, own: &mut Vec<u8>, member: Member, kept: &Kept) {
        self.parts.push_back(Part::InMemory(std::mem::take(own).into()));
        self.parts.push_back(Part::Stored { member, at: 0, len: kept.len, whole: kept.whole.clone() });
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
                Part::Stored { whole: kept, .. } => whole.extend_from_slice(kept.as_ref()?),
            }
        }
        (whole.len() <= PIECE).then_some(whole)
    }

    /// Makes the body of the answer. Reads the first bytes from the store before this function returns. If this read
    /// fails, the server can still send an error answer.
    pub(super) async fn into_body(
        self,
        answers: &Arc<AnswerMemory>,
        connection: Option<Arc<Connection>>,
        store: &Store,
    ) -> Result<Body, AnswerError> {
        if let Some(whole) = self.whole() {
            let slot = answers.enter(connection, 0).await.ok_or(AnswerError::NoMemory)?;
            return Ok(Body::from(slot.piece(&whole)));
        }
        let fixed = self.parts.iter().map(|part| if let Part::InMemory(own) = part { own.len() } else { 0 }).sum();
        let slot = answers.enter(connection, fixed).await.ok_or(AnswerError::NoMemory)?;
        let left = self.len();
        let streamed = StreamedBody { text: self, slot, store: store.clone(), window: None, left };
        if let Some(window) = streamed.first_window() {
            window.await?;
        }
        Ok(Body::new(streamed))
    }
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

/// The body of a large answer, which is read from the store while the client reads the answer.
struct StreamedBody {
    text: AnswerText,
    slot: Arc<AnswerSlot>,
    store: Store,
    /// A future that reads the next bytes from the store. `None` while no read is in progress.
    window: Option<BoxFuture<'static, Result<(), AnswerError>>>,
    /// The number of bytes that must still be sent.
    left: usize,
}

impl StreamedBody {
    fn first_window(&self) -> Option<BoxFuture<'static, Result<(), AnswerError>>> {
        self.text.parts.iter().find(|part| matches!(part, Part::Stored { .. })).and_then(|part| self.read_from(part))
    }

    /// Returns a future that reads the next bytes of `part` from the store. Returns `None` if the part is in memory, or
    /// if all bytes of the part were sent.
    fn read_from(&self, part: &Part) -> Option<BoxFuture<'static, Result<(), AnswerError>>> {
        let Part::Stored { member, at, len, .. } = part else { return None };
        let (slot, store, id) = (Arc::clone(&self.slot), self.store.clone(), self.text.id.clone());
        let (member, at, left) = (*member, *at, len - at);
        let read = async move {
            let bytes = slot.reserve_window(left).await.ok_or(AnswerError::NoMemory)?;
            match store.piece(&id, member, at, bytes).await {
                Ok(Some(piece)) if piece.len() == bytes => {
                    slot.fill_window(piece);
                    Ok(())
                }
                Ok(_) => Err(AnswerError::Purged),
                Err(error) => Err(AnswerError::Store(error)),
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
    /// number of bytes was sent. So no client mistakes an incomplete answer for a complete one.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(Ok(piece)) = &piece {
            self.left -= piece.len();
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests;
