//! The check of requests that the program makes for the routes of its own server.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use postback_store::NewRequest;

/// Makes a request of a target, headers and a body, and checks it. An error is a text for the program.
type Check = dyn Fn(String, HeaderMap, Bytes) -> BoxFuture<'static, Result<NewRequest, String>> + Send + Sync;

/// The check, which the server sets once it has all that the check needs. A poster is installed before that.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<OnceLock<Box<Check>>>);

impl Requests {
    /// Sets the check. A second call changes nothing.
    pub(crate) fn set(&self, check: Box<Check>) {
        self.0.get_or_init(|| check);
    }

    /// Returns the check. `None`: the server has not started yet.
    pub(super) fn check(&self) -> Option<&Check> {
        self.0.get().map(|check| &**check)
    }
}
