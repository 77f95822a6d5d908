//! Takes what transactions of the program hand in.
//!
//! The store takes each row of the table `handed_in` by the operation that an ordinary call makes, and deletes the row with
//! the same commit. So each is taken exactly once, however many nodes look and whenever they are killed.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod content;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod task;

use std::sync::Arc;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::content::HandIn;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::task::run;
use crate::ops::Cancelled;
use crate::record::{NewReport, Registration};
use crate::summary::Summary;
use crate::terms::Extras;
use crate::{Error, Store};
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;

/// Takes what was handed in, until the shutdown begins. Without a database, nothing is handed in.
#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
pub async fn run(_: Store, shutdown: crate::shutdown::Shutdown) {
    shutdown.stopping().await;
}

impl Store {
    /// Returns the summary of a request. `None`: the store has no request with this id, and none was handed in.
    pub async fn summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        let summary = self.stored_summary(id).await?;
        if summary.is_some() || self.hand_in_statement().is_none() {
            return Ok(summary);
        }
        let handed_in = self.take_request(id).await?;
        // It is looked for again in any case: it may have been taken between the two reads.
        Ok(self.stored_summary(id).await?.or(handed_in))
    }

    /// Cancels the request with this id, this route and this owner. If `owner` is `None`, the request may have any
    /// owner. If the request waits, `end` makes its outcome and its reports from the registration that an earlier run
    /// stored, and from the extras of the request. If the request is claimed and put back while `end` runs, `end` is
    /// called again.
    pub async fn cancel(
        &self,
        id: &RequestId,
        route: &str,
        owner: Option<&str>,
        mut end: impl FnMut(Option<Registration>, Option<Arc<Extras>>) -> (Outcome, Vec<NewReport>),
    ) -> Result<Cancelled, Error> {
        let cancelled = self.cancel_stored(id, route, owner, &mut end).await?;
        if cancelled != Cancelled::Unknown || self.hand_in_statement().is_none() {
            return Ok(cancelled);
        }
        let handed_in = self.take_request(id).await?;
        // It is looked for again in any case: it may have been taken between the two reads.
        let cancelled = self.cancel_stored(id, route, owner, &mut end).await?;
        let is_theirs = |request: Summary| request.route == route && owner.is_none_or(|owner| *owner == *request.owner);
        if cancelled == Cancelled::Unknown && handed_in.is_some_and(is_theirs) {
            // It found no room, so it cannot be cancelled yet.
            return Err(Error::Full);
        }
        Ok(cancelled)
    }

    #[cfg(not(any(feature = "sqlite", feature = "postgres")))]
    #[expect(clippy::unused_self, reason = "without a database, nothing is handed in")]
    fn take_request(&self, _: &RequestId) -> std::future::Ready<Result<Option<Summary>, Error>> {
        std::future::ready(Ok(None))
    }
}
