//! Single attempts for the command `trigger`: as the delivery makes them, with the same headers, signature, time limit
//! and rules about addresses, and without a store.

use bytes::Bytes;

use super::attempt::{Message, Sender};
use super::{Error, Options};
use crate::policy::after_attempt::AttemptEnd;
use crate::policy::destination::DestinationPolicy;
use postback_store::Attempt;
use postback_wire::id::ReportId;
use postback_wire::time::Clock;
use postback_wire::webhook::Webhook;

/// Makes single attempts.
pub(crate) struct Trial {
    sender: Sender,
}

impl Trial {
    /// Makes a value of this type. Call this within a tokio runtime.
    pub(crate) fn new(options: &Options, clock: Clock) -> Result<Self, Error> {
        Ok(Self { sender: Sender::new(options, clock)? })
    }

    /// Sends a report about `subject` once. Returns the attempt, and whether the receiver has taken the report.
    pub(crate) async fn send(
        &self,
        id: ReportId,
        subject: &str,
        body: Bytes,
        webhook: &Webhook,
        policy: &DestinationPolicy<'_>,
    ) -> (Attempt, bool) {
        let result = self.sender.send(Message { id, subject, body, span: None }, webhook, policy).await;
        let is_taken = matches!(result.end, AttemptEnd::Answered(answer) if answer.is_success());
        (result.attempt, is_taken)
    }
}
