//! Evaluates the webhook and the id of a call when the call is entered, and keeps both as owned values.

use std::fmt::{self, Display, Write as _};
use std::mem;

use crate::panics::caught;
use crate::poster::ambient::Call;
use postback_wire::report::Ends;
use postback_wire::webhook::{IntoWebhook, Webhooks};

/// Evaluates, at the beginning of an annotated function call, the expressions that the user wrote for `webhook` and
/// `request_id` in the attribute of the function. Each expression is evaluated once. The returned value borrows nothing
/// from the function's parameters.
pub fn enter(webhook: impl FnOnce(&mut Entry), request_id: impl FnOnce(&mut Entry)) -> Entered {
    let mut entry = Entry::default();
    if let Err(message) = caught(|| webhook(&mut entry)) {
        entry = Entry { panicked: Some(format!("the webhook panicked: {message}")), ..Entry::default() };
    }
    let id = caught(|| request_id(&mut entry)).map_err(|message| format!("the request id panicked: {message}"));
    Entered(match (id, entry) {
        (_, Entry { panicked: Some(detail), id, .. }) => Err(Missed { id, detail }),
        (Err(detail), _) => Err(Missed { id: String::new(), detail }),
        (Ok(()), Entry { call: Some(call), .. }) => Ok(call),
        (Ok(()), _) => Err(Missed { id: String::new(), detail: "no request id was given".to_owned() }),
    })
}

/// The webhook and the id of an annotated function call. The closures that are passed to [`enter`] set the webhook and
/// the id.
#[derive(Default)]
pub struct Entry {
    webhooks: Webhooks,
    call: Option<Call>,
    /// Whether the expression `webhook` reads only values that the operator has set.
    by_operator: bool,
    /// The message of the panic, if the code of the webhook or of the id panicked. In this case, the call is not
    /// reported, and `id` is used only to log the lost report.
    panicked: Option<String>,
    id: String,
}

impl Entry {
    /// Adds a webhook to which the outcome of the call is reported.
    pub fn webhook<W: IntoWebhook + ?Sized>(&mut self, webhook: &W) {
        webhook.add_to(&mut self.webhooks);
    }

    /// Sets whether the operator chose the webhook. The macro finds this out from the expression `webhook`. Must be
    /// called before the method `webhook`.
    pub fn by_operator(&mut self, by_operator: bool) -> &mut Self {
        self.by_operator = by_operator;
        self
    }

    /// Sets the id of the report. Must be called after all other methods of this type.
    pub fn request_id<I: Display + ?Sized>(&mut self, id: &I) {
        if self.panicked.is_some() {
            // The result is ignored, because writing to a `String` does not fail. If the user's `Display` returns an
            // error, the id is the text that was written before the error.
            let _ = write!(self.id, "{id}");
        } else {
            let mut call = Call::new(mem::take(&mut self.webhooks), id, Ends::default(), false);
            call.by_operator = self.by_operator;
            self.call = Some(call);
        }
    }
}

/// The evaluated webhook and id of an annotated function call, or the reason why one of them is missing.
pub struct Entered(pub(super) Result<Call, Missed>);

/// An annotated function call that runs without a report, because the code of its webhook or of its id panicked.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) id: String,
    pub(super) detail: String,
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
