//! Reads the checkpoint of a request before its run, and saves what the run leaves for the next one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{BACKOFF, Context};
use crate::handler::{CheckpointError, Keeper, Route, RunInfo};
use postback_store::{ClaimedRequest, Error, Saved, Store, warn_unless_logged};
use postback_wire::line::Causes;

/// Adds what keeps the checkpoints of this run, with the last one of the runs before, if the handler asks for it. If the
/// store cannot be read, tries again: without its checkpoint the run would do work twice. Returns `None` if the server
/// stops before that.
pub(super) async fn with_keeper(
    context: &Context,
    route: &Route,
    row: &ClaimedRequest,
    info: RunInfo,
) -> Option<RunInfo> {
    if !route.needs.checkpoint {
        return Some(info);
    }
    // The first run of a request has none.
    let last = if row.claim.epoch > 1 { read(context, row).await? } else { None };
    let (store, claim) = (context.outbox.store().clone(), row.claim.clone());
    let save = move |value: Bytes| {
        let (store, claim) = (store.clone(), claim.clone());
        async move {
            match store.save_checkpoint(claim, value).await {
                Ok(Saved::Yes) => Ok(()),
                Ok(Saved::NoRoom) => Err(CheckpointError::NoRoom),
                Ok(Saved::Stale) => Err(CheckpointError::Over),
                Err(error) => Err(CheckpointError::Store(Causes(&error).to_string())),
            }
        }
        .boxed()
    };
    Some(RunInfo { checkpoint: Keeper::Store { last, save: Arc::new(save) }, ..info })
}

async fn read(context: &Context, row: &ClaimedRequest) -> Option<Option<Bytes>> {
    let id = &row.claim.id;
    let mut warned = false;
    loop {
        let error = match context.outbox.store().checkpoint(id).await {
            Ok(last) => return Some(last),
            Err(Error::Closed) => return None,
            Err(error) => error,
        };
        if !warned {
            let why = Causes(&error);
            warn_unless_logged!(error, request_id = %id, "the checkpoint of {id} cannot be read, trying again: {why}");
            warned = true;
        }
        tokio::select! {
            biased;
            () = context.cut.stopping() => return None,
            () = tokio::time::sleep(BACKOFF) => {}
        }
    }
}

/// Deletes the checkpoint of a request that has ended. If that fails, it is deleted together with its request.
pub(super) async fn drop_of(store: &Store, row: &ClaimedRequest) {
    let id = &row.claim.id;
    if let Err(error) = store.drop_checkpoint(id.clone()).await {
        tracing::debug!(request_id = %id, "the checkpoint of {id} stays until {id} is deleted: {}", Causes(&error));
    }
}
