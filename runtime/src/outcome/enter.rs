//! On entry of a call: its webhooks and its id, taken down as owned values.

use std::fmt::{self, Display, Write as _};
use std::mem;

use super::caught::caught;
use crate::poster::ambient::Call;
use crate::report::Ends;
use crate::webhook::{IntoWebhook, Webhooks};

/// Takes down a call: evaluates its two expressions once, and keeps nothing borrowed.
pub fn enter(webhook: impl FnOnce(&mut Entry), request_id: impl FnOnce(&mut Entry)) -> Entered {
    let mut entry = Entry::default();
    if let Err(said) = caught(|| webhook(&mut entry)) {
        entry = Entry { panicked: Some(format!("the webhook panicked: {said}")), ..Entry::default() };
    }
    let id = caught(|| request_id(&mut entry)).map_err(|said| format!("the request id panicked: {said}"));
    Entered(match (id, entry) {
        (_, Entry { panicked: Some(detail), id, .. }) => Err(Missed { id, detail }),
        (Err(detail), _) => Err(Missed { id: String::new(), detail }),
        (Ok(()), Entry { call: Some(call), .. }) => Ok(call),
        (Ok(()), _) => Err(Missed { id: String::new(), detail: "no request id was given".to_owned() }),
    })
}

/// Filled by the closures that are given to [`enter`].
#[derive(Default)]
pub struct Entry {
    webhooks: Webhooks,
    call: Option<Call>,
    /// The webhook's expression reads nothing but what is the operator's.
    by_operator: bool,
    /// Why there will be no call. Then the id names the loss.
    panicked: Option<String>,
    id: String,
}

impl Entry {
    /// Where the report goes.
    pub fn webhook<W: IntoWebhook + ?Sized>(&mut self, webhook: &W) {
        webhook.add_to(&mut self.webhooks);
    }

    /// Whether the operator's side chose where the report goes, as far as the expression shows; given before it.
    pub fn by_operator(&mut self, by_operator: bool) -> &mut Self {
        self.by_operator = by_operator;
        self
    }

    /// Under which id; given last.
    pub fn request_id<I: Display + ?Sized>(&mut self, id: &I) {
        if self.panicked.is_some() {
            // Writing to a String cannot fail; a `Display` that says it did leaves a shorter id.
            let _ = write!(self.id, "{id}");
        } else {
            let mut call = Call::new(mem::take(&mut self.webhooks), id, Ends::default(), false);
            call.by_operator = self.by_operator;
            self.call = Some(call);
        }
    }
}

/// A call that was taken down, or why it could not be.
pub struct Entered(pub(super) Result<Call, Missed>);

/// A call that goes on unreported.
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
