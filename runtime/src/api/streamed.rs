//! The answer that tells where a request stands: what is large of it is read from the store as the client takes it.

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

use super::answers::{AnswerSlot, Answers, PIECE};
use super::room::Connection;
use super::status::{IN_PROGRESS, IN_QUEUE};
use crate::id::RequestId;
use crate::report;
use crate::store::{Error, Kept, Member, Stage, Store, Summary};

/// The text of an answer, part by part.
pub(super) struct Text {
    id: RequestId,
    parts: VecDeque<Part>,
}

enum Part {
    Own(Bytes),
    /// JSON in the store, from `at` on.
    Kept {
        member: Member,
        at: usize,
        len: usize,
        whole: Option<Bytes>,
    },
}

/// Why an answer cannot be given, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("there was no room for the answer")]
    NoRoom,
    #[error("the request was purged meanwhile")]
    Purged,
    #[error("the client was too slow")]
    TooSlow,
    #[error("the store does not answer")]
    Store(#[source] Error),
}

impl Text {
    /// The same words and bytes as the report of the request has, and a line break. `more`: a further member.
    pub(super) fn of(id: RequestId, summary: &Summary, more: Option<Vec<u8>>) -> Self {
        let mut text = Self { id, parts: VecDeque::new() };
        let mut own = vec![b'{'];
        let status = match &summary.standing {
            Stage::Queued => IN_QUEUE,
            Stage::Running => IN_PROGRESS,
            Stage::Settled(end) => end.status.as_str(),
        };
        report::write_id_and_status(text.id.as_str(), status, &mut own);
        if let Stage::Settled(end) = &summary.standing {
            report::write_reason(end.reason.as_ref(), &mut own);
            if let Some(result) = &end.result {
                own.extend_from_slice(b",\"result\":");
                text.kept(&mut own, Member::Result, result);
                // Writing to a Vec cannot fail.
                let _ = write!(own, ",\"timestamp\":\"{}\"", end.finished);
            }
            if let Some(error) = &end.error {
                own.extend_from_slice(b",\"error\":");
                text.kept(&mut own, Member::Error, error);
            }
        }
        own.extend(more.unwrap_or_default());
        own.extend_from_slice(b"}\n");
        text.parts.push_back(Part::Own(own.into()));
        text
    }

    fn kept(&mut self, own: &mut Vec<u8>, member: Member, kept: &Kept) {
        self.parts.push_back(Part::Own(std::mem::take(own).into()));
        self.parts.push_back(Part::Kept { member, at: 0, len: kept.len, whole: kept.whole.clone() });
    }

    fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// All of it, if it is small.
    fn whole(&self) -> Option<Vec<u8>> {
        let mut whole = Vec::with_capacity(self.len().min(PIECE));
        for part in &self.parts {
            match part {
                Part::Own(own) => whole.extend_from_slice(own),
                Part::Kept { whole: kept, .. } => whole.extend_from_slice(kept.as_ref()?),
            }
        }
        (whole.len() <= PIECE).then_some(whole)
    }

    /// The body of an answer. When this returns, its beginning has been read.
    pub(super) async fn into_body(
        self,
        answers: &Arc<Answers>,
        connection: Option<Arc<Connection>>,
        store: &Store,
    ) -> Result<Body, Broken> {
        if let Some(whole) = self.whole() {
            let place = answers.enter(connection, 0).await.ok_or(Broken::NoRoom)?;
            return Ok(Body::from(place.piece(&whole)));
        }
        let own = self.parts.iter().map(|part| if let Part::Own(own) = part { own.len() } else { 0 }).sum();
        let place = answers.enter(connection, own).await.ok_or(Broken::NoRoom)?;
        let left = self.len();
        let streamed = Streamed { text: self, place, store: store.clone(), window: None, left };
        if let Some(window) = streamed.first_window() {
            window.await?;
        }
        Ok(Body::new(streamed))
    }
}

impl Part {
    /// What is left of it.
    fn len(&self) -> usize {
        match self {
            Self::Own(own) => own.len(),
            Self::Kept { at, len, .. } => len - at,
        }
    }
}

struct Streamed {
    text: Text,
    place: Arc<AnswerSlot>,
    store: Store,
    /// While it is being read.
    window: Option<BoxFuture<'static, Result<(), Broken>>>,
    left: usize,
}

impl Streamed {
    fn first_window(&self) -> Option<BoxFuture<'static, Result<(), Broken>>> {
        self.text.parts.iter().find(|part| matches!(part, Part::Kept { .. })).and_then(|part| self.read_from(part))
    }

    /// Reads the next window of this part, unless all of it was read.
    fn read_from(&self, part: &Part) -> Option<BoxFuture<'static, Result<(), Broken>>> {
        let Part::Kept { member, at, len, .. } = part else { return None };
        let (place, store, id) = (Arc::clone(&self.place), self.store.clone(), self.text.id.clone());
        let (member, at, left) = (*member, *at, len - at);
        let read = async move {
            let bytes = place.window(left).await.ok_or(Broken::NoRoom)?;
            match store.piece(&id, member, at, bytes).await {
                Ok(Some(piece)) if piece.len() == bytes => {
                    place.fill(piece);
                    Ok(())
                }
                Ok(_) => Err(Broken::Purged),
                Err(error) => Err(Broken::Store(error)),
            }
        };
        (left > 0).then(|| read.boxed())
    }

    /// The next piece; `Pending` while it is read from the store.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if self.place.is_over() {
                return Poll::Ready(Some(Err(Broken::TooSlow)));
            }
            if let Some(window) = &mut self.window {
                let read = ready!(window.as_mut().poll(cx));
                self.window = None;
                if let Err(broken) = read {
                    return Poll::Ready(Some(Err(broken)));
                }
            }
            let piece = match self.text.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::Own(own)) if !own.is_empty() => {
                    let next = own.split_to(own.len().min(PIECE));
                    Some(self.place.piece(&next))
                }
                Some(Part::Kept { at, len, .. }) if *at < *len => {
                    let next = self.place.next();
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
                // Nothing of it was read, or it was taken away.
                None => self.window = self.text.parts.front().and_then(|part| self.read_from(part)),
            }
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.place.ended_early();
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Broken;

    /// An error ends the connection, or the stream, before the length that was announced: nobody takes it for an answer.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
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
