//! What became of a request of a [`TestApp`](super::TestApp).

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::TestError;
use crate::testing::Caught;
use postback_wire::id::RequestId;
use postback_wire::report::{EndReason, Outcome, Status};

/// A request of a [`TestApp`](super::TestApp) that has ended.
#[derive(Clone)]
pub struct Finished {
    pub(super) id: RequestId,
    pub(super) outcome: Outcome,
    pub(super) runs: usize,
    pub(super) reports: Vec<Caught>,
    pub(super) reply: Option<Bytes>,
}

impl Finished {
    /// Returns the id of the request.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Returns how the request ended.
    pub fn status(&self) -> Status {
        self.outcome.status
    }

    /// Returns why the request was not completed: also if its reports do not say it.
    pub fn reason(&self) -> Option<EndReason> {
        EndReason::of(self.outcome.status, self.outcome.reason)
    }

    /// Returns the result.
    ///
    /// # Errors
    ///
    /// Fails if the request was not completed, or if its result does not fit the type. The text says what came instead.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        if self.outcome.status != Status::Completed {
            return Err(TestError(format!("the request has no result: {self:?}")));
        }
        let json = self.outcome.result.as_ref().map_or(&b"null"[..], |json| json.bytes());
        serde_json::from_slice(json).map_err(|error| TestError(format!("{error}: {self:?}")))
    }

    /// Returns the bytes of a [`Reply`](crate::Reply). What the reports say of them is the
    /// [`result`](Self::result), a [`StoredResult`](crate::StoredResult).
    ///
    /// # Errors
    ///
    /// Fails if the handler has not returned a reply. The text says what came instead.
    pub fn reply(&self) -> Result<&Bytes, TestError> {
        self.reply.as_ref().ok_or_else(|| TestError(format!("the result is no reply: {self:?}")))
    }

    /// Returns the text of the failure, as the log shows it.
    ///
    /// # Errors
    ///
    /// Fails if the request did not fail. The text says what came instead.
    pub fn failure(&self) -> Result<&str, TestError> {
        match (self.outcome.status, &self.outcome.detail) {
            (Status::Failed, detail) => Ok(detail.as_deref().unwrap_or_default()),
            _ => Err(TestError(format!("the request did not fail: {self:?}"))),
        }
    }

    /// Returns the number of runs.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// Returns the reports about the request, in the order in which they were made, whether they are delivered or not. Of a
    /// body of more than 64 KiB, only the start is there.
    pub fn reports(&self) -> &[Caught] {
        &self.reports
    }
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, outcome, runs, .. } = self;
        write!(f, "{id} {} after {runs} runs", outcome.status.as_str())?;
        match (&outcome.result, &outcome.detail) {
            (Some(result), _) => write!(f, ", with the result {}", String::from_utf8_lossy(result.bytes())),
            (None, Some(detail)) => write!(f, ": {detail}"),
            (None, None) => Ok(()),
        }
    }
}
