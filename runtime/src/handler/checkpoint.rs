//! The extractor [`Checkpoint`]: what a run leaves for the next run of its request.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};
use crate::panics::caught;

/// The largest checkpoint, in bytes of JSON.
const MAX_BYTES: usize = 256 << 10;

/// A value that survives a crash: the run saves it, and the next run of the same request gets it. So long work goes on
/// where it was.
///
/// ```
/// use postback::{Checkpoint, HandlerError, Payload};
///
/// async fn import(rows: Payload<Vec<String>>, done: Checkpoint<usize>) -> Result<usize, HandlerError> {
///     let begin = done.last().copied().unwrap_or(0);
///     for (at, row) in rows.iter().enumerate().skip(begin) {
///         store(row).await?;
///         if at % 1_000 == 0 {
///             done.save(&(at + 1)).await?;
///         }
///     }
///     Ok(rows.len())
/// }
/// # async fn store(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// ```
///
/// A checkpoint belongs to its request, and is deleted after the request has ended. It is stored as JSON, of at most
/// 256 KiB. The next run may begin at any point after the last saved one: what the run before did after it saved, it
/// does again.
///
/// If the type has changed since the value was saved, and the value cannot be read any more, the run begins without one,
/// and a warning is logged.
///
/// To call a handler by hand, as a test does, make one with [`Checkpoint::default`] or [`Checkpoint::new`], and look at
/// [`saved`](Self::saved) afterwards.
pub struct Checkpoint<T> {
    last: Option<T>,
    keeper: Keeper,
}

/// The reason why a checkpoint was not saved. The checkpoint before is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The value has more than 256 KiB of JSON.
    #[error(
        "the checkpoint has {bytes} bytes of JSON, and {MAX_BYTES} are allowed; save where the data is, not the data"
    )]
    TooLarge {
        /// The size of the value, in bytes of JSON.
        bytes: usize,
    },
    /// The value cannot be written as JSON.
    #[error("the checkpoint cannot be written as JSON: {0}")]
    Unserializable(String),
    /// The run is over: it was stopped, or another run has taken over.
    #[error("the run is over, so its checkpoint was not saved")]
    Over,
    /// The memory limit of the store in memory leaves no room.
    #[error("the store has no memory left for the checkpoint; set store.url to a file")]
    NoRoom,
    /// The store cannot write. It is not known whether the value was saved.
    #[error("the store cannot save the checkpoint: {0}")]
    Store(String),
}

/// What keeps the checkpoints of a run.
#[derive(Clone)]
pub(crate) enum Keeper {
    /// The store, which the worker knows.
    Store { last: Option<Bytes>, save: Arc<Save> },
    /// Nobody: the handler was called by hand. The value is the last one that was saved.
    Memory(Arc<Mutex<Option<Bytes>>>),
}

/// Saves a checkpoint.
pub(crate) type Save = dyn Fn(Bytes) -> BoxFuture<'static, Result<(), CheckpointError>> + Send + Sync;

impl Default for Keeper {
    fn default() -> Self {
        Self::Memory(Arc::default())
    }
}

impl<T> Default for Checkpoint<T> {
    /// Makes the checkpoint of a first run: there is no value yet.
    fn default() -> Self {
        Self { last: None, keeper: Keeper::default() }
    }
}

impl<T> Checkpoint<T> {
    /// Makes the checkpoint of a later run, which begins with this value.
    pub fn new(last: T) -> Self {
        Self { last: Some(last), ..Self::default() }
    }

    /// Returns what an earlier run of the request has saved last. `None`: no run has saved anything.
    pub fn last(&self) -> Option<&T> {
        self.last.as_ref()
    }

    /// Returns what an earlier run of the request has saved last, and leaves nothing.
    pub fn take(&mut self) -> Option<T> {
        self.last.take()
    }
}

impl<T: Serialize> Checkpoint<T> {
    /// Saves a value for the next run, in place of the one before. When this method returns `Ok`, the value is as durable
    /// as the request itself.
    ///
    /// Each call is a write of the store, and waits for its commit. So save when a crash would lose more work than the
    /// write costs, such as once a second. If the future is dropped, the value may be saved or not.
    ///
    /// # Errors
    ///
    /// Returns an error if the value is too large, cannot be written as JSON, or cannot be stored. The value before is
    /// kept then.
    pub async fn save(&self, value: &T) -> Result<(), CheckpointError> {
        let json = caught(|| serde_json::to_vec(value).map_err(|error| error.to_string()));
        let json = json.unwrap_or_else(|_| Err("its Serialize implementation panicked".to_owned()));
        let json = json.map_err(CheckpointError::Unserializable)?;
        if json.len() > MAX_BYTES {
            return Err(CheckpointError::TooLarge { bytes: json.len() });
        }
        match &self.keeper {
            Keeper::Store { save, .. } => save(json.into()).await,
            Keeper::Memory(saved) => {
                *lock(saved) = Some(json.into());
                Ok(())
            }
        }
    }
}

impl<T: DeserializeOwned> Checkpoint<T> {
    /// Returns what was saved last, if this checkpoint was made by hand. `None`: nothing was saved, or the checkpoint
    /// belongs to a run of a server.
    pub fn saved(&self) -> Option<T> {
        match &self.keeper {
            Keeper::Memory(saved) => lock(saved).as_ref().and_then(|json| serde_json::from_slice(json).ok()),
            Keeper::Store { .. } => None,
        }
    }
}

fn lock(saved: &Mutex<Option<Bytes>>) -> MutexGuard<'_, Option<Bytes>> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: fmt::Debug> fmt::Debug for Checkpoint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("last", &self.last).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Parameter for Checkpoint<T> {}

impl<T: Serialize + DeserializeOwned + Send + 'static, S> Extract<S> for Checkpoint<T> {
    fn needs() -> Needs {
        Needs { checkpoint: true, ..Needs::of_one_request() }
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        let keeper = run.info.checkpoint.clone();
        let last = match &keeper {
            Keeper::Store { last: Some(json), .. } => read(json, run),
            Keeper::Store { last: None, .. } | Keeper::Memory(_) => None,
        };
        Ok(Self { last, keeper })
    }
}

fn read<T: DeserializeOwned>(json: &[u8], run: &Run) -> Option<T> {
    let value = caught(|| serde_json::from_slice(json).map_err(|error| error.to_string()));
    let value = value.unwrap_or_else(|_| Err("its Deserialize implementation panicked".to_owned()));
    let (id, name) = (&run.id, std::any::type_name::<T>());
    value
        .inspect_err(|error| {
            tracing::warn!(
                request_id = %id, error,
                "the checkpoint of {id} cannot be read as {name}, so this run begins without one: {error}"
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_checkpoint_by_hand_keeps_what_is_saved() {
        let mut checkpoint = Checkpoint::new(7);
        assert_eq!((checkpoint.last(), checkpoint.saved()), (Some(&7), None));
        checkpoint.save(&8).await.unwrap();
        assert_eq!((checkpoint.take(), checkpoint.take(), checkpoint.saved()), (Some(7), None, Some(8)));
    }

    #[tokio::test]
    async fn what_cannot_be_saved_is_told_and_keeps_the_one_before() {
        let checkpoint = Checkpoint::default();
        checkpoint.save(&"x".repeat(MAX_BYTES - 2)).await.unwrap();
        let error = checkpoint.save(&"x".repeat(MAX_BYTES - 1)).await.unwrap_err();
        assert_eq!(error, CheckpointError::TooLarge { bytes: MAX_BYTES + 1 });
        assert_eq!(checkpoint.saved().unwrap().len(), MAX_BYTES - 2);
        let map = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Checkpoint::default().save(&map).await, Err(CheckpointError::Unserializable(_))));
    }
}
