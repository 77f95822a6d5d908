//! Where the large parts of an answer are: in the store, or outside it.

use std::sync::Arc;

use bytes::Bytes;

use super::streamed_answer::AnswerError;
use crate::results::Results;
use postback_store::{Member, RequestClaim, Store};
use postback_wire::id::RequestId;

/// What a part of an answer is read from.
#[derive(Clone)]
pub(super) enum AnswerSource {
    /// The result or the error of a request, in the store.
    Store(RequestId, Member),
    /// A result outside the store.
    Elsewhere(Arc<Results>, RequestClaim),
}

impl AnswerSource {
    /// Reads some bytes. `None`: the request was deleted.
    pub(super) async fn read(self, store: Store, at: usize, bytes: usize) -> Result<Option<Bytes>, AnswerError> {
        match self {
            Self::Store(id, member) => store.piece(&id, member, at, bytes).await.map_err(AnswerError::Store),
            Self::Elsewhere(results, claim) => {
                let range = at as u64..(at + bytes) as u64;
                results.read(&claim, range).await.map_err(AnswerError::Elsewhere)
            }
        }
    }
}
